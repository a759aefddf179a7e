//! What the templates of the pages can say: numbers as text, by name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::columns;
use super::figure::{self, LatencyFigure};
use super::runs::Run;
use super::{SpliceError, forwards, peers, runs};
use crate::analysis::noise;
use crate::claims::{Claims, judge_study};
use crate::manifest::schema::SearchTolerance;
use crate::numbers;
use crate::record::certificate::Certificate;
use crate::report::document::{ClaimView, document};
use crate::report::figures::Figure;
use crate::report::sentences::searches::operations;
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
    /// TensorRT's engines at these shapes, by model: [`forwards::tensorrt`].
    pub tensorrt: Vec<Value>,
    /// Power and clocks at these shapes: [`forwards::power`].
    pub power: Value,
    /// The driver's count of memory against the engines' account, by run: [`forwards::accounts`].
    pub accounts: Vec<Value>,
    /// The comparison with PyTorch: [`peers::read`].
    pub peers: Option<Vec<Value>>,
    /// Version of the columns that this program writes.
    pub schema_version: u32,
    /// Columns of `results.parquet`: [`columns::facts`].
    pub results_columns: Vec<Value>,
    /// Columns of `samples.parquet`.
    pub samples_columns: Vec<Value>,
    /// Minimal sets of trained models that keep every row: [`kept_rows`].
    pub minimal_sets: Vec<Value>,
    /// The second figure of the front page.
    pub figure: LatencyFigure,
    /// The first: the deviations that enter the layer norms of a model. `None` where no experiment has them.
    pub deviation: Option<Figure>,
}

impl PageFacts {
    /// Reads the artifact and, where one is given, the comparison with PyTorch.
    ///
    /// # Errors
    /// [`SpliceError`] naming the file that cannot be read.
    pub fn read(artifact: &Path, peers: Option<&Path>) -> Result<PageFacts, SpliceError> {
        let study = Study::read(artifact)?;
        let claims = Claims::builtin()?;
        let document = document(&study, &claims, judge_study(&study, &claims))?;
        let mut figures = document.sections.iter().flat_map(|section| &section.figures);
        let deviation =
            figures.find(|figure| figure.svg.is_some() && figure.slug.contains("figure-deviation-")).cloned();
        let runs = runs::all(artifact, &study)?;
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
            tensorrt: forwards::tensorrt(&study),
            power: forwards::power(&study),
            accounts: forwards::accounts(&runs),
            peers: peers.map(peers::read).transpose()?,
            schema_version: SCHEMA_VERSION,
            results_columns: columns::facts(ResultRow::columns()),
            samples_columns: columns::facts(SampleRow::columns()),
            minimal_sets: kept_rows(&study.searches),
            figure: figure::of(main)?,
            deviation,
            runs: runs.iter().map(Run::facts).collect(),
        })
    }
}

/// Of searches on trained models that allow no broken row and found one: the operations that need FP32, and how many forwards
/// that were held out break all the same.
fn kept_rows(searches: &[Certificate]) -> Vec<Value> {
    let no_broken_row = SearchTolerance { max_broken_rows: Some(0), ..SearchTolerance::default() };
    let trained = |found: &&Certificate| found.subject.weights.starts_with("checkpoint");
    let broken = |found: &&Certificate| found.tolerance == no_broken_row && !found.operations.is_empty();
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
    searches.iter().filter(trained).filter(broken).map(fact).collect()
}
