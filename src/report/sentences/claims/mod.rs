//! Verdicts in words: what was found and why, sentence by sentence.

mod evidence;
mod findings;
mod several;
mod text;
pub mod values;
mod verdicts;

use serde::Serialize;

use crate::claims::evidence::Evidence;
use crate::claims::{Outcome, Verdict};
pub use text::{summary, to_json, to_text};

/// A verdict with its sentences. The names of the fields are those of `mixprec verify --json` and of the templates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordedVerdict {
    /// `C1`; `C5*` in its second reading; `F1` of a finding.
    pub id: String,
    /// The paper's words; `None` of a finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// Our own words; `None` of a claim of the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// How the words were turned into an expression.
    pub reading: String,
    /// The paper's figure; `None` of a finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paper_value: Option<String>,
    /// What the results say.
    pub outcome: Outcome,
    /// The value measured here.
    pub measured: Option<String>,
    /// Its interval.
    pub interval: Option<String>,
    /// Each value with its own interval.
    #[serde(skip)]
    pub shown: Option<String>,
    /// The deciding value per check.
    pub values: Vec<CheckedValue>,
    /// How the interval was formed.
    pub method: String,
    /// Rows or pairs of rows looked at.
    pub rows: usize,
    /// Whose rows answered: models, inputs, and whether formats are emulated or weights random.
    pub answered: Evidence,
    /// Why the verdict is what it is, in one sentence: what was found, and the limit it meets or misses.
    pub why: String,
    /// What was found, in a sentence or two.
    pub explanation: String,
    /// What was left out, and why, or what speaks against all of it; part of `explanation`, too.
    #[serde(skip)]
    pub left_out: Vec<String>,
    /// Manifest whose rows answer the claim.
    pub experiment: String,
    /// What to run for them.
    pub command: String,
    /// What that takes.
    pub hardware: String,
    /// The experiment whose rows answered, where it is not the report's main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_in: Option<String>,
    /// The GPU whose rows alone answer it, as part of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_gpu: Option<String>,
    /// What each machine says, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<WordedMachine>,
    /// The verdict on the second reading, where the claim has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Box<WordedSecond>>,
}

/// A claim judged in its second reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordedSecond {
    /// What it counts and the literal reading does not.
    pub counts: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: WordedVerdict,
}

/// The number behind one check, for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedValue {
    /// What it is called; `None` where the claims file has no name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was expected, in words.
    pub expected: String,
    /// The value; in the store's units.
    pub value: Option<f64>,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// A claim judged by one machine's rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordedMachine {
    /// The machine.
    pub machine: String,
    /// What its rows say.
    pub outcome: Outcome,
    /// The value measured there.
    pub measured: Option<String>,
    /// Its interval.
    pub interval: Option<String>,
    /// What was found, in a sentence or two.
    pub explanation: String,
}

impl WordedMachine {
    /// `PASS, 42.0× [41.1×, 43.0×]`
    pub fn summary(&self) -> String {
        let value = [&self.measured, &self.interval].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        if value.is_empty() { self.outcome.label().to_owned() } else { format!("{}, {value}", self.outcome.label()) }
    }
}

impl WordedVerdict {
    /// Words a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        verdicts::worded(verdict)
    }

    /// The paper's words, or ours.
    pub fn words(&self) -> &str {
        self.sentence.as_ref().or(self.finding.as_ref()).map_or("", String::as_str)
    }

    /// The verdict, and behind it that on the second reading.
    pub fn readings(&self) -> impl Iterator<Item = &WordedVerdict> {
        std::iter::once(self).chain(self.second.as_ref().map(|second| &second.verdict))
    }

    /// Words every verdict, in order.
    pub fn all(verdicts: &[Verdict]) -> Vec<Self> {
        verdicts.iter().map(WordedVerdict::of).collect()
    }

    /// Value, interval and what limits the rows: `0 of 11 [0 %, 28.5 %], emulated on the CPU`; a dash without a value.
    pub fn shown_with_limits(&self) -> String {
        let value = self.shown.clone().unwrap_or_else(|| "–".to_owned());
        let limits = self.answered.limits().into_iter().map(str::to_owned);
        std::iter::once(value).chain(limits).collect::<Vec<_>>().join(", ")
    }
}
