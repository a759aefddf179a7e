//! Values of rows and pairs, and how several become one.

use super::findings::{PairedAnswers, Reduced, RowName};
use super::interval::{Estimate, Met, map, paired_accuracy, rate_ratio};
use super::query::{self, Admitted};
use super::schema::{Check, Expression, Pairing, Quantity, Reduce};
use crate::analysis::facts::latency_interval;
use crate::analysis::pairs::{Deciding, RowPair, reduction};
use crate::results::data::Data;
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// A value and the rows that it comes from.
pub(super) struct Located<'a> {
    pub estimate: Estimate,
    pub rows: Vec<&'a ResultRow>,
}

/// The deciding value of a check.
pub(super) struct Decision {
    pub met: Met,
    pub estimate: Estimate,
    pub reduced: Reduced,
}

/// The pairs of a pairing that decide it: those with the quantity on both sides, which older tables may lack; of times those
/// that nothing disturbed, where there are any.
pub(super) fn deciding_pairs<'a>(data: &'a Data, pairing: &Pairing, admitted: &Admitted) -> Deciding<'a> {
    let mut pairs = query::pairs_of(data, pairing, admitted);
    let has = |row: &ResultRow| match pairing.of.is_a_rate() {
        true => query::failing_forwards(row, pairing.of).is_some(),
        false => query::value(row, pairing.of).is_some(),
    };
    pairs.retain(|pair| has(pair.numerator) && has(pair.denominator));
    if pairing.of.is_a_time() { Deciding::of(pairs) } else { Deciding { pairs, ..Deciding::default() } }
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
        let interval = match of {
            Quantity::LatencyP50Ms => latency_interval(row),
            _ => query::failing_forwards(row, of)
                .and_then(|(failing, all)| clopper_pearson(failing, all))
                .map(|found| (found.low, found.high)),
        };
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
    let bounded = of.is_a_rate() && a > 0.0 && matches!(expression, Expression::Ratio(_));
    let quotient = Some(a / b).filter(|quotient| quotient.is_finite() || bounded)?;
    let ratio = match of {
        of if of.is_a_rate() => {
            rate_ratio(query::failing_forwards(first, of), query::failing_forwards(second, of), quotient)
        }
        Quantity::LatencyP50Ms => pair.latency_ratio()?.into(),
        _ => Estimate::exact(quotient),
    };
    Some(if matches!(expression, Expression::Reduction(_)) { map(ratio, reduction) } else { ratio })
}

/// Reduces values to the one that decides, or to the two extremes where each must hold; `None` of no value.
pub(super) fn decide(check: &Check, reduce: Reduce, mut values: Vec<Located>) -> Option<Decision> {
    values.sort_by(|a, b| a.estimate.value.total_cmp(&b.estimate.value));
    let chosen = match reduce {
        Reduce::Max => values.last()?,
        Reduce::Min => values.first()?,
        Reduce::Median => median(&values)?,
        Reduce::Each => return each(check, &values),
    };
    let of_answers = matches!(check.expression, Expression::Difference(Pairing { of: Quantity::TaskAccuracy, .. }));
    Some(Decision {
        met: check.expect.met_by(chosen.estimate),
        estimate: chosen.estimate,
        reduced: Reduced::One {
            reduce,
            values: values.len(),
            rows: chosen.rows.iter().map(|row| RowName::of(row)).collect(),
            answers: if of_answers { PairedAnswers::of(&chosen.rows) } else { None },
            passes: match (&check.expression, chosen.rows.as_slice()) {
                (Expression::Aggregate(aggregate), [row]) => query::failing_forwards(row, aggregate.of),
                _ => None,
            },
        },
    })
}

/// The middle of sorted values; the lower of two, so that it is one of them.
fn median<'a, 'b>(values: &'b [Located<'a>]) -> Option<&'b Located<'a>> {
    values.get(values.len().saturating_sub(1) / 2)
}

fn each(check: &Check, values: &[Located]) -> Option<Decision> {
    let met = values.iter().map(|value| check.expect.met_by(value.estimate)).max()?;
    let fold = |pick: fn(f64, f64) -> f64, of: fn(&Estimate) -> f64| {
        values.iter().map(|value| of(&value.estimate)).reduce(pick).unwrap_or(f64::NAN)
    };
    let outer = (
        fold(f64::min, |found| found.interval.map_or(found.value, |ends| ends.0)),
        fold(f64::max, |found| found.interval.map_or(found.value, |ends| ends.1)),
    );
    Some(Decision {
        met,
        estimate: Estimate { value: median(values)?.estimate.value, interval: Some(outer) },
        reduced: Reduced::Each {
            values: values.len(),
            holding: values.iter().filter(|value| check.expect.met_by(value.estimate) == Met::Yes).count(),
            lowest: fold(f64::min, |found| found.value),
            highest: fold(f64::max, |found| found.value),
        },
    })
}
