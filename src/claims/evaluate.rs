//! What one check of a claim comes to.

use super::describe;
use super::evidence::Answered;
use super::interval::{Estimate, Met, map, nan_rate_ratio, paired_accuracy};
use super::query::{self, Admitted};
use super::schema::{Aggregate, Check, Claim, Count, Counterpart, Expression, Pairing, Quantity, Reduce, Share};
use crate::analysis::disturbances::{CIRCUMSTANCES, Disturbance};
use crate::analysis::facts::{self, latency_interval, nonfinite_share};
use crate::analysis::pairs::{Deciding, RowPair};
use crate::numbers;
use crate::results::data::{Data, distinct, total};
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// The results that claims are judged by.
pub struct Results<'a> {
    /// Rows, plan and environments.
    pub data: &'a Data,
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// `None`: there is nothing to judge by.
    pub met: Option<Met>,
    /// The value that decides, and its interval.
    pub estimate: Option<Estimate>,
    /// The value in words.
    pub measured: Option<String>,
    /// The interval in words.
    pub interval: Option<String>,
    /// How the interval came about.
    pub method: &'static str,
    /// Rows or pairs of rows looked at.
    pub rows: usize,
    /// What those rows are of.
    pub answered: Answered,
    /// What was found.
    pub explanation: String,
    /// What was left out of it and why, or what speaks against it.
    pub left_out: Option<String>,
}

/// A value and the rows it is made of.
pub(super) struct Located<'a> {
    pub estimate: Estimate,
    pub rows: Vec<&'a ResultRow>,
}

impl<'a> Results<'a> {
    /// Evaluates a check over the admitted rows.
    pub fn evaluate(&self, check: &Check, admitted: &Admitted) -> Finding {
        match &check.expression {
            Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                self.paired(check, pairing, admitted)
            }
            Expression::Aggregate(aggregate) => self.aggregate(check, aggregate, admitted),
            Expression::Share(share) => self.share(check, share, admitted),
            Expression::Count(count) => self.count(check, count, admitted),
        }
    }

    /// How many rows that could have answered failed, and why; `None` for none.
    pub fn failed(&self, claim: &Claim, admitted: &Admitted) -> Option<String> {
        let filters: Vec<_> = claim.checks.iter().flat_map(|check| check.expression.filters()).collect();
        let failed = |row: &&ResultRow| filters.iter().any(|filter| query::has_failed(row, filter, admitted));
        let rows: Vec<&ResultRow> = self.data.rows.iter().filter(failed).collect();
        let reasons = distinct(rows.iter().map(|row| row.reason.as_deref().unwrap_or("no reason was recorded")));
        let first = reasons.first()?;
        let others = match reasons.len() - 1 {
            0 => String::new(),
            n => format!(" (and {})", numbers::plural(n, "other reason")),
        };
        let failed = numbers::plural(rows.len(), "matching row");
        Some(format!("{failed} failed: {}{others}.", first.trim_end_matches('.')))
    }

    fn paired(&self, check: &Check, pairing: &Pairing, admitted: &Admitted) -> Finding {
        let deciding = deciding_pairs(self.data, pairing, admitted);
        let pairs = &deciding.pairs;
        let values = values_of_pairs(&check.expression, pairing.of, pairs);
        let both =
            |pair: &RowPair| (query::value(pair.numerator, pairing.of), query::value(pair.denominator, pairing.of));
        let over_zero = |pair: &&RowPair| matches!(both(pair), (Some(value), Some(0.0)) if value > 0.0);
        // Of rates a ratio over 0 still has a lower bound, so that it is a value.
        let unbounded = if pairing.of == Quantity::NanRate { 0 } else { pairs.iter().filter(over_zero).count() };
        let answered = Answered::by(pairs.iter().flat_map(|pair| [pair.numerator, pair.denominator]));
        let both_zero = pairs.iter().filter(|pair| both(pair) == (Some(0.0), Some(0.0))).count();
        let undefined = pairs.len() - values.len();
        let mut finding = decide(check, pairing.reduce, values, "pair");
        finding.rows = pairs.len();
        finding.answered = answered;
        if undefined > 0 && both_zero == pairs.len() {
            let fewest = pairs.iter().filter_map(|pair| pair.numerator.forwards.min(pair.denominator.forwards)).min();
            finding.explanation = describe::nothing_to_compare(pairing, fewest);
        } else if undefined > 0 {
            let pairs = numbers::plural(undefined, "pair");
            let mut remark = format!("{pairs} left out, because the quotient is undefined");
            if unbounded > 0 {
                remark = format!("{remark}; in {unbounded} of them the denominator is 0 and the numerator is not");
            }
            finding.explanation = joined(&finding.explanation, &format!("{remark}."));
        }
        if finding.met.is_none() && undefined > 0 {
            finding.met = Some(Met::Straddles);
        }
        if finding.met.is_some() && deciding.all_disturbed {
            finding.met = Some(Met::Straddles);
        }
        finding.left_out = left_out(&deciding).filter(|_| finding.met.is_some());
        finding.method = describe::pair_method(pairing.of);
        finding
    }

    fn aggregate(&self, check: &Check, aggregate: &Aggregate, admitted: &Admitted) -> Finding {
        let rows = query::rows(&self.data.rows, &aggregate.filter, admitted);
        let values = values_of_rows(aggregate.of, &rows);
        let mut finding = decide(check, aggregate.reduce, values, "configuration");
        finding.rows = rows.len();
        finding.answered = Answered::by(rows.iter().copied());
        let disturbed = rows.iter().filter(|row| Disturbance::of_ratios(row).is_some()).count();
        finding.left_out = (aggregate.of == Quantity::LatencyP50Ms && disturbed > 0)
            .then(|| format!("{} of them measured while {CIRCUMSTANCES}", numbers::count(disturbed as u64)));
        finding.method = match aggregate.of {
            Quantity::LatencyP50Ms => "95 % bootstrap interval of the deciding median",
            _ => "no interval: every compared output was looked at, none was drawn",
        };
        // NaN has no cosine: a row without one because of it is the worst row, not a missing one.
        if let Some(bad) = rows.iter().find(|row| is_broken(row, aggregate.of)) {
            let share = numbers::percent(nonfinite_share(bad).unwrap_or(0.0));
            finding.met = Some(Met::No);
            finding.measured = Some("undefined (NaN or infinity)".to_owned());
            finding.estimate = None;
            finding.interval = None;
            finding.explanation =
                format!("{} of the output of {} is not finite.", share, facts::configuration_label(bad));
        }
        finding
    }

    fn share(&self, check: &Check, share: &Share, admitted: &Admitted) -> Finding {
        let rows = query::rows(&self.data.rows, &share.filter, admitted);
        if rows.is_empty() {
            return Finding::nothing();
        }
        let hit: Vec<&ResultRow> = rows.iter().copied().filter(|row| query::happened(row, share.event)).collect();
        let interval = clopper_pearson(hit.len() as u64, rows.len() as u64).map(|found| (found.low, found.high));
        let value = hit.len() as f64 / rows.len() as f64;
        let what = describe::event(share.event);
        let explanation = match hit.first() {
            Some(row) => format!(
                "{what} in {} of {} configurations, e.g. {}.",
                hit.len(),
                rows.len(),
                facts::configuration_label(row)
            ),
            None => {
                let elements: u64 = total(rows.iter().filter_map(|row| row.output_elements));
                let forwards: u64 = total(rows.iter().filter_map(|row| row.forwards));
                let passes = match forwards > rows.len() as u64 {
                    true => format!(", nor in any of {} forward passes", numbers::count(forwards)),
                    false => String::new(),
                };
                format!(
                    "no {what} among {} output elements of {}{passes}.",
                    numbers::count(elements),
                    numbers::plural(rows.len(), "configuration")
                )
            }
        };
        // What was observed decides; the interval says which rate so many configurations cannot rule out.
        let met = if check.expect.admits(value) { Met::Yes } else { Met::No };
        let (met, explanation) = match (&share.eliminated_from, met) {
            (Some(counterpart), Met::Yes) => {
                let (met, before) = self.eliminated(share, counterpart, admitted);
                (met, joined(&explanation, &before))
            }
            _ => (Some(met), explanation),
        };
        Finding {
            met,
            estimate: Some(Estimate { value, interval }),
            measured: Some(format!("{} of {}", hit.len(), rows.len())),
            interval: interval.map(|(low, high)| format!("[{}, {}]", numbers::percent(low), numbers::percent(high))),
            method: "Clopper-Pearson 95 % interval of the share of configurations; what was observed decides",
            rows: rows.len(),
            answered: Answered::by(rows.into_iter()),
            explanation,
            left_out: None,
        }
    }

    /// Whether rows without the event can be said to be rid of it: only where their counterparts have it.
    fn eliminated(&self, share: &Share, counterpart: &Counterpart, admitted: &Admitted) -> (Option<Met>, String) {
        let name = counterpart.filter.precision.join(" or ");
        let pairs = query::counterparts(self.data, &share.filter, counterpart, admitted);
        let cured = pairs.iter().filter(|pair| query::happened(pair.denominator, share.event)).count();
        let what = describe::event(share.event);
        match (pairs.len(), cured) {
            (0, _) => (None, format!("No {name} row of the same backend, model, shape and input was measured.")),
            (_, 0) => (
                Some(Met::Straddles),
                format!("No {what} under {name} either in this run: there is no instability to eliminate."),
            ),
            (all, cured) => {
                (Some(Met::Yes), format!("Of the same configurations under {name}, {cured} of {all} have {what}."))
            }
        }
    }

    fn count(&self, check: &Check, count: &Count, admitted: &Admitted) -> Finding {
        let rows = query::rows(&self.data.rows, &count.filter, admitted);
        let done = rows.len();
        let most = done + query::pending(&self.data.rows, &count.filter);
        let estimate = Estimate { value: done as f64, interval: Some((done as f64, most as f64)) };
        Finding {
            met: Some(check.expect.met_by(estimate)),
            estimate: Some(estimate),
            measured: Some(numbers::count(done as u64)),
            interval: (most > done).then(|| format!("[{done}, {most}]")),
            method: "from the configurations measured so far to all that can still be",
            rows: done,
            answered: Answered::by(rows.into_iter()),
            explanation: format!("{} measured, {} still to run.", numbers::plural(done, "configuration"), most - done),
            left_out: None,
        }
    }
}

impl Finding {
    /// No rows.
    pub fn nothing() -> Self {
        Finding {
            met: None,
            estimate: None,
            measured: None,
            interval: None,
            method: "",
            rows: 0,
            answered: Answered::default(),
            explanation: String::new(),
            left_out: None,
        }
    }
}

fn is_broken(row: &ResultRow, of: Quantity) -> bool {
    let missing = match of {
        Quantity::CosineMin => row.cosine_min.is_none(),
        Quantity::MaxAbsError => row.max_abs_error.is_none(),
        Quantity::RelativeL2Error => row.relative_l2_error.is_none(),
        _ => false,
    };
    missing && nonfinite_share(row).unwrap_or(0.0) > 0.0
}

/// The pairs of a pairing that decide it: of times those that nothing disturbed, where there are any.
pub(super) fn deciding_pairs<'a>(data: &'a Data, pairing: &Pairing, admitted: &Admitted) -> Deciding<'a> {
    let pairs = query::pairs_of(data, pairing, admitted);
    if pairing.of.is_a_time() { Deciding::of(pairs) } else { Deciding { pairs, ..Deciding::default() } }
}

/// How many pairs of times were left out, or that none could decide.
fn left_out(deciding: &Deciding) -> Option<String> {
    if deciding.all_disturbed {
        let text = "others used the device, or the clock ran wrong, in every one of them, so that none decides";
        return Some(text.to_owned());
    }
    let many = numbers::plural(deciding.left_out, "pair");
    (deciding.left_out > 0).then(|| format!("{many} left out, measured while {CIRCUMSTANCES}"))
}

/// The value of every pair that has one.
pub(super) fn values_of_pairs<'a>(expression: &Expression, of: Quantity, pairs: &[RowPair<'a>]) -> Vec<Located<'a>> {
    let located = |pair: &RowPair<'a>| {
        let estimate = estimate_of(expression, pair, of)?;
        Some(Located { estimate, rows: vec![pair.numerator, pair.denominator] })
    };
    pairs.iter().filter_map(located).collect()
}

/// The value of every row that has one.
pub(super) fn values_of_rows<'a>(of: Quantity, rows: &[&'a ResultRow]) -> Vec<Located<'a>> {
    let located = |&row: &&'a ResultRow| {
        let value = query::value(row, of)?;
        let interval = if of == Quantity::LatencyP50Ms { latency_interval(row) } else { None };
        Some(Located { estimate: Estimate { value, interval }, rows: vec![row] })
    };
    rows.iter().filter_map(located).collect()
}

fn estimate_of(expression: &Expression, pair: &RowPair, of: Quantity) -> Option<Estimate> {
    let (first, second) = (pair.numerator, pair.denominator);
    let (a, b) = (query::value(first, of)?, query::value(second, of)?);
    if matches!(expression, Expression::Difference(_)) {
        return Some(match of {
            Quantity::TaskAccuracy => paired_accuracy(first, second, a - b),
            _ => Estimate::exact(a - b),
        });
    }
    // Two counts of 0 and more than 0 still bound the ratio of their rates from below.
    let bounded = of == Quantity::NanRate && a > 0.0 && matches!(expression, Expression::Ratio(_));
    let quotient = Some(a / b).filter(|quotient| quotient.is_finite() || bounded)?;
    let ratio = match of {
        Quantity::NanRate => nan_rate_ratio(first, second, quotient),
        Quantity::LatencyP50Ms => pair.latency_ratio()?.into(),
        _ => Estimate::exact(quotient),
    };
    Some(if matches!(expression, Expression::Reduction(_)) { map(ratio, |ratio| 1.0 - ratio) } else { ratio })
}

/// Reduces values to the one that decides, or to the two extremes where each must hold.
fn decide(check: &Check, reduce: Reduce, mut values: Vec<Located>, noun: &str) -> Finding {
    values.sort_by(|a, b| a.estimate.value.total_cmp(&b.estimate.value));
    let (Some(lowest), Some(highest)) = (values.first(), values.last()) else { return Finding::nothing() };
    let many = numbers::plural(values.len(), noun);
    let (chosen, which) = match reduce {
        Reduce::Max => (highest, format!("largest of {many}")),
        Reduce::Min => (lowest, format!("smallest of {many}")),
        Reduce::Median => (&values[(values.len() - 1) / 2], format!("median of {many}")),
        Reduce::Each => return each(check, &values, &many),
    };
    Finding {
        met: Some(check.expect.met_by(chosen.estimate)),
        estimate: Some(chosen.estimate),
        measured: Some(describe::value(&check.expression, chosen.estimate.value)),
        interval: chosen.estimate.interval.map(|ends| describe::interval(&check.expression, ends)),
        explanation: match &check.expression {
            Expression::Difference(Pairing { of: Quantity::TaskAccuracy, .. }) => joined(
                &format!("{which}: {}.", describe::configurations(&chosen.rows)),
                &describe::accuracies(&chosen.rows).unwrap_or_default(),
            ),
            _ => format!("{which}: {}.", describe::configurations(&chosen.rows)),
        },
        ..Finding::nothing()
    }
}

fn each(check: &Check, values: &[Located], many: &str) -> Finding {
    let met = values.iter().map(|value| check.expect.met_by(value.estimate)).max();
    let fold = |pick: fn(f64, f64) -> f64, of: fn(&Estimate) -> f64| {
        values.iter().map(|value| of(&value.estimate)).reduce(pick).unwrap_or(f64::NAN)
    };
    let (low, high) = (fold(f64::min, |found| found.value), fold(f64::max, |found| found.value));
    let outer = (
        fold(f64::min, |found| found.interval.map_or(found.value, |ends| ends.0)),
        fold(f64::max, |found| found.interval.map_or(found.value, |ends| ends.1)),
    );
    let holding = values.iter().filter(|value| check.expect.met_by(value.estimate) == Met::Yes).count();
    Finding {
        met,
        estimate: Some(Estimate { value: values[(values.len() - 1) / 2].estimate.value, interval: Some(outer) }),
        measured: Some(format!(
            "{} to {}",
            describe::value(&check.expression, low),
            describe::value(&check.expression, high)
        )),
        interval: Some(describe::interval(&check.expression, outer)),
        explanation: format!("{holding} of {many} in the range."),
        ..Finding::nothing()
    }
}

fn joined(first: &str, second: &str) -> String {
    [first, second].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}
