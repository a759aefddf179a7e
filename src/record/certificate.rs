//! What a search found and why it holds.

use serde::{Deserialize, Serialize};

use crate::engine::{BackendKind, Launches, MemoryBreakdown};
use crate::graph::{OpClass, PrecisionPolicy, Shape};
use crate::manifest::schema::SearchTolerance;
use crate::provenance::BuildInfo;
use crate::stats::Interval;

/// Name of the file with a certificate.
pub const CERTIFICATE_FILE: &str = "certificate.json";

/// The version of the JSON form. A newer one may add members.
pub const CERTIFICATE_VERSION: u64 = 1;

/// A minimal set of operations that need FP32, with the evidence. Without the times it is the same for every repetition, however
/// often the search was stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// [`CERTIFICATE_VERSION`].
    pub schema: u64,
    /// What was searched.
    pub subject: CertifiedSubject,
    /// The policy at the start.
    pub start: PrecisionPolicy,
    /// The policy that was found.
    pub policy: PrecisionPolicy,
    /// The limits. No NaN and no infinity is allowed besides them.
    pub tolerance: SearchTolerance,
    /// A row with a smaller cosine to its reference is broken.
    pub broken_cosine: f64,
    /// So is one with a larger relative L2 error.
    pub broken_relative_l2: f64,
    /// The forward at which the start breaks the tolerance; `None` where it keeps it and nothing is needed.
    pub start_breaks: Option<Breakage>,
    /// The operations that compute in FP32, least headroom first.
    pub operations: Vec<NecessaryOperation>,
    /// The policy over the forwards that were searched.
    pub searched: ForwardTotals,
    /// Forwards that refuted a set.
    pub refuting_forwards: Vec<usize>,
    /// The policy over forwards that no set was searched on.
    pub held_out: HeldOutForwards,
    /// Whether more operations in FP32 ever broke what fewer kept.
    pub monotonicity: MonotonicityCheck,
    /// What the search took.
    pub evaluations: EvaluationCount,
    /// The same on another backend.
    pub confirmation: Option<Confirmation>,
    /// How long it takes on a device beside `fp16` and `hybrid`; `None` in older certificates.
    #[serde(default)]
    pub timing: Option<PolicyTiming>,
    /// The program that searched; `None` in older certificates.
    #[serde(default)]
    pub build: Option<BuildInfo>,
}

/// The quantity whose limit a forward broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedQuantity {
    /// NaN and infinities of the forward; the limit is 0.
    Nonfinite,
    /// Smallest cosine of the forward.
    CosineMin,
    /// Broken rows up to the forward.
    BrokenRows,
    /// Flips up to the forward.
    Flips,
    /// Ratio of perplexities over all forwards; the forward is the one that contributes most.
    PerplexityRatio,
}

impl LimitedQuantity {
    /// Name for readers.
    pub fn label(self) -> &'static str {
        match self {
            LimitedQuantity::Nonfinite => "NaN and infinities",
            LimitedQuantity::CosineMin => "smallest cosine",
            LimitedQuantity::BrokenRows => "broken rows",
            LimitedQuantity::Flips => "flips",
            LimitedQuantity::PerplexityRatio => "perplexity ratio",
        }
    }
}

/// A forward at which a limit broke.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Breakage {
    /// The forward, from 0.
    pub forward: usize,
    /// The quantity.
    pub quantity: LimitedQuantity,
    /// Its value; `None` where it is undefined.
    pub value: Option<f64>,
    /// Its limit.
    pub limit: f64,
}

impl std::fmt::Display for Breakage {
    /// `forward 3: smallest cosine 0.078, limit 0.999`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value.map_or("undefined".to_owned(), |value| beside(value, self.limit));
        write!(f, "forward {}: {} {value}, limit {}", self.forward, self.quantity.label(), self.limit)
    }
}

/// A value with six decimals; all its digits where it would read as the limit that it breaks. A whole number has none.
fn beside(value: f64, limit: f64) -> String {
    let rounded = format!("{value:.6}");
    match rounded.parse::<f64>() {
        Ok(shown) if value.fract() != 0.0 && (shown.fract() == 0.0 || shown == limit) => value.to_string(),
        _ => rounded.strip_suffix(".000000").unwrap_or(&rounded).to_owned(),
    }
}

/// The model, the input and the engine of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CertifiedSubject {
    /// Model name.
    pub model: String,
    /// Its weights: kind and digest or seed.
    pub weights: String,
    /// SHA-256 of its graph.
    pub graph_sha256: String,
    /// Input name.
    pub input: String,
    /// SHA-256 of the input's file; `None` of random ids.
    pub input_sha256: Option<String>,
    /// SHA-256 of the token ids of all forwards, searched and held out, as little-endian 32-bit numbers.
    pub ids_sha256: String,
    /// Backend.
    pub backend: BackendKind,
    /// Its library and version.
    pub library: String,
    /// Batch size and sequence length.
    pub shape: Shape,
    /// Operations that the start does not compute in FP32.
    pub candidates: usize,
    /// Layers of the model; `None` in older certificates.
    #[serde(default)]
    pub layers: Option<usize>,
}

/// An operation of the set, and the forward that needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NecessaryOperation {
    /// Name.
    pub op: String,
    /// Class.
    pub class: OpClass,
    /// Layer; `None` before the first and after the last.
    pub layer: Option<u64>,
    /// log₂ of the largest finite number of its format over the largest that it forms in FP32; `None` where all are zero.
    pub headroom_bits: Option<f64>,
    /// What the set without it breaks.
    pub without: Breakage,
}

/// Sums over forwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ForwardTotals {
    /// The first of them, counted from the start of the input.
    pub first: usize,
    /// Number of forwards.
    pub forwards: usize,
    /// Output rows compared.
    pub compared_rows: u64,
    /// NaN and infinities.
    pub nonfinite: u64,
    /// Smallest cosine; `None` where a forward has none.
    pub cosine_min: Option<f64>,
    /// Broken rows; `None` where a forward does not know them.
    pub broken_rows: Option<u64>,
    /// Rows with another argmax.
    pub flips: Option<u64>,
}

/// How the policy does where it was not searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOutForwards {
    /// Sums.
    pub totals: ForwardTotals,
    /// Forwards that break the tolerance, each judged by itself.
    pub breaking: Vec<Breakage>,
    /// Share of such forwards, Clopper-Pearson 95 %; `None` without forwards.
    pub breaking_share: Option<Interval>,
    /// Whether all of them together keep the tolerance; `None` without forwards.
    pub within_tolerance: Option<bool>,
}

/// Random supersets of the set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonotonicityCheck {
    /// Number of supersets drawn.
    pub supersets: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Those that break the tolerance on a refuting forward.
    pub violations: Vec<NonMonotoneSet>,
}

/// A superset that breaks what the set keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NonMonotoneSet {
    /// Its operations besides those of the set.
    pub added: Vec<String>,
    /// What it breaks.
    pub breaks: Breakage,
}

/// Evaluations of a search. Those that a journal answered are among them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EvaluationCount {
    /// Sets of operations.
    pub sets: usize,
    /// Forwards of all sets.
    pub forwards: usize,
    /// Sum of their times, builds included, seconds.
    pub wall_s: f64,
}

/// The set on a second backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Backend.
    pub backend: BackendKind,
    /// Its library and version.
    pub library: String,
    /// What the policy breaks there over the forwards that were searched; `None` where it keeps the tolerance.
    pub breaks: Option<Breakage>,
    /// Sums over these forwards.
    pub totals: ForwardTotals,
    /// Operations without which the forward that needs them here is within the tolerance there.
    pub unneeded: Vec<String>,
}

/// The policy found beside `fp16` and `hybrid` on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyTiming {
    /// Timed, at one shape after the other, the shape of the search first.
    Timed(Vec<TimedShape>),
    /// Not timed, for this reason.
    NotTimed(String),
}

/// Policies at a shape, timed in one process, their blocks of forwards in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedShape {
    /// Batch size and sequence length.
    pub shape: Shape,
    /// Backend.
    pub backend: BackendKind,
    /// Its library and version.
    pub library: String,
    /// Device name; `None` where nothing was built.
    pub device: Option<String>,
    /// `fp16`, `hybrid`, and what was found where it is neither.
    pub policies: Vec<TimedPolicy>,
    /// Why there are none.
    pub failure: Option<String>,
}

/// One policy among others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedPolicy {
    /// Policy name.
    pub policy: String,
    /// Median wall time of its forwards in each round, milliseconds.
    pub rounds_ms: Vec<f64>,
    /// The median of all rounds, milliseconds.
    pub median_ms: f64,
    /// The 95 % interval of the median, a bootstrap over rounds.
    pub median_interval_ms: Option<Interval>,
    /// Times the first policy's time, the median over rounds.
    pub ratio: f64,
    /// Its 95 % interval.
    pub ratio_interval: Option<Interval>,
    /// Memory of its engine.
    pub memory: MemoryBreakdown,
    /// Energy of the board for a forward, joules.
    pub energy_j: Option<f64>,
    /// Why there is none.
    pub energy_remark: Option<String>,
    /// The kernels of a forward, where the backend knows them.
    pub launches: Option<Launches>,
}

impl Certificate {
    /// The policy found, timed at the shape of the search; `None` where it was not.
    pub fn timed_policy(&self) -> Option<&TimedPolicy> {
        let Some(PolicyTiming::Timed(shapes)) = &self.timing else { return None };
        shapes.first()?.policies.iter().find(|one| one.policy == self.policy.name)
    }

    /// What searches with different tolerances have in common: model, input, name of the start, backend and shape.
    pub fn subject_key(&self) -> (&str, &str, &str, BackendKind, Shape) {
        let CertifiedSubject { model, input, backend, shape, .. } = &self.subject;
        (model, input, &self.start.name, *backend, *shape)
    }

    /// Whether the policy keeps the tolerance on every forward that was held out, and on the second backend.
    pub fn is_confirmed(&self) -> bool {
        let elsewhere = self.confirmation.as_ref().is_none_or(|found| found.breaks.is_none());
        elsewhere && self.held_out.within_tolerance != Some(false)
    }

    /// The certificate as indented JSON with a final newline.
    ///
    /// # Errors
    /// None in practice: every value has a form in JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_does_not_read_as_the_limit_that_it_breaks() {
        let shown = |quantity, value, limit| Breakage { forward: 3, quantity, value, limit }.to_string();
        let cosine = |value, limit| shown(LimitedQuantity::CosineMin, Some(value), limit);
        assert_eq!(cosine(0.078_012_34, 0.999), "forward 3: smallest cosine 0.078012, limit 0.999");
        assert_eq!(cosine(0.999_999_97, 1.0), "forward 3: smallest cosine 0.99999997, limit 1");
        assert_eq!(cosine(0.998_999_99, 0.999), "forward 3: smallest cosine 0.99899999, limit 0.999");
        let rows = shown(LimitedQuantity::BrokenRows, Some(4.0), 0.0);
        assert_eq!(rows, "forward 3: broken rows 4, limit 0");
        assert_eq!(shown(LimitedQuantity::Flips, None, 0.0), "forward 3: flips undefined, limit 0");
    }
}
