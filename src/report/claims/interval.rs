//! Intervals of claimed values, and whether a value meets its expectation.

use super::schema::{Expect, Slack};
use crate::report::data::latency_interval;
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// A value and, where one is known, its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower and upper end.
    pub interval: Option<(f64, f64)>,
}

/// How a value compares with what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// The whole interval meets it.
    Yes,
    /// The interval lies on both sides of a limit.
    Straddles,
    /// No part of the interval meets it.
    No,
}

impl Estimate {
    /// A value without an interval.
    pub fn exact(value: f64) -> Self {
        Estimate { value, interval: None }
    }
}

/// The same monotone function of the value and both ends.
pub fn map(estimate: Estimate, function: fn(f64) -> f64) -> Estimate {
    let interval = estimate.interval.map(|(low, high)| {
        let (a, b) = (function(low), function(high));
        (a.min(b), a.max(b))
    });
    Estimate { value: function(estimate.value), interval }
}

/// Ratio of two medians, its interval from the ends of theirs.
pub fn latency_ratio(first: &ResultRow, second: &ResultRow, value: f64) -> Estimate {
    let ends = latency_interval(first).zip(latency_interval(second));
    let interval = ends.filter(|(_, (low, _))| *low > 0.0).map(|(a, b)| (a.0 / b.1, a.1 / b.0));
    Estimate { value, interval }
}

/// Accuracy of `first` less that of `second` on the same sentences. Only sentences with different answers count: given
/// m of them, the number that favours `first` is binomial, and its Clopper-Pearson interval carries over.
///
/// For two classes one of two different answers is right, so m and the difference fix both numbers.
pub fn paired_accuracy(first: &ResultRow, second: &ResultRow, value: f64) -> Estimate {
    let interval = || {
        let flips = crate::report::tables::quality::flips(second, first)? as u64;
        let total = first.task_total.filter(|&total| total > 0 && Some(total) == second.task_total)?;
        let gained = (i64::try_from(first.task_correct?).ok()? - i64::try_from(second.task_correct?).ok()?)
            .checked_add_unsigned(flips)?;
        if flips == 0 {
            return Some((value, value));
        }
        let wins = u64::try_from(gained).ok().filter(|gained| gained % 2 == 0)? / 2;
        let share = clopper_pearson(wins, flips)?;
        let scale = flips as f64 / total as f64;
        Some(((2.0 * share.low - 1.0) * scale, (2.0 * share.high - 1.0) * scale))
    };
    Estimate { value, interval: interval() }
}

impl Expect {
    /// How an estimate compares. Without an interval the value decides alone.
    pub fn met_by(&self, estimate: Estimate) -> Met {
        let (low, high) = estimate.interval.unwrap_or((estimate.value, estimate.value));
        match (self.admits(low), self.admits(high)) {
            (true, true) => Met::Yes,
            // Both ends may miss a two-sided range that lies between them.
            (false, false) if !self.lies_between(low, high) => Met::No,
            _ => Met::Straddles,
        }
    }

    /// Whether one value is allowed.
    pub fn admits(&self, value: f64) -> bool {
        self.at_least.is_none_or(|limit| value >= self.lowered(limit))
            && self.at_most.is_none_or(|limit| value <= self.raised(limit))
            && self.more_than.is_none_or(|limit| value > self.lowered(limit))
            && self.less_than.is_none_or(|limit| value < self.raised(limit))
    }

    fn lies_between(&self, low: f64, high: f64) -> bool {
        let above = |limit: Option<f64>| limit.is_some_and(|limit| low < self.lowered(limit));
        let below = |limit: Option<f64>| limit.is_some_and(|limit| high > self.raised(limit));
        (above(self.at_least) || above(self.more_than)) && (below(self.at_most) || below(self.less_than))
    }

    fn slack(&self, limit: f64) -> f64 {
        match self.tolerance {
            None => 0.0,
            Some(Slack::Relative(fraction)) => limit.abs() * fraction,
            Some(Slack::Absolute(amount)) => amount,
        }
    }

    fn lowered(&self, limit: f64) -> f64 {
        limit - self.slack(limit)
    }

    fn raised(&self, limit: f64) -> f64 {
        limit + self.slack(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: f64, value: f64, high: f64) -> Estimate {
        Estimate { value, interval: Some((low, high)) }
    }

    #[test]
    fn an_interval_across_the_limit_decides_nothing() {
        let expect = Expect { at_least: Some(10.0), tolerance: Some(Slack::Relative(0.02)), ..Expect::default() };
        assert_eq!(expect.met_by(estimate(9.8, 9.9, 11.0)), Met::Yes);
        assert_eq!(expect.met_by(estimate(9.7, 9.9, 11.0)), Met::Straddles);
        assert_eq!(expect.met_by(estimate(9.0, 9.5, 9.7)), Met::No);
        assert_eq!(expect.met_by(Estimate::exact(9.7)), Met::No);
    }

    #[test]
    fn a_range_may_lie_inside_an_interval() {
        let expect = Expect { at_least: Some(1.84), at_most: Some(2.0), ..Expect::default() };
        assert_eq!(expect.met_by(estimate(1.5, 1.9, 2.5)), Met::Straddles);
        assert_eq!(expect.met_by(estimate(1.5, 1.6, 1.7)), Met::No);
        assert_eq!(expect.met_by(estimate(1.85, 1.9, 1.95)), Met::Yes);
    }

    #[test]
    fn strict_limits_exclude_themselves() {
        let expect = Expect { more_than: Some(360.0), ..Expect::default() };
        assert_eq!((expect.admits(360.0), expect.admits(361.0)), (false, true));
    }

    #[test]
    fn flips_carry_the_uncertainty_of_a_paired_difference() {
        let row = |labels: &str, right| ResultRow {
            task_predictions: Some(labels.to_owned()),
            task_total: Some(labels.len() as u64),
            task_correct: Some(right),
            ..ResultRow::default()
        };
        // Truth is 1111111111: the first loses three sentences and gains one.
        let (base, other) = (row("1111111110", 9), row("0001111111", 7));
        let found = paired_accuracy(&other, &base, -0.2);
        let share = clopper_pearson(1, 4).unwrap();
        let ends = found.interval.unwrap();
        assert!((ends.0 - (2.0 * share.low - 1.0) * 0.4).abs() < 1e-12, "{ends:?}");
        assert!(ends.1 > 0.0, "four flips decide nothing");
        assert_eq!(paired_accuracy(&base, &base, 0.0).interval, Some((0.0, 0.0)));
    }
}
