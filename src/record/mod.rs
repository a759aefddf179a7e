//! The record of one execution of one configuration. Records are the lines of the journal, and every table is derived
//! from them.

pub mod certificate;
mod input_kind;
pub mod magnitudes;
mod materials;
mod quality;
mod status;
pub mod telemetry;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use input_kind::InputKind;
pub use materials::{Changed, Materials, differing};
pub use quality::QualitySummary;
pub use status::Status;

use crate::engine::{BuildReport, Ceilings, EngineDescription, MemoryBreakdown};
use crate::graph::CostSummary;
use crate::model::{ModelOutput, RawFiles, WeightsProvenance};
use crate::plan::ConfigurationId;
use crate::provenance::Drift;
use magnitudes::Magnitudes;
use telemetry::{Sustained, Telemetry};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The configuration.
    pub id: ConfigurationId,
    /// Id of the environment it ran in (see [`crate::provenance`]).
    pub environment: String,
    /// Time when it finished, whole seconds since 1970 UTC. Where results are merged, the newer of two records of one
    /// environment counts. `None` in older journals.
    #[serde(default)]
    pub finished_unix_s: Option<u64>,
    /// Wall time since the previous row was stored, or since the run began for the first row, seconds. Worker starts
    /// and FP32 references count towards the row that waited for them, so the rows add up to the time of the run.
    /// `None` in older journals.
    #[serde(default)]
    pub wall_s: Option<f64>,
    /// Unique id of the GPU that it was given. `None` where a run was not spread over several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Measured.
    Ok(Box<EngineMeasurements>),
    /// Built, but not executed on this machine.
    Built(Box<Built>),
    /// Not measured.
    Failed(Failure),
}

impl Outcome {
    /// Where its weights came from. `None` for a failure.
    pub fn weights(&self) -> Option<&WeightsProvenance> {
        match self {
            Outcome::Ok(measured) => measured.weights.as_ref(),
            Outcome::Built(built) => built.weights.as_ref(),
            Outcome::Failed(_) => None,
        }
    }

    /// What else it was made from. `None` for a failure and in older journals.
    pub fn materials(&self) -> Option<&Materials> {
        match self {
            Outcome::Ok(measured) => measured.materials.as_ref(),
            Outcome::Built(built) => built.materials.as_ref(),
            Outcome::Failed(_) => None,
        }
    }
}

/// An engine that was built for another machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Why it was not executed, on one line.
    pub reason: String,
    /// Time to read or draw the weights, seconds; 0 when the worker had them already.
    pub load_s: f64,
    /// Wall time of the whole build, seconds.
    pub build_s: f64,
    /// How it was built.
    pub build: BuildReport,
    /// Peak resident memory of the worker while it built, bytes; `None` where unknown.
    pub process_peak_bytes: Option<u64>,
    /// Floating-point operations and bytes of one forward, counted from the graph.
    pub cost: CostSummary,
    /// Label of its weights.
    pub model_provenance: String,
    /// Where its weights came from. For journals from before it was recorded, the reader takes it from the label.
    #[serde(default)]
    pub weights: Option<WeightsProvenance>,
    /// What else it was made from; `None` in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materials: Option<Materials>,
    /// What the output is. `None` in older journals.
    #[serde(default)]
    pub output: Option<ModelOutput>,
    /// Drift from the pins; `None` in older journals.
    #[serde(default)]
    pub drift: Option<Vec<Drift>>,
}

/// Why a configuration has no measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Machine-readable kind.
    pub kind: FailureKind,
    /// One line for the footnote of a table.
    pub reason: String,
    /// The files of its model and input when it failed. `None` in older journals and where nothing was to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Box<RawFiles>>,
    /// SHA-256 of each library of its backend by its name when it failed, as far as they were found. `None` in older journals and
    /// of backends without libraries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libraries: Option<BTreeMap<String, String>>,
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
    /// A process ran out of memory.
    OutOfMemory,
    /// The worker exceeded the manifest's timeout.
    Timeout,
}

impl FailureKind {
    /// Name for readers.
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

/// All measurements of one configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineMeasurements {
    /// Raw samples in the order taken, milliseconds of wall time per forward.
    pub samples_ms: Vec<f64>,
    /// How many of these each process took, in order; empty where one took all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_of_processes: Vec<usize>,
    /// Device time of the same forwards, milliseconds; empty where the engine is not on a device.
    #[serde(default)]
    pub device_samples_ms: Vec<f64>,
    /// A second, shorter series: wall time from token ids to outputs in host memory, milliseconds.
    #[serde(default)]
    pub end_to_end_ms: Vec<f64>,
    /// Forwards back to back, where the manifest asks for them and the engine is on a device.
    #[serde(default)]
    pub sustained: Option<Sustained>,
    /// Telemetry of the machine during the samples.
    #[serde(default, rename = "conditions")]
    pub telemetry: Telemetry,
    /// Untimed forwards before the samples.
    pub warmup: usize,
    /// Why sampling ended.
    pub stop_reason: StopReason,
    /// Time to read or draw the weights, seconds; 0 when the worker had them already.
    pub load_s: f64,
    /// Wall time of the whole build, seconds.
    pub build_s: f64,
    /// How the engine was built.
    #[serde(default)]
    pub build: BuildReport,
    /// Memory by the engine's own count.
    pub memory: MemoryBreakdown,
    /// Highest rates of its device, measured in the same process.
    #[serde(default)]
    pub ceilings: Option<Ceilings>,
    /// Peak resident memory of the worker from binding the inputs to the last sample, bytes; `None` where unknown.
    pub process_peak_bytes: Option<u64>,
    /// Floating-point operations and bytes of one forward, counted from the graph.
    pub cost: CostSummary,
    /// A/A test of the engine, where the manifest asks for one. The error is the reason why it failed.
    #[serde(default)]
    pub aa_test: Option<Result<AaTest, String>>,
    /// Agreement with the FP32 reference.
    pub numerics: NumericsSummary,
    /// Task quality, where the input has labels or the model is a language model.
    pub quality: QualitySummary,
    /// The engine's description.
    pub engine: EngineDescription,
    /// Label of its weights: `random weights, seed 1`, `checkpoint sha256 1234…`.
    pub model_provenance: String,
    /// Where its weights came from. For journals from before it was recorded, the reader takes it from the label.
    #[serde(default)]
    pub weights: Option<WeightsProvenance>,
    /// What else it was made from; `None` in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materials: Option<Materials>,
    /// What the output is. `None` in older journals.
    #[serde(default)]
    pub output: Option<ModelOutput>,
    /// Drift from the pins: loaded libraries, driver, build. `None` in older journals.
    #[serde(default)]
    pub drift: Option<Vec<Drift>>,
}

/// The same engine built twice and timed interleaved. Any difference between the two is noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaTest {
    /// Timed forwards per block. A round has two blocks of each engine.
    pub samples: usize,
    /// Median wall time of the first engine's forwards in each round, milliseconds.
    pub first_ms: Vec<f64>,
    /// Median wall time of the second engine's forwards in each round, milliseconds.
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
    /// Output vectors compared with the reference. Without a reference it is 0, and the distances below are `None`.
    pub compared_rows: u64,
    /// Finite ones among them that are broken: too far from the reference by the manifest's limits. `None` without a
    /// comparison and in older journals.
    #[serde(default)]
    pub broken_rows: Option<u64>,
    /// Smallest cosine over compared vectors; `None` when any compared vector is not finite, or is one number.
    pub cosine_min: Option<f64>,
    /// Mean cosine.
    pub cosine_mean: Option<f64>,
    /// Largest absolute difference.
    pub max_abs: Option<f64>,
    /// `‖y - ref‖ / ‖ref‖` over all compared vectors.
    pub relative_l2: Option<f64>,
    /// Share of compared vectors with the reference's argmax (logits of alternatives only).
    pub argmax_agreement: Option<f64>,
    /// Spearman's rank correlation with the reference, where every compared vector is one number. `None` also in older
    /// journals.
    #[serde(default)]
    pub rank_correlation: Option<f64>,
    /// Why there is no comparison, or which tolerance was broken; `None` when all is well.
    pub remark: Option<String>,
    /// False when the manifest's tolerance for this policy was broken; `None` also where none of its limits on values could
    /// be checked.
    pub within_tolerance: Option<bool>,
    /// Examination of several forwards over different rows of the input; `None` where they were not run.
    #[serde(default, rename = "passes")]
    pub forwards: Option<ForwardSummary>,
}

/// The beginning of the remark on an input whose labels or text were not scored, and why.
pub const NOT_SCORED: &str = "not scored: ";

/// The beginning of the remark on limits of a tolerance that were not checked.
pub const NOT_CHECKED: &str = "not checked: the limit on ";

impl NumericsSummary {
    /// Adds a remark after those that it has.
    pub fn add_remark(&mut self, remark: &str) {
        let earlier = self.remark.take().map(|remark| format!("{remark}; ")).unwrap_or_default();
        self.remark = Some(format!("{earlier}{remark}"));
    }
}

/// Counts of numerical failures in forwards over different rows of the input. What a comparison with the reference counts
/// is `None` where a forward has none, and in older journals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ForwardSummary {
    /// Number of forwards.
    pub forwards: u64,
    /// Forwards with NaN in the output (unpadded).
    pub nan_forwards: u64,
    /// Forwards with infinity in the output.
    pub inf_forwards: u64,
    /// Forwards in which the variance of a layer norm overflowed; `None` where the library does not show its tensors.
    pub silent_forwards: Option<u64>,
    /// Layer-norm rows that returned their bias because of it.
    pub silent_rows: Option<u64>,
    /// All layer-norm rows.
    pub layer_norm_rows: Option<u64>,
    /// Output vectors of all forwards that were compared with the reference.
    #[serde(default)]
    pub compared_rows: Option<u64>,
    /// Finite ones among them that are broken.
    #[serde(default)]
    pub broken_rows: Option<u64>,
    /// Forwards with a broken row.
    #[serde(default)]
    pub broken_forwards: Option<u64>,
    /// Forwards that failed: with NaN, infinity or a broken row in the output. Each counts once.
    #[serde(default)]
    pub failed_forwards: Option<u64>,
    /// Smallest cosine over the compared vectors of all forwards; `None` also when one of them is not finite.
    #[serde(default)]
    pub cosine_min: Option<f64>,
    /// The operation where the first failure began.
    pub first_bad: Option<FirstBad>,
    /// Largest magnitudes by layer, for FP32 forwards only.
    pub magnitudes: Option<Magnitudes>,
}

/// The first operation of a forward that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstBad {
    /// Index of the forward, from 0.
    pub forward: u64,
    /// Name of the operation.
    pub op: String,
    /// Its layer; `None` before the first layer and after the last.
    pub layer: Option<u64>,
    /// How it failed.
    pub kind: BadKind,
    /// Largest finite magnitude of its inputs; `None` where it reads only parameters.
    pub magnitude: Option<f64>,
}

/// How an operation fails.
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
    /// Name for readers.
    pub fn label(self) -> &'static str {
        match self {
            BadKind::Nan => "NaN",
            BadKind::Inf => "infinity",
            BadKind::Silent => "silent",
        }
    }
}
