//! The quantities of the paper's abstract over all shapes of a run: every value of a claim's expression, where the claim
//! takes the one that decides.

use super::findings::Disturbed;
use super::query::{self, Admitted};
use super::reduce::{Located, deciding_pairs, values_of_pairs, values_of_rows};
use super::schema::{Aggregate, Claims, Expression, HeadlineSpec, Pairing, Quantity};
use crate::analysis::facts::{configuration_label, fails};
use crate::analysis::pairs::Ranged;
use crate::results::data::{Data, distinct};
use crate::stats::median;

/// What a quantity is, which decides its typical value and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A ratio; typical is the geometric mean.
    Ratio,
    /// A time; typical is the median.
    Milliseconds,
    /// A share; typical is the median.
    Share,
    /// A cosine; typical is the median.
    Cosine,
}

/// A value and the configuration that has it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadlineValue {
    /// Value and interval.
    pub value: Ranged,
    /// `cuda hybrid, gpt2 32×512 random`
    pub configuration: String,
    /// Whether its outputs fail.
    pub fails: bool,
    /// Ids of the rows that it is computed from.
    pub rows: Vec<String>,
}

/// A quantity over all shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Headline {
    /// What it is, from the claims file.
    pub spec: HeadlineSpec,
    /// How it is written.
    pub unit: Unit,
    /// The disturbed ones among the rows or pairs that it is taken from.
    pub disturbed: Option<Disturbed>,
    /// Ascending.
    values: Vec<HeadlineValue>,
}

impl Headline {
    /// The claim that it bears on.
    pub fn claim(&self) -> Option<&str> {
        self.spec.bears_on_claim.then_some(self.spec.expression_of.as_str())
    }

    /// Number of values: of shapes, summed over models, inputs and backends.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Ids of the rows of all values.
    pub fn rows(&self) -> Vec<String> {
        distinct(self.values.iter().flat_map(|found| found.rows.iter().cloned()))
    }

    /// The smallest value.
    pub fn lowest(&self) -> Option<&HeadlineValue> {
        self.values.first()
    }

    /// The largest.
    pub fn highest(&self) -> Option<&HeadlineValue> {
        self.values.last()
    }

    /// Geometric mean of ratios, its interval the geometric means of all lower and of all upper ends; the median of others,
    /// without an interval.
    pub fn typical(&self) -> Option<Ranged> {
        if self.unit != Unit::Ratio || self.values.is_empty() {
            let values: Vec<f64> = self.values.iter().map(|found| found.value.0).collect();
            return Some((median(&values)?, None));
        }
        let mean = |of: fn(Ranged) -> Option<f64>| -> Option<f64> {
            let logarithms: Option<Vec<f64>> =
                self.values.iter().map(|found| of(found.value).filter(|x| *x > 0.0).map(f64::ln)).collect();
            logarithms.map(|all| (all.iter().sum::<f64>() / all.len() as f64).exp())
        };
        let interval = mean(|(_, ends)| ends.map(|ends| ends.0)).zip(mean(|(_, ends)| ends.map(|ends| ends.1)));
        Some((mean(|(value, _)| Some(value))?, interval))
    }
}

/// Every headline of one machine's rows, in the order of the claims file.
pub fn headlines(data: &Data, claims: &Claims) -> Vec<Headline> {
    claims.headlines.iter().filter_map(|spec| headline(data, claims, spec)).collect()
}

/// `None` where the claim's expression has no value per row or pair; the reader of the file refuses such a headline.
fn headline(data: &Data, claims: &Claims, spec: &HeadlineSpec) -> Option<Headline> {
    let claim = claims.claims.iter().find(|claim| claim.id == spec.expression_of)?;
    let admitted = Admitted::of(data, claim.kind.admits_emulation(), None);
    let expression = narrowed(&claim.checks.first()?.expression, spec)?;
    let (located, disturbed) = match &expression {
        Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
            let deciding = deciding_pairs(data, pairing, &admitted);
            (values_of_pairs(&expression, pairing.of, &deciding.pairs), Disturbed::of_pairs(&deciding))
        }
        Expression::Aggregate(aggregate) => {
            let rows = query::rows(&data.rows, &aggregate.filter, &admitted);
            (values_of_rows(aggregate.of, &rows), Disturbed::of_rows(aggregate.of, &rows))
        }
        Expression::Share(_) | Expression::Count(_) => return None,
    };
    let mut values: Vec<HeadlineValue> = located.iter().filter_map(|found| value_of(&expression, found)).collect();
    values.sort_by(|a, b| a.value.0.total_cmp(&b.value.0));
    Some(Headline { unit: unit_of(&expression)?, spec: spec.clone(), disturbed, values })
}

/// A value, named after the row that is not the baseline: the faster one of a ratio of times, the smaller one of sizes.
fn value_of(expression: &Expression, found: &Located) -> Option<HeadlineValue> {
    let row = match expression {
        Expression::Ratio(_) => found.rows.last()?,
        _ => found.rows.first()?,
    };
    let value = (found.estimate.value, found.estimate.interval);
    let rows = found.rows.iter().map(|row| row.id.clone()).collect();
    Some(HeadlineValue { value, configuration: configuration_label(row), fails: fails(row) == Some(true), rows })
}

fn unit_of(expression: &Expression) -> Option<Unit> {
    match expression {
        Expression::Ratio(_) => Some(Unit::Ratio),
        Expression::Reduction(_) => Some(Unit::Share),
        Expression::Aggregate(aggregate) if aggregate.of.is_a_time() => Some(Unit::Milliseconds),
        Expression::Aggregate(Aggregate { of: Quantity::CosineMin | Quantity::SmallestCosine, .. }) => {
            Some(Unit::Cosine)
        }
        _ => None,
    }
}

/// The expression with the lists of the headline in place of its own; `None` where it has no value per row or pair.
fn narrowed(expression: &Expression, spec: &HeadlineSpec) -> Option<Expression> {
    let pairing = |pairing: &Pairing| Pairing {
        of: spec.of.unwrap_or(pairing.of),
        numerator: pairing.numerator.replaced_by(&spec.numerator),
        denominator: pairing.denominator.replaced_by(&spec.denominator),
        ..pairing.clone()
    };
    match expression {
        Expression::Ratio(of) => Some(Expression::Ratio(pairing(of))),
        Expression::Reduction(of) => Some(Expression::Reduction(pairing(of))),
        Expression::Difference(_) | Expression::Share(_) | Expression::Count(_) => None,
        Expression::Aggregate(aggregate) => Some(Expression::Aggregate(Aggregate {
            of: spec.of.unwrap_or(aggregate.of),
            filter: aggregate.filter.replaced_by(&spec.filter),
            ..aggregate.clone()
        })),
    }
}

/// What a headline lacks to be one, for the reader of the claims file.
pub(super) fn wrong_with(claims: &Claims, spec: &HeadlineSpec) -> Option<String> {
    if spec.key.is_empty() || !spec.key.chars().all(|c| c.is_ascii_alphabetic()) {
        return Some("its key must have letters only, since macros are named after it".to_owned());
    }
    let Some(claim) = claims.claims.iter().find(|claim| claim.id == spec.expression_of) else {
        return Some(format!("no claim has the id `{}`; name one in `expression_of`", spec.expression_of));
    };
    let expression = claim.checks.first().and_then(|check| narrowed(&check.expression, spec));
    match expression.as_ref().and_then(unit_of) {
        Some(_) => None,
        None => Some(format!(
            "the first check of `{}` has no value per configuration that a headline could show; name a claim with a ratio, a \
             reduction, or an aggregate of a time or a cosine",
            claim.id
        )),
    }
}
