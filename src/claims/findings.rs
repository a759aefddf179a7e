//! What one check of a claim found: values, counts and rows. The report words them.

use super::evidence::Evidence;
use super::interval::{Estimate, Met};
use super::schema::{Quantity, Reduce};
use crate::analysis::disturbances::Disturbance;
use crate::analysis::facts::{flips, site_label};
use crate::analysis::pairs::Deciding;
use crate::engine::BackendKind;
use crate::store::schema::ResultRow;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckFinding {
    /// `None`: there is nothing to judge by.
    pub met: Option<Met>,
    /// The value that decides, and its interval. Where each value counts: their median, and the outer ends of all intervals.
    pub estimate: Option<Estimate>,
    /// How the interval was formed; `None` where nothing could have one.
    pub interval_rule: Option<IntervalRule>,
    /// Rows or pairs of rows looked at.
    pub rows: usize,
    /// Their ids; of pairs those of both.
    pub looked_at: Vec<String>,
    /// The models and inputs of those rows.
    pub evidence: Evidence,
    /// What they show.
    pub observed: Observed,
    /// The disturbed ones among them.
    pub disturbed: Option<Disturbed>,
}

/// What the rows of a check show.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Observed {
    /// No row or pair of rows could answer.
    #[default]
    Nothing,
    /// Values of pairs of rows.
    Pairs {
        /// `None` where no pair has a value.
        reduced: Option<Reduced>,
        /// Pairs without a value: the quotient is undefined.
        undefined: usize,
        /// Those of them whose denominator is 0 and whose numerator is not.
        over_zero: usize,
    },
    /// Both sides of every pair are 0.
    ZeroPairs {
        /// Forward passes that were examined on the side with the fewest.
        fewest_forwards: Option<u64>,
    },
    /// Values of rows; `None` where no row has one.
    Rows(Option<Reduced>),
    /// A row whose value is undefined, because its output holds NaN or infinity.
    NotFinite {
        /// The row.
        row: RowName,
        /// Share of its output's elements that are not finite.
        share: f64,
    },
    /// Rows with an event.
    Events(EventCount),
    /// Rows that were measured, and rows that are still to run.
    Progress {
        /// Measured rows.
        measured: usize,
        /// Rows still to run.
        pending: usize,
    },
}

/// How the values of a check became one.
#[derive(Debug, Clone, PartialEq)]
pub enum Reduced {
    /// One of them decides.
    One {
        /// The rule that chose it.
        reduce: Reduce,
        /// Number of values.
        values: usize,
        /// The row of the deciding value; numerator and denominator of a pair.
        rows: Vec<RowName>,
        /// The answers of both rows, where accuracies are compared.
        answers: Option<PairedAnswers>,
        /// Failing and all forward passes of the row, where its value is their rate.
        passes: Option<(u64, u64)>,
    },
    /// Every one must meet the expectation.
    Each {
        /// Number of values.
        values: usize,
        /// Those that meet it, with the whole interval.
        holding: usize,
        /// The smallest value.
        lowest: f64,
        /// The largest.
        highest: f64,
    },
}

/// A row by id, and what a reader calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowName {
    /// Configuration id.
    pub id: String,
    /// Backend.
    pub backend: BackendKind,
    /// Policy name.
    pub precision: String,
    /// `bert-base 8×128 random`: what was computed.
    pub site: String,
}

impl RowName {
    /// The name of a row.
    pub fn of(row: &ResultRow) -> Self {
        RowName { id: row.id.clone(), backend: row.backend, precision: row.precision.clone(), site: site_label(row) }
    }
}

/// Two rows' answers on the same labelled sentences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedAnswers {
    /// Accuracy of the numerator and of the denominator, as shares.
    pub accuracies: [f64; 2],
    /// Number of sentences.
    pub sentences: u64,
    /// Sentences with different answers; `None` where the answers cannot be paired.
    pub flips: Option<usize>,
}

impl PairedAnswers {
    /// The answers of a numerator and a denominator; `None` where a row was not scored.
    pub fn of(rows: &[&ResultRow]) -> Option<Self> {
        let [first, second] = rows else { return None };
        Some(PairedAnswers {
            accuracies: [first.task_accuracy?, second.task_accuracy?],
            sentences: first.task_total?,
            flips: flips(second, first),
        })
    }
}

/// Rows with an event among all that were looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct EventCount {
    /// Rows with the event.
    pub rows: usize,
    /// The first of them.
    pub first: Option<RowName>,
    /// Output elements of all rows.
    pub elements: u64,
    /// Forward passes of all rows.
    pub forwards: u64,
    /// Those with the event, and all; `None` where a row does not know them.
    pub passes: Option<(u64, u64)>,
    /// The rows that must have the event, where the claim names some and no row here has it.
    pub elimination: Option<Elimination>,
}

/// Rows without an event against counterparts that must have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elimination {
    /// Pairs of a row and its counterpart.
    pub pairs: usize,
    /// Those whose counterpart has the event.
    pub with_event: usize,
    /// Those whose counterpart has broken output rows.
    pub broken: usize,
}

impl Elimination {
    /// Whether an event can be said to be eliminated: only where counterparts have it.
    pub fn met(self) -> Option<Met> {
        match (self.pairs, self.with_event) {
            (0, _) => None,
            (_, 0) => Some(Met::Straddles),
            _ => Some(Met::Yes),
        }
    }
}

/// Why a measured row does not answer a claim that it passes but for this.
#[derive(Debug, Clone, PartialEq)]
pub enum Unfit {
    /// This model is none of the claim's.
    Model(String),
    /// The file of this input is none of the claim's.
    Input(String),
    /// Its accuracy is not surely above the share of the file's largest class.
    AtChance {
        /// The row.
        row: RowName,
        /// Its accuracy.
        accuracy: f64,
        /// The share.
        share: f64,
    },
    /// It lacks the claim's quantity.
    Quantity(RowName),
}

/// Rows or pairs with disturbed times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbed {
    /// This many pairs are left out.
    LeftOut(usize),
    /// Every pair is disturbed, so that none decides.
    All,
    /// This many disturbed rows are included.
    Counted(usize),
}

impl Disturbed {
    /// Of pairs of times; `None` where none is disturbed.
    pub fn of_pairs(deciding: &Deciding) -> Option<Self> {
        match deciding.left_out {
            _ if deciding.all_disturbed => Some(Disturbed::All),
            0 => None,
            pairs => Some(Disturbed::LeftOut(pairs)),
        }
    }

    /// Of rows whose time is asked for; `None` of other quantities and where none is disturbed.
    pub fn of_rows(of: Quantity, rows: &[&ResultRow]) -> Option<Self> {
        let disturbed = rows.iter().filter(|row| of.is_a_time() && Disturbance::of_ratios(row).is_some()).count();
        (disturbed > 0).then_some(Disturbed::Counted(disturbed))
    }
}

/// How the interval of a check's value is formed, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalRule {
    /// The ends of both medians' bootstrap intervals, divided crosswise.
    MedianRatio,
    /// Clopper-Pearson intervals of the share of different answers and of how many favour either side, multiplied.
    PairedAccuracy,
    /// The ends of both rates' Clopper-Pearson intervals, divided crosswise.
    RateRatio,
    /// None: both values are exact counts.
    ExactPair,
    /// The bootstrap interval of the deciding median.
    Median,
    /// The Clopper-Pearson interval of the deciding rate per forward pass.
    Rate,
    /// None: every compared output was examined.
    ExactRow,
    /// The Clopper-Pearson interval of a share of configurations.
    Share,
    /// The Clopper-Pearson interval of a share of forward passes.
    PassShare,
    /// From the rows measured so far to all that can still be measured.
    Progress,
}
