//! What a search found and why it holds: for programs as JSON, for readers as Markdown.

use serde::Serialize;
use tera::{Context, Tera};

use super::tolerance::{Breakage, SearchTolerance};
use crate::engine::BackendKind;
use crate::graph::{OpClass, PrecisionPolicy, Shape};
use crate::report::escape;
use crate::stats::Interval;

/// The version of the JSON form. A newer one may add members.
pub const CERTIFICATE_VERSION: u64 = 1;

/// A minimal set of operations that need FP32, with the evidence. Without the times it is the same for every repetition, however
/// often the search was stopped.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
}

/// The model, the input and the engine of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
}

/// An operation of the set, and the forward that needs it.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonotonicityCheck {
    /// Number of supersets drawn.
    pub supersets: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Those that break the tolerance on a refuting forward.
    pub violations: Vec<NonMonotoneSet>,
}

/// A superset that breaks what the set keeps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NonMonotoneSet {
    /// Its operations besides those of the set.
    pub added: Vec<String>,
    /// What it breaks.
    pub breaks: Breakage,
}

/// Evaluations of a search. Those that a journal answered are among them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvaluationCount {
    /// Sets of operations.
    pub sets: usize,
    /// Forwards of all sets.
    pub forwards: usize,
    /// Sum of their times, builds included, seconds.
    pub wall_s: f64,
}

/// The set on a second backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

impl Certificate {
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

    /// The certificate as a page.
    ///
    /// # Errors
    /// An error of the template, which a test rules out.
    pub fn to_markdown(&self, policy_yaml: &str) -> Result<String, tera::Error> {
        const TEMPLATE: &str = include_str!("../../paper/templates/certificate.md.tera");
        let mut engine = Tera::new();
        engine.set_escape_fn(escape::markdown);
        engine.autoescape_on([".md"]);
        engine.add_raw_templates([("certificate.md", TEMPLATE)])?;
        let mut context = Context::from_serialize(self)?;
        let text = |breakage: &Breakage| breakage.to_string();
        let without: Vec<String> = self.operations.iter().map(|one| text(&one.without)).collect();
        context.insert("without", &without);
        context.insert("start_text", &self.start_breaks.as_ref().map(text));
        context.insert("held_out_texts", &self.held_out.breaking.iter().map(text).collect::<Vec<_>>());
        let violations = self.monotonicity.violations.iter().map(|one| text(&one.breaks));
        context.insert("violation_texts", &violations.collect::<Vec<_>>());
        let confirmation = self.confirmation.as_ref().and_then(|found| found.breaks.as_ref()).map(text);
        context.insert("confirmation_text", &confirmation);
        context.insert("policy_yaml", policy_yaml);
        engine.render("certificate.md", &context)
    }
}
