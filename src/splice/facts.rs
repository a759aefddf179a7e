//! What the templates of the pages can say: numbers as text, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::columns;
use super::figure::{self, LatencyFigure};
use super::runs::Run;
use super::{SpliceError, SpliceRequest, forwards, runs, targets};
use crate::analysis::noise;
use crate::appendix::author::{Author, Visit};
use crate::claims::{Claims, judge_study};
use crate::numbers;
use crate::record::certificate::Certificate;
use crate::report::document::{ClaimView, document};
use crate::report::figures::Figure;
use crate::report::sentences::peers::names;
use crate::report::sentences::searches::{keep_every_row, operations};
use crate::results::data::Data;
use crate::results::peers::{self, PeerRow};
use crate::results::study::Study;
use crate::store::schema::{ResultRow, SCHEMA_VERSION, SampleRow};

/// Everything that a template can say about an artifact.
#[derive(Debug, Serialize)]
pub(super) struct PageFacts {
    /// The macros of the paper's prose, by name: `mpHybridOverFpTypical`.
    pub macros: BTreeMap<String, String>,
    /// The paper's claims, judged, each with its second reading.
    pub claims: Vec<ClaimView>,
    /// Our own findings, judged.
    pub findings: Vec<ClaimView>,
    /// The GPUs of the main run: `NVIDIA H200`.
    pub gpus: String,
    /// Noise floor of each backend, in plan order: `cuda 1.2 %, onnxruntime 20.1 %`.
    pub noise: String,
    /// The main run, its repeats and the other experiments: [`Run::facts`].
    pub runs: Vec<Value>,
    /// Wall time by run and backend: [`runs::durations`].
    pub durations: Vec<Value>,
    /// Wall time by experiment and backend, of the main run and the other experiments: `paper_cuda`; of an experiment in all:
    /// `downstream`.
    pub time: BTreeMap<String, String>,
    /// Every two runs of the main experiment, compared: [`runs::comparisons`].
    pub comparisons: Vec<Value>,
    /// The limits of a comparison of two runs: `3 %`, `95 %`.
    pub limits: Value,
    /// Forward passes at some shapes, by model: [`forwards::models`].
    pub forwards: Vec<Value>,
    /// The earlier edition that the times are compared with: [`Run::facts`].
    pub before: Option<Value>,
    /// Times before, asked and now, by model: [`targets::models`]. Empty without an earlier edition.
    pub targets: Vec<Value>,
    /// TensorRT's engines at these shapes, by model: [`forwards::tensorrt`].
    pub tensorrt: Vec<Value>,
    /// Power and clocks at these shapes: [`forwards::power`].
    pub power: Value,
    /// The driver's count of memory against the engines' account, by run: [`forwards::accounts`].
    pub accounts: Vec<Value>,
    /// The comparison with peers, a row each at each shape: [`peer`].
    pub peers: Vec<Value>,
    /// The peers and their libraries: `torch-cudagraph (PyTorch 2.11.0)`.
    pub peer_names: String,
    /// Version of the columns that this program writes.
    pub schema_version: u32,
    /// Columns of `results.parquet`: [`columns::facts`].
    pub results_columns: Vec<Value>,
    /// Columns of `samples.parquet`.
    pub samples_columns: Vec<Value>,
    /// Minimal sets of trained models that keep every row: [`kept_rows`].
    pub minimal_sets: Vec<Value>,
    /// What a reviewer runs in the time at hand, from `experiments/appendix.yaml`.
    pub visits: Vec<Visit>,
    /// The second figure of the front page.
    pub figure: LatencyFigure,
    /// The first: the deviations that enter the layer norms of a model. `None` where no experiment has them.
    pub deviation: Option<Figure>,
}

impl PageFacts {
    /// Reads the artifact and, where they are given, the comparison with peers and the earlier edition.
    ///
    /// # Errors
    /// [`SpliceError`] naming the file that cannot be read.
    pub fn read(request: &SpliceRequest) -> Result<PageFacts, SpliceError> {
        let mut study = Study::read(&request.artifact)?;
        study.peers = request.peers.as_deref().map(peers::read).transpose()?.unwrap_or_default();
        let earlier = request.before.as_deref().map(Data::read).transpose()?;
        let claims = Claims::builtin()?;
        let document = document(&study, &claims, judge_study(&study, &claims))?;
        let mut figures = document.sections.iter().flat_map(|section| &section.figures);
        let deviation =
            figures.find(|figure| figure.svg.is_some() && figure.slug.contains("figure-deviation-")).cloned();
        let runs = runs::all(&request.artifact, &study)?;
        let main = &study.main;
        let floors = noise::floors(main).into_iter();
        let floors = floors.map(|found| format!("{} {}", found.backend, numbers::percent(found.floor)));
        Ok(PageFacts {
            macros: document.macros.into_iter().map(|one| (one.name, one.value)).collect(),
            claims: document.claims,
            findings: document.findings,
            gpus: main.gpus().join(", "),
            noise: floors.collect::<Vec<_>>().join(", "),
            durations: runs::durations(&runs),
            time: runs::times(&study),
            comparisons: runs::comparisons(&runs)?,
            limits: runs::limits(),
            forwards: forwards::models(&study),
            before: earlier.as_ref().map(|data| Run { folder: PathBuf::from("."), data }.facts()),
            targets: earlier.as_ref().map(|before| targets::models(before, main)).transpose()?.unwrap_or_default(),
            tensorrt: forwards::tensorrt(&study),
            power: forwards::power(&study),
            accounts: forwards::accounts(&runs),
            peers: study.peers.iter().map(peer).collect(),
            peer_names: names(&study.peers),
            schema_version: SCHEMA_VERSION,
            results_columns: columns::facts(ResultRow::columns()),
            samples_columns: columns::facts(SampleRow::columns()),
            minimal_sets: kept_rows(&study.searches),
            visits: Author::builtin()?.visits,
            figure: figure::of(main)?,
            deviation,
            runs: runs.iter().map(Run::facts).collect(),
        })
    }
}

/// A peer at a shape: both sides, and the ratio of the peer's time to mixprec's with its interval.
fn peer(row: &PeerRow) -> Value {
    let (ratio, interval) = numbers::with_interval(row.ratio, Some(row.interval), 3);
    json!({
        "model": row.model,
        "shape": format!("{}x{}", row.shape.0, row.shape.1),
        "peer": row.peer,
        "mixprec_ms": numbers::significant(row.mixprec_ms, 3),
        "peer_ms": numbers::significant(row.peer_ms, 3),
        "ratio": format!("{ratio} {}", interval.unwrap_or_default()),
        "policy": row.policy(),
        "rounds": row.rounds,
        "samples": row.samples,
        "gpu": row.gpu,
        "driver": row.driver,
    })
}

/// Of [`keep_every_row`]: the operations that need FP32, and how many forwards that were held out break all the same.
fn kept_rows(searches: &[Certificate]) -> Vec<Value> {
    let fact = |found: &Certificate| {
        json!({
            "model": found.subject.model,
            "input": found.subject.input,
            "operations": operations(found),
            "size": found.operations.len(),
            "of": found.subject.candidates,
            "searched": found.searched.forwards,
            "breaking": found.held_out.breaking.len(),
            "held_out": found.held_out.totals.forwards,
        })
    };
    keep_every_row(searches).map(fact).collect()
}
