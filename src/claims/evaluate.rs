//! Evaluates one check of a claim.

use super::evidence::Evidence;
use super::findings::{CheckFinding, Disturbed, Elimination, EventCount, IntervalRule, Observed, RowName, Unfit};
use super::interval::{Estimate, Met};
use super::query::{self, Admitted};
use super::reduce::{decide, deciding_pairs, values_of_pairs, values_of_rows};
use super::schema::{Aggregate, Check, Claim, Count, Counterpart, Expression, Pairing, Quantity, Share};
use super::verdict::FailedRows;
use crate::analysis::facts::{breaks, has_infinity, has_nan, nonfinite_share};
use crate::analysis::pairs::RowPair;
use crate::record::InputKind;
use crate::results::data::{Data, distinct, total};
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// The results that claims are judged by.
pub struct Results<'a> {
    /// Rows, plan and environments.
    pub data: &'a Data,
}

impl Results<'_> {
    /// Evaluates a check over the admitted rows.
    pub fn evaluate(&self, check: &Check, admitted: &Admitted) -> CheckFinding {
        match &check.expression {
            Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                self.paired(check, pairing, admitted)
            }
            Expression::Aggregate(aggregate) => self.aggregate(check, aggregate, admitted),
            Expression::Share(share) => self.share(check, share, admitted),
            Expression::Count(count) => self.count(check, count, admitted),
        }
    }

    /// Rows that could have answered and failed, and why; `None` for none.
    pub fn failed(&self, claim: &Claim, admitted: &Admitted) -> Option<FailedRows> {
        let filters: Vec<_> = claim.checks.iter().flat_map(|check| check.expression.filters()).collect();
        let failed = |row: &&ResultRow| filters.iter().any(|filter| query::has_failed(row, filter, admitted));
        let rows: Vec<&ResultRow> = self.data.rows.iter().filter(failed).collect();
        let reasons = distinct(rows.iter().map(|row| row.reason.clone()));
        (!rows.is_empty()).then_some(FailedRows { rows: rows.len(), reasons })
    }

    /// Why measured rows that could have answered do not, each reason once.
    pub fn unfit(&self, claim: &Claim, admitted: &Admitted) -> Vec<Unfit> {
        let mut found: Vec<Unfit> = Vec::new();
        for expression in claim.checks.iter().map(|check| &check.expression) {
            let filters = expression.filters();
            let pairs = filters.iter().flat_map(|filter| self.data.rows.iter().map(move |row| (row, *filter)));
            let lacking = |row: &&ResultRow| {
                expression.of().is_some_and(|of| query::value(row, of).is_none() && !is_undefined(row, of))
            };
            let of_filter = pairs.filter_map(|(row, filter)| query::unfit(row, filter, admitted));
            let passing = filters.iter().flat_map(|filter| query::rows(&self.data.rows, filter, admitted));
            let without = passing.filter(lacking).map(|row| Unfit::Quantity(RowName::of(row)));
            for unfit in of_filter.chain(without) {
                if !found.contains(&unfit) {
                    found.push(unfit);
                }
            }
        }
        found
    }

    fn paired(&self, check: &Check, pairing: &Pairing, admitted: &Admitted) -> CheckFinding {
        let deciding = deciding_pairs(self.data, pairing, admitted);
        let pairs = &deciding.pairs;
        let values = values_of_pairs(&check.expression, pairing.of, pairs);
        let undefined = pairs.len() - values.len();
        let decision = decide(check, pairing.reduce, values);
        // An undefined value neither meets nor misses a limit; nor does one of disturbed pairs alone.
        let met = match decision.as_ref().map(|decision| decision.met) {
            None if undefined == 0 => None,
            Some(met) if !deciding.all_disturbed => Some(met),
            _ => Some(Met::Straddles),
        };
        let estimate = decision.as_ref().map(|decision| decision.estimate);
        let both =
            |pair: &RowPair| (query::value(pair.numerator, pairing.of), query::value(pair.denominator, pairing.of));
        let both_zero = |pair: &RowPair| both(pair) == (Some(0.0), Some(0.0));
        let over_zero = |pair: &&RowPair| matches!(both(pair), (Some(value), Some(0.0)) if value > 0.0);
        let observed = if pairs.is_empty() {
            Observed::Nothing
        } else if undefined > 0 && pairs.iter().all(both_zero) {
            let fewest = pairs.iter().filter_map(|pair| pair.numerator.forwards.min(pair.denominator.forwards)).min();
            Observed::ZeroPairs { fewest_forwards: fewest }
        } else {
            Observed::Pairs {
                reduced: decision.map(|decision| decision.reduced),
                undefined,
                // Of rates a ratio over 0 still has a lower bound, so that it is a value.
                over_zero: if pairing.of.is_a_rate() { 0 } else { pairs.iter().filter(over_zero).count() },
            }
        };
        CheckFinding {
            met,
            estimate,
            interval_rule: Some(pair_rule(pairing.of)),
            rows: pairs.len(),
            looked_at: ids(pairs.iter().flat_map(|pair| [pair.numerator, pair.denominator])),
            evidence: evidence(pairs.iter().flat_map(|pair| [pair.numerator, pair.denominator]), check, admitted),
            observed,
            disturbed: Disturbed::of_pairs(&deciding).filter(|_| met.is_some()),
        }
    }

    fn aggregate(&self, check: &Check, aggregate: &Aggregate, admitted: &Admitted) -> CheckFinding {
        let mut rows = query::rows(&self.data.rows, &aggregate.filter, admitted);
        rows.retain(|row| query::value(row, aggregate.of).is_some() || is_undefined(row, aggregate.of));
        let finding = CheckFinding {
            interval_rule: Some(match aggregate.of {
                Quantity::LatencyP50Ms => IntervalRule::Median,
                of if of.is_a_rate() => IntervalRule::Rate,
                _ => IntervalRule::ExactRow,
            }),
            rows: rows.len(),
            looked_at: ids(rows.iter().copied()),
            evidence: evidence(rows.iter().copied(), check, admitted),
            disturbed: Disturbed::of_rows(aggregate.of, &rows),
            ..CheckFinding::default()
        };
        // NaN has no cosine: a row without one because of it is the worst row, not a missing one.
        if let Some(row) = rows.iter().find(|row| is_undefined(row, aggregate.of)) {
            let share = nonfinite_share(row).unwrap_or(0.0);
            let observed = Observed::NotFinite { row: RowName::of(row), share };
            return CheckFinding { met: Some(Met::No), observed, ..finding };
        }
        let decision = decide(check, aggregate.reduce, values_of_rows(aggregate.of, &rows));
        CheckFinding {
            met: decision.as_ref().map(|decision| decision.met),
            estimate: decision.as_ref().map(|decision| decision.estimate),
            observed: Observed::Rows(decision.map(|decision| decision.reduced)),
            ..finding
        }
    }

    fn share(&self, check: &Check, share: &Share, admitted: &Admitted) -> CheckFinding {
        let mut rows = query::rows(&self.data.rows, &share.filter, admitted);
        rows.retain(|row| query::happened(row, share.event).is_some());
        if rows.is_empty() {
            return CheckFinding::default();
        }
        let has_event = |row: &&ResultRow| query::happened(row, share.event) == Some(true);
        let hit: Vec<&ResultRow> = rows.iter().copied().filter(has_event).collect();
        let passes = query::passes_with(&rows, share.event).filter(|(failing, _)| (*failing > 0) != hit.is_empty());
        let (failing, all) = passes.unwrap_or((hit.len() as u64, rows.len() as u64));
        let interval = clopper_pearson(failing, all).map(|found| (found.low, found.high));
        let value = failing as f64 / all as f64;
        // What was observed decides; the interval says which rate so many passes or configurations cannot rule out.
        let holds = check.expect.admits(value);
        let counterpart = share.eliminated_from.as_ref().filter(|_| holds);
        let elimination = counterpart.map(|counterpart| self.elimination(share, counterpart, admitted));
        CheckFinding {
            met: match elimination {
                Some(elimination) => elimination.met(),
                None => Some(if holds { Met::Yes } else { Met::No }),
            },
            estimate: Some(Estimate { value, interval }),
            interval_rule: Some(if passes.is_some() { IntervalRule::PassShare } else { IntervalRule::Share }),
            rows: rows.len(),
            looked_at: ids(rows.iter().copied()),
            observed: Observed::Events(EventCount {
                rows: hit.len(),
                first: hit.first().map(|row| RowName::of(row)),
                elements: total(rows.iter().filter_map(|row| row.output_elements)),
                forwards: total(rows.iter().filter_map(|row| row.forwards)),
                passes,
                elimination,
            }),
            evidence: evidence(rows.into_iter(), check, admitted),
            disturbed: None,
        }
    }

    /// Rows without the event against those that must have it.
    fn elimination(&self, share: &Share, counterpart: &Counterpart, admitted: &Admitted) -> Elimination {
        let pairs = query::counterparts(self.data, &share.filter, counterpart, admitted);
        let event = |pair: &&RowPair| query::happened(pair.denominator, share.event) == Some(true);
        let broken = |pair: &&RowPair| breaks(pair.denominator) == Some(true);
        let [with_event, broken] = [pairs.iter().filter(event).count(), pairs.iter().filter(broken).count()];
        Elimination { pairs: pairs.len(), with_event, broken }
    }

    fn count(&self, check: &Check, count: &Count, admitted: &Admitted) -> CheckFinding {
        let rows = query::rows(&self.data.rows, &count.filter, admitted);
        let (measured, pending) = (rows.len(), query::pending(&self.data.rows, &count.filter, admitted));
        let most = measured + pending;
        let estimate = Estimate { value: measured as f64, interval: Some((measured as f64, most as f64)) };
        CheckFinding {
            met: Some(check.expect.met_by(estimate)),
            estimate: Some(estimate),
            interval_rule: Some(IntervalRule::Progress),
            rows: measured,
            looked_at: ids(rows.iter().copied()),
            evidence: Evidence::of(rows.into_iter()),
            observed: Observed::Progress { measured, pending },
            disturbed: None,
        }
    }
}

fn ids<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> Vec<String> {
    distinct(rows.map(|row| row.id.clone()))
}

/// Models and inputs of the rows; those inputs whose file is taken for the claim's by its name alone.
fn evidence<'a>(rows: impl Iterator<Item = &'a ResultRow>, check: &Check, admitted: &Admitted) -> Evidence {
    let asks = check.expression.filters().iter().any(|filter| !filter.input_sha256.is_empty());
    let rows: Vec<&ResultRow> = rows.collect();
    let is_file = |row: &&&ResultRow| matches!(row.input_kind, InputKind::Text | InputKind::Sst2 | InputKind::Examples);
    let unrecorded = rows.iter().filter(is_file).filter(|row| asks && admitted.input_sha256(row).is_none());
    let unrecorded_inputs = distinct(unrecorded.map(|row| row.input.clone()));
    Evidence { unrecorded_inputs, ..Evidence::of(rows.into_iter()) }
}

fn pair_rule(of: Quantity) -> IntervalRule {
    match of {
        Quantity::LatencyP50Ms => IntervalRule::MedianRatio,
        Quantity::TaskAccuracy => IntervalRule::PairedAccuracy,
        of if of.is_a_rate() => IntervalRule::RateRatio,
        _ => IntervalRule::ExactPair,
    }
}

/// Whether the row has no distance from the reference because its output is not finite.
fn is_undefined(row: &ResultRow, of: Quantity) -> bool {
    use Quantity::{CosineMin, ForwardCosineMin, MaxAbsError, RelativeL2Error, SmallestCosine};
    let is_finite = match of {
        CosineMin | MaxAbsError | RelativeL2Error => nonfinite_share(row).unwrap_or(0.0) == 0.0,
        ForwardCosineMin | SmallestCosine => !has_nan(row) && !has_infinity(row),
        _ => true,
    };
    !is_finite && query::value(row, of).is_none()
}
