//! What the templates of the pages can say: numbers as text, by name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::SpliceError;
use super::figure::{self, LatencyFigure};
use super::forwards::{self, MemoryAccount, ModelForwards, PowerFacts};
use super::peers::{self, Peer};
use super::runs::{self, PublishedRun, RunComparison, RunDuration};
use crate::analysis::noise;
use crate::claims::headline::{Headline, HeadlineValue, headlines};
use crate::claims::verdict::{count, of_paper};
use crate::claims::{Claims, Outcome, Verdict, judge_study};
use crate::numbers;
use crate::report::sentences::claims::{WordedVerdict, summary};
use crate::results::data::{Data, distinct, total};
use crate::results::machines::machines;
use crate::results::study::Study;

/// Everything that a template can say about an artifact.
#[derive(Debug, Serialize)]
pub(super) struct PageFacts {
    /// Folder of the artifact, its last part: `h200`.
    pub artifact: String,
    /// The GPUs of the main run: `NVIDIA H200`.
    pub gpus: String,
    /// The claims, each with its second reading behind it, and the findings, judged.
    pub claims: Vec<ClaimFacts>,
    /// The second readings and findings that no row answers: `C5*, F1`.
    pub unanswered: String,
    /// Number of claims by verdict.
    pub outcomes: OutcomeCounts,
    /// Quantities over all shapes, by the key of their headline: `HybridOverFp`.
    pub headlines: BTreeMap<String, HeadlineFacts>,
    /// Noise floor by backend, in plan order.
    pub noise: Vec<NoiseFloor>,
    /// Timed samples of the main run.
    pub samples: String,
    /// The main run, its repeats and the other experiments.
    pub runs: Vec<PublishedRun>,
    /// Wall time by run and backend.
    pub durations: Vec<RunDuration>,
    /// Wall time by experiment and backend, of the main run and the other experiments: `paper_cuda`; of an experiment in all:
    /// `downstream`.
    pub time: BTreeMap<String, String>,
    /// Every two runs of the main experiment, compared.
    pub comparisons: Vec<RunComparison>,
    /// The limits of a comparison of two runs: `3 %`, `95 %`.
    pub limits: AgreementLimits,
    /// Forward passes at some shapes, by model.
    pub forwards: Vec<ModelForwards>,
    /// Power and clocks at these shapes.
    pub power: PowerFacts,
    /// The driver's count of memory against the engines' account, by run.
    pub accounts: Vec<MemoryAccount>,
    /// The comparison with PyTorch.
    pub peers: Option<Vec<Peer>>,
    /// The figure of the front page.
    pub figure: LatencyFigure,
}

/// A claim and its verdict by the artifact.
#[derive(Debug, Serialize)]
pub(super) struct ClaimFacts {
    pub id: String,
    pub kind: ClaimKind,
    /// The paper's words, what the second reading counts, or our own words.
    pub words: String,
    /// Value with its interval, and what limits it; a dash where there is none.
    pub measured: String,
    #[serde(skip)]
    pub outcome: Outcome,
    pub verdict: &'static str,
    /// Why the verdict is not PASS; `None` of those that are, and of the unanswered.
    pub why: Option<String>,
}

/// Whose words are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClaimKind {
    /// The paper's, by their literal reading.
    Claim,
    /// The paper's, by a second reading.
    Second,
    /// Ours.
    Finding,
}

/// Numbers of claims.
#[derive(Debug, Serialize)]
pub(super) struct OutcomeCounts {
    pub all: usize,
    pub pass: usize,
    pub fail: usize,
    pub undecided: usize,
    pub not_run: usize,
    pub no_hardware: usize,
    /// `6 PASS, 1 FAIL`
    pub summary: String,
}

/// A quantity over all shapes.
#[derive(Debug, Serialize)]
pub(super) struct HeadlineFacts {
    pub count: usize,
    pub typical: String,
    pub lowest: String,
    pub highest: String,
    pub lowest_place: String,
    pub highest_place: String,
}

/// How near to 1 a ratio of a backend's times is noise.
#[derive(Debug, Serialize)]
pub(super) struct NoiseFloor {
    pub backend: String,
    pub floor: String,
}

/// The limits of a comparison of two runs.
#[derive(Debug, Serialize)]
pub(super) struct AgreementLimits {
    pub tolerance: String,
    pub share: String,
}

impl PageFacts {
    /// Reads the artifact and, where one is given, the comparison with PyTorch.
    ///
    /// # Errors
    /// [`SpliceError`] naming the file that cannot be read.
    pub fn read(artifact: &Path, peers: Option<&Path>) -> Result<PageFacts, SpliceError> {
        let study = Study::read(artifact)?;
        let declared = Claims::builtin()?;
        let verdicts = judge_study(&study, &declared);
        let runs = runs::all(artifact, &study)?;
        let main = &study.main;
        // Of several machines a page speaks of the first, as the paper does.
        let first =
            machines(main).into_iter().next().map(|machine| headlines(&machine.data, &declared)).unwrap_or_default();
        let gpus = main.environments.values().flat_map(|environment| &environment.gpus).map(|gpu| gpu.name.clone());
        let claims: Vec<ClaimFacts> = WordedVerdict::all(&verdicts).iter().flat_map(readings).collect();
        let is_unanswered = |one: &&ClaimFacts| is_unanswered(one.kind, one.outcome);
        let unanswered: Vec<&str> = claims.iter().filter(is_unanswered).map(|one| one.id.as_str()).collect();
        let (limits, comparisons) = runs::comparisons(&runs)?;
        Ok(PageFacts {
            artifact: artifact.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            gpus: distinct(gpus).join(", "),
            unanswered: unanswered.join(", "),
            claims,
            outcomes: outcomes(&verdicts),
            headlines: first.iter().map(|found| (found.spec.key.clone(), headline(found))).collect(),
            noise: floors(main),
            samples: numbers::count(total(main.rows.iter().filter_map(|row| row.samples))),
            durations: runs::durations(&runs),
            time: runs::times(&study),
            comparisons,
            limits,
            forwards: forwards::models(&study),
            power: forwards::power(&study),
            accounts: forwards::accounts(&runs, &main.plan.name),
            peers: peers.map(peers::read).transpose()?,
            figure: figure::of(main)?,
            runs: runs.into_iter().map(|(run, _)| run).collect(),
        })
    }
}

/// The verdict and, where there is one, that on the second reading.
fn readings(verdict: &WordedVerdict) -> Vec<ClaimFacts> {
    let kind = if verdict.finding.is_some() { ClaimKind::Finding } else { ClaimKind::Claim };
    let second = verdict.second.as_ref().map(|second| (ClaimKind::Second, second.counts.as_str(), &second.verdict));
    let all = std::iter::once((kind, verdict.words(), verdict)).chain(second);
    all.map(|(kind, words, verdict)| ClaimFacts {
        measured: verdict.shown_with_limits(),
        id: verdict.id.clone(),
        kind,
        words: words.to_owned(),
        outcome: verdict.outcome,
        verdict: verdict.outcome.label(),
        why: (!is_unanswered(kind, verdict.outcome) && verdict.outcome != Outcome::Pass).then(|| verdict.why.clone()),
    })
    .collect()
}

/// Whether no row answers a second reading or a finding: such are named in one sentence.
fn is_unanswered(kind: ClaimKind, outcome: Outcome) -> bool {
    kind != ClaimKind::Claim && outcome == Outcome::NotRun
}

fn outcomes(verdicts: &[Verdict]) -> OutcomeCounts {
    OutcomeCounts {
        all: of_paper(verdicts).count(),
        pass: count(verdicts, Outcome::Pass),
        fail: count(verdicts, Outcome::Fail),
        undecided: count(verdicts, Outcome::Undecided),
        not_run: count(verdicts, Outcome::NotRun),
        no_hardware: count(verdicts, Outcome::NoHardware),
        summary: summary(verdicts),
    }
}

fn headline(found: &Headline) -> HeadlineFacts {
    let write = |value: Option<_>| value.map(|value| found.unit.write(value).0).unwrap_or_default();
    let place = |located: Option<&HeadlineValue>| located.map(|at| at.configuration.clone()).unwrap_or_default();
    HeadlineFacts {
        count: found.count(),
        typical: write(found.typical()),
        lowest: write(found.lowest().map(|located| located.value)),
        highest: write(found.highest().map(|located| located.value)),
        lowest_place: place(found.lowest()),
        highest_place: place(found.highest()),
    }
}

fn floors(data: &Data) -> Vec<NoiseFloor> {
    let one =
        |found: noise::Floor| NoiseFloor { backend: found.backend.to_string(), floor: numbers::percent(found.floor) };
    noise::floors(data).into_iter().map(one).collect()
}
