//! Intervals of claimed values, and whether a value meets its expectation.

use super::schema::{Expect, Slack};
use crate::analysis::facts::discordant;
use crate::analysis::pairs::{Ranged, quotient_interval};
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

impl From<Ranged> for Estimate {
    fn from((value, interval): Ranged) -> Self {
        Estimate { value, interval }
    }
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

/// Ratio of two rates per forward pass, each given as failing passes of all; its interval from the ends of both Clopper-Pearson 95 % intervals divided
/// crosswise: it covers with at least 90 %. Without an upper end where the second rate may be 0.
pub fn rate_ratio(first: Option<(u64, u64)>, second: Option<(u64, u64)>, value: f64) -> Estimate {
    let ends = |counts: Option<(u64, u64)>| counts.and_then(|(failing, all)| clopper_pearson(failing, all));
    let interval = ends(first).zip(ends(second)).map(|(a, b)| quotient_interval((a.low, a.high), (b.low, b.high)));
    Estimate { value, interval }
}

/// Accuracy of `first` less that of `second` on the same sentences: the share of sentences with different answers, times
/// how much those favour `first`. Both have Clopper-Pearson 95 % intervals, so that the product covers with at least 90 %. Without any different answer the share's
/// upper end bounds the difference either way: no flip in n sentences does not mean that there is none.
///
/// Only for two classes, of which one of two different answers is right: see [`discordant`].
pub fn paired_accuracy(first: &ResultRow, second: &ResultRow, value: f64) -> Estimate {
    let interval = || {
        let (losses, wins) = discordant(second, first)?;
        let total = first.task_total.filter(|&total| total > 0)?;
        let flips = losses + wins;
        let different = clopper_pearson(flips, total)?;
        if flips == 0 {
            return Some((-different.high, different.high));
        }
        let favour = clopper_pearson(wins, flips)?;
        let (low, high) = (2.0 * favour.low - 1.0, 2.0 * favour.high - 1.0);
        Some((
            low * if low < 0.0 { different.high } else { different.low },
            high * if high > 0.0 { different.high } else { different.low },
        ))
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
    fn a_ratio_of_rates_carries_the_uncertainty_of_both_counts() {
        // R: binom.test(30, 40) is [0.5880, 0.8731], binom.test(5, 40) is [0.0419, 0.2680].
        let (low, high) = rate_ratio(Some((30, 40)), Some((5, 40)), 6.0).interval.unwrap();
        assert!((low - 0.588_04 / 0.267_96).abs() < 1e-2 && (high - 0.873_07 / 0.041_86).abs() < 0.05, "{low} {high}");
        let (low, high) = rate_ratio(Some((40, 40)), Some((0, 40)), f64::INFINITY).interval.unwrap();
        // 0 of 40 may be as many as 1 - 0.025^(1/40) = 8.8 %, 40 of 40 as few as 91.2 %.
        assert!((low - 0.911_9 / 0.088_1).abs() < 0.02 && high.is_infinite(), "{low} {high}");
        assert_eq!(rate_ratio(None, Some((1, 2)), 1.0).interval, None);
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
        let different = clopper_pearson(4, 10).unwrap();
        assert!((ends.0 - (2.0 * share.low - 1.0) * different.high).abs() < 1e-12, "{ends:?}");
        assert!(ends.1 > 0.0, "four flips decide nothing");
        // No flip in ten: still up to 1 - 0.025^(1/10) of sentences may flip.
        let bound = 1.0 - 0.025_f64.powf(0.1);
        let (low, high) = paired_accuracy(&base, &base, 0.0).interval.unwrap();
        assert!((low + bound).abs() < 1e-9 && (high - bound).abs() < 1e-9, "{low} {high}");
    }
}
