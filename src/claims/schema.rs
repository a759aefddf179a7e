//! `claims.yaml`, read strictly: one struct per mapping, unknown keys refused, errors with line and column.

use serde::{Deserialize, Serialize};

pub use super::filter::Filter;
use crate::analysis::pairs::Column;
use crate::engine::BackendKind;

/// The claims format this program reads.
pub const CLAIMS_VERSION: u64 = 1;

/// A claims file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Format version.
    pub schema: u64,
    /// Where the sentences are from.
    pub source: String,
    /// The claims.
    pub claims: Vec<Claim>,
    /// Quantities that are shown over all shapes, each by the expression of a claim.
    #[serde(default)]
    pub headlines: Vec<HeadlineSpec>,
}

/// A quantity over all shapes: every value of a claim's expression, where the claim takes the one that decides.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadlineSpec {
    /// Letters only, for macros: `HybridOverFp`.
    pub key: String,
    /// `Hybrid over FP32`
    pub quantity: String,
    /// The id of the claim whose first check has the expression.
    pub expression_of: String,
    /// Whether the quantity bears on that claim, so that the claim's verdict is shown with it.
    #[serde(default)]
    pub bears_on_claim: bool,
    /// Another column in place of the expression's.
    #[serde(default)]
    pub of: Option<Quantity>,
    /// Lists that replace those of the expression's numerator.
    #[serde(default)]
    pub numerator: Filter,
    /// Lists that replace those of its denominator.
    #[serde(default)]
    pub denominator: Filter,
    /// Lists that replace those of its rows, where it looks at single ones.
    #[serde(default, rename = "where")]
    pub filter: Filter,
    /// The beginning of the sentence that ends in the value.
    pub subject: String,
    /// What would have been needed, where there is no value.
    pub lacking: String,
}

/// A sentence of the paper, or a finding of our own, and how to check it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `C1`; `F1` of a finding.
    pub id: String,
    /// The paper's words; `None` of a finding.
    #[serde(default)]
    pub sentence: Option<String>,
    /// What the results show and the paper does not say, in our words; `None` of a claim of the paper.
    #[serde(default)]
    pub finding: Option<String>,
    /// How the words were turned into the expression.
    pub reading: String,
    /// The paper's figure; `None` of a finding.
    #[serde(default)]
    pub paper_value: Option<String>,
    /// What it is about.
    pub kind: Kind,
    /// Whose rows may answer it.
    pub scope: Scope,
    /// Every one must hold.
    pub checks: Vec<Check>,
    /// Another reading of the paper's words. It has a verdict of its own, beside that of the literal one.
    #[serde(default)]
    pub second: Option<SecondReading>,
    /// Only rows of a run of `experiment` answer it.
    #[serde(default)]
    pub requires_experiment: bool,
    /// Name of the manifest that yields the rows.
    pub experiment: String,
    /// What to run.
    pub command: String,
    /// What it takes.
    pub hardware: String,
    /// Backends whose rows answer it: those that this build lacks are named where no row does.
    #[serde(default)]
    pub backends: Vec<BackendKind>,
}

/// A reading of a claim beside the literal one. Kind, scope and experiment are those of the claim.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondReading {
    /// What it counts and the literal reading does not: `any failure`.
    pub counts: String,
    /// How the words were turned into the expression.
    pub reading: String,
    /// Every one must hold.
    pub checks: Vec<Check>,
}

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Latency, throughput, speed-up: emulated rows never answer.
    Time,
    /// Bytes: emulated rows never answer.
    Memory,
    /// Outputs.
    Numerics,
    /// Accuracy, perplexity.
    Quality,
    /// Number of configurations.
    Count,
}

impl Kind {
    /// Whether rows with emulated formats may answer.
    pub fn admits_emulation(self) -> bool {
        matches!(self, Kind::Numerics | Kind::Quality)
    }
}

/// Whose rows may answer a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every machine's.
    AnyDevice,
    /// Those of a machine with a GPU.
    AnyGpu,
    /// Those of a machine with a GPU whose name holds this text.
    SameGpu(String),
}

/// An expression and the values it should have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What to compute.
    pub expression: Expression,
    /// What it should be.
    pub expect: Expect,
    /// What its value is called where several values stand side by side: `passes with NaN`.
    #[serde(default)]
    pub value: Option<String>,
}

/// A quantity over the results.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// Numerator over denominator.
    Ratio(Pairing),
    /// 1 less numerator over denominator.
    Reduction(Pairing),
    /// Numerator less denominator.
    Difference(Pairing),
    /// One column over rows.
    Aggregate(Aggregate),
    /// Share of rows with an event.
    Share(Share),
    /// Number of measured rows.
    Count(Count),
}

impl Check {
    /// Whether one value that is large enough meets it, so that smaller ones elsewhere refute nothing: "up to 6x".
    pub fn is_up_to(&self) -> bool {
        let largest = match &self.expression {
            Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                pairing.reduce == Reduce::Max
            }
            Expression::Aggregate(aggregate) => aggregate.reduce == Reduce::Max,
            Expression::Share(_) => false,
            Expression::Count(_) => true,
        };
        largest && self.expect.at_most.is_none() && self.expect.less_than.is_none()
    }
}

impl Expression {
    /// The column that it is made of; `None` of events and counts.
    pub fn of(&self) -> Option<Quantity> {
        match self {
            Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                Some(pairing.of)
            }
            Expression::Aggregate(aggregate) => Some(aggregate.of),
            Expression::Share(_) | Expression::Count(_) => None,
        }
    }

    /// The filters of the rows it looks at.
    pub fn filters(&self) -> Vec<&Filter> {
        match self {
            Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                vec![&pairing.numerator, &pairing.denominator]
            }
            Expression::Aggregate(aggregate) => vec![&aggregate.filter],
            Expression::Share(share) => vec![&share.filter],
            Expression::Count(count) => vec![&count.filter],
        }
    }
}

/// Rows of two kinds, joined.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairing {
    /// The column of both.
    pub of: Quantity,
    /// Rows of the first kind.
    pub numerator: Filter,
    /// Rows of the second kind.
    pub denominator: Filter,
    /// Columns in which a pair agrees.
    pub joined_by: Vec<Column>,
    /// How many pairs become one value.
    pub reduce: Reduce,
}

/// One column over rows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// The column.
    pub of: Quantity,
    /// The rows that count.
    #[serde(rename = "where")]
    pub filter: Filter,
    /// How many rows become one value.
    pub reduce: Reduce,
}

/// Share of rows with an event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The event.
    pub event: Event,
    /// The rows that count.
    #[serde(rename = "where")]
    pub filter: Filter,
    /// Rows that must have the event for its absence to mean anything: what is said to be eliminated must be there.
    #[serde(default)]
    pub eliminated_from: Option<Counterpart>,
}

/// Rows that other rows are compared with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counterpart {
    /// The rows that count.
    #[serde(rename = "where")]
    pub filter: Filter,
    /// Columns in which a pair agrees.
    pub joined_by: Vec<Column>,
}

/// Number of measured rows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The rows that count.
    #[serde(rename = "where")]
    pub filter: Filter,
}

/// A numeric column, stored or computed from stored ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Median latency.
    LatencyP50Ms,
    /// Median time from token ids to outputs in host memory.
    EndToEndP50Ms,
    /// What the engine holds: weights, activations and scratch, as far as it knows them.
    EngineMemoryBytes,
    /// Peak resident memory of the worker process.
    ProcessPeakBytes,
    /// Smallest cosine over the compared sequences of the first pass.
    CosineMin,
    /// Largest absolute error.
    MaxAbsError,
    /// Smallest cosine over every examined forward pass that was compared with the reference.
    ForwardCosineMin,
    /// The smaller of both, or the one that the row has.
    SmallestCosine,
    /// Largest deviation from its row's mean that enters a layer norm in FP32.
    LargestDeviation,
    /// Relative L2 error.
    RelativeL2Error,
    /// NaN among the output's elements.
    NanShare,
    /// Forward passes with NaN in the output among those examined.
    NanRate,
    /// Forward passes with a broken row in the output among those examined.
    BrokenRate,
    /// Forward passes with NaN, infinity or a broken row in the output among those examined.
    FailureRate,
    /// Forward passes with a silent layer norm among those whose tensors were examined.
    SilentRate,
    /// Task accuracy.
    TaskAccuracy,
    /// Perplexity.
    Perplexity,
}

impl Quantity {
    /// Whether it is a time, whose ratios a disturbance spoils.
    pub fn is_a_time(self) -> bool {
        matches!(self, Quantity::LatencyP50Ms | Quantity::EndToEndP50Ms)
    }

    /// Whether it is a rate per forward pass, whose interval follows from two counts.
    pub fn is_a_rate(self) -> bool {
        matches!(self, Quantity::NanRate | Quantity::BrokenRate | Quantity::FailureRate | Quantity::SilentRate)
    }
}

/// Something that happened in a configuration or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// At least one NaN in the output.
    Nan,
    /// At least one NaN or infinity in the output.
    NonFinite,
    /// At least one broken row in the output. A row that was not compared with the reference answers nothing.
    Broken,
    /// NaN, infinity or a broken row.
    Failed,
}

/// How several values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduce {
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// Middle (the lower of two, so that it is one of the values).
    Median,
    /// Every one must meet the expectation.
    Each,
}

/// The values a claim allows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Lower limit.
    pub at_least: Option<f64>,
    /// Upper limit.
    pub at_most: Option<f64>,
    /// Lower limit, itself not allowed.
    pub more_than: Option<f64>,
    /// Upper limit, itself not allowed.
    pub less_than: Option<f64>,
    /// How far a limit may be missed.
    pub tolerance: Option<Slack>,
}

/// How far a limit may be missed.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slack {
    /// A fraction of the limit.
    Relative(f64),
    /// In the value's own unit.
    Absolute(f64),
}
