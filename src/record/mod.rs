//! What one execution of one configuration left behind: the unit of the journal, from which every table is derived.

mod input_kind;
pub mod magnitudes;
mod status;
pub mod telemetry;

use serde::{Deserialize, Serialize};

pub use input_kind::InputKind;
pub use status::Status;

use crate::engine::{BuildReport, Ceilings, EngineDescription, MemoryBreakdown};
use crate::graph::CostSummary;
use crate::plan::ConfigurationId;
use crate::provenance::Drift;
use magnitudes::Magnitudes;
use telemetry::{Sustained, Telemetry};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which configuration.
    pub id: ConfigurationId,
    /// Hash of the environment it ran in (see provenance).
    pub environment: String,
    /// When it was finished, whole seconds since 1970 UTC; of two records of one environment the newer counts where results
    /// are merged. `None` in journals from before it was recorded.
    #[serde(default)]
    pub finished_unix_s: Option<u64>,
    /// What the run spent on it, seconds of wall time: since the row before it was stored or, for the first, since the run
    /// began. Starting workers and computing FP32 references count with the row that waited for them, so that the rows add
    /// up to the run's own time. `None` in journals from before it was recorded.
    #[serde(default)]
    pub wall_s: Option<f64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Measured.
    Ok(Box<Measured>),
    /// Built, but not executed on this machine, and why.
    Built(Box<Built>),
    /// Not measured, and why.
    Failed(Failure),
}

impl Outcome {
    /// The weights it is of, as labels have them; `None` of a failure.
    pub fn model_provenance(&self) -> Option<&str> {
        match self {
            Outcome::Ok(measured) => Some(&measured.model_provenance),
            Outcome::Built(built) => Some(&built.model_provenance),
            Outcome::Failed(_) => None,
        }
    }
}

/// An engine that was built for another machine than this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Why it was not executed, one line.
    pub reason: String,
    /// Reading or drawing the weights, seconds; 0 when the worker still had them.
    pub load_s: f64,
    /// Wall time of the whole build, seconds.
    pub build_s: f64,
    /// How it was made.
    pub build: BuildReport,
    /// Peak resident memory of the worker while it built, bytes; `None` where unknown.
    pub process_peak_bytes: Option<u64>,
    /// Floating-point operations and bytes of one pass, counted from the graph.
    pub cost: CostSummary,
    /// How the model was obtained.
    pub model_provenance: String,
    /// What differed from the pins; `None` in journals from before they were compared.
    #[serde(default)]
    pub drift: Option<Vec<Drift>>,
}

/// Why a configuration has no measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Machine-readable kind.
    pub kind: FailureKind,
    /// One line for the table's footnote.
    pub reason: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The backend cannot execute on this machine.
    Unavailable,
    /// The backend, the checkpoint or the input returned an error.
    Error,
    /// The worker process died (signal or exit code in the reason).
    Crash,
    /// The worker was killed for want of memory.
    OutOfMemory,
    /// The worker exceeded the manifest's timeout.
    Timeout,
}

impl FailureKind {
    /// As people read it.
    pub fn label(self) -> &'static str {
        match self {
            FailureKind::Unavailable => "unavailable",
            FailureKind::Error => "error",
            FailureKind::Crash => "crash",
            FailureKind::OutOfMemory => "out of memory",
            FailureKind::Timeout => "timeout",
        }
    }
}

/// Everything measured of one configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Raw samples in the order taken, milliseconds of wall time per forward pass.
    pub samples_ms: Vec<f64>,
    /// The device's own time of the same passes, milliseconds; empty where the engine is not on a device.
    #[serde(default)]
    pub device_samples_ms: Vec<f64>,
    /// A second, shorter series: wall time from token ids to outputs in host memory, milliseconds.
    #[serde(default)]
    pub end_to_end_ms: Vec<f64>,
    /// Passes back to back, where the manifest asks for them and the engine is on a device.
    #[serde(default)]
    pub sustained: Option<Sustained>,
    /// What the machine did meanwhile.
    #[serde(default, rename = "conditions")]
    pub telemetry: Telemetry,
    /// Untimed passes before the samples.
    pub warmup: usize,
    /// Why sampling ended.
    pub stop_reason: StopReason,
    /// Reading or drawing the weights, seconds; 0 when the worker still had them.
    pub load_s: f64,
    /// Wall time of the whole build, seconds.
    pub build_s: f64,
    /// How the engine was made.
    #[serde(default)]
    pub build: BuildReport,
    /// The engine's own account.
    pub memory: MemoryBreakdown,
    /// What its device can do at most, measured by the same process.
    #[serde(default)]
    pub ceilings: Option<Ceilings>,
    /// Peak resident memory of the worker from binding the inputs to the last sample, bytes; `None` where unknown.
    pub process_peak_bytes: Option<u64>,
    /// Floating-point operations and bytes of one pass, counted from the graph.
    pub cost: CostSummary,
    /// The engine against itself, where the manifest asks for it; an error says why it could not be had.
    #[serde(default)]
    pub aa_test: Option<Result<AaTest, String>>,
    /// Agreement with the FP32 reference.
    pub numerics: NumericsSummary,
    /// Task quality, where the input has labels or the model is a language model.
    pub quality: QualitySummary,
    /// The engine's description.
    pub engine: EngineDescription,
    /// How the model was obtained, for labels: `random weights, seed 1`, `checkpoint sha256 1234…`.
    pub model_provenance: String,
    /// What differed from the pins: libraries loaded, driver, build. `None` in journals from before they were compared.
    #[serde(default)]
    pub drift: Option<Vec<Drift>>,
}

/// The same engine built twice and timed by turns: what sets the two apart is noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaTest {
    /// Timed passes of a block; a round has two blocks of either engine.
    pub samples: usize,
    /// Median wall time of the first engine's passes, round by round, milliseconds.
    pub first_ms: Vec<f64>,
    /// That of the second engine's.
    pub second_ms: Vec<f64>,
}

/// Why sampling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The median's interval reached the target.
    TargetPrecision,
    /// The sample limit was reached first.
    MaxSamples,
    /// The time cap was reached first.
    TimeCap,
}

/// Agreement of outputs with the FP32 reference. Non-finite values are counted first, over the whole output.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NumericsSummary {
    /// Elements of the output that were examined for NaN and infinity (unpadded).
    pub output_elements: u64,
    /// NaN among them.
    pub nan_count: u64,
    /// Infinities among them.
    pub inf_count: u64,
    /// Output vectors compared with the reference; 0 with `None` below when no reference was to be had.
    pub compared_rows: u64,
    /// Smallest cosine over compared vectors; `None` when any compared vector is not finite.
    pub cosine_min: Option<f64>,
    /// Mean cosine.
    pub cosine_mean: Option<f64>,
    /// Largest absolute difference.
    pub max_abs: Option<f64>,
    /// `‖y - ref‖ / ‖ref‖` over all compared vectors.
    pub relative_l2: Option<f64>,
    /// Share of compared vectors with the reference's argmax (logits only).
    pub argmax_agreement: Option<f64>,
    /// Why there is no comparison, or which tolerance was broken; `None` when all is well.
    pub remark: Option<String>,
    /// False when the manifest's tolerance for this policy was broken.
    pub within_tolerance: Option<bool>,
    /// What several passes over different rows of the input came to; `None` where they were not run.
    #[serde(default, rename = "passes")]
    pub forwards: Option<ForwardSummary>,
}

/// Forward passes over different rows of the input, counted by what failed in them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ForwardSummary {
    /// Passes.
    pub forwards: u64,
    /// Those with NaN in the output (unpadded).
    pub nan_forwards: u64,
    /// Those with infinity in the output.
    pub inf_forwards: u64,
    /// Those in which the variance of a layer norm overflowed; `None` where the library does not show its tensors.
    pub silent_forwards: Option<u64>,
    /// Layer-norm rows that so came out as the bias.
    pub silent_rows: Option<u64>,
    /// Layer-norm rows in all.
    pub layer_norm_rows: Option<u64>,
    /// Where it began in the first pass in which anything went wrong.
    pub first_bad: Option<FirstBad>,
    /// Of FP32 passes: the largest magnitudes by layer.
    pub magnitudes: Option<Magnitudes>,
}

/// The first operation of a pass that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstBad {
    /// Which pass, from 0.
    pub forward: u64,
    /// Name of the operation.
    pub op: String,
    /// Its layer; `None` before the first and after the last.
    pub layer: Option<u64>,
    /// What it did.
    pub kind: BadKind,
    /// Largest finite magnitude that went in; `None` where it reads parameters alone.
    pub magnitude: Option<f64>,
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadKind {
    /// It wrote NaN.
    Nan,
    /// It wrote infinity.
    Inf,
    /// A layer norm whose variance overflowed returned its bias.
    Silent,
}

impl BadKind {
    /// As people read it.
    pub fn label(self) -> &'static str {
        match self {
            BadKind::Nan => "NaN",
            BadKind::Inf => "infinity",
            BadKind::Silent => "silent",
        }
    }
}

/// Task quality of an engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QualitySummary {
    /// Labelled sentences answered rightly.
    pub task_correct: Option<u64>,
    /// Labelled sentences.
    pub task_total: Option<u64>,
    /// Predicted label per sentence, in file order, for paired tests.
    pub predictions: Option<Vec<u8>>,
    /// Mean negative log-likelihood per token, nats.
    pub nll_mean: Option<f64>,
    /// Tokens it was averaged over.
    pub nll_tokens: Option<u64>,
}
