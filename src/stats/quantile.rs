//! Upper percentiles by order statistics, and the number of samples that each of them needs.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The tail percentiles of a latency table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    /// 90th.
    P90,
    /// 95th.
    P95,
    /// 99th.
    P99,
}

impl Percentile {
    /// Every percentile of the tables, ascending.
    pub const ALL: [Percentile; 3] = [Percentile::P90, Percentile::P95, Percentile::P99];

    /// The percentage, so that ranks are computed in integers.
    fn percent(self) -> usize {
        match self {
            Percentile::P90 => 90,
            Percentile::P95 => 95,
            Percentile::P99 => 99,
        }
    }

    /// Samples below which this percentile is not reported.
    ///
    /// MLPerf Inference's early-stopping rule at 99 % confidence with the highest sample as the estimate (t = 1): the
    /// smallest n with `P(X <= 1) <= 0.01`, X ~ Binomial(n, 1 - p). With fewer samples, not even the highest sample is
    /// an upper bound at that confidence. (MLPerf Inference rules, appendix "Early Stopping Criterion".) The constants
    /// are those of [`supported_samples`]; a test derives them.
    pub fn min_samples(self) -> usize {
        match self {
            Percentile::P90 => 64,
            Percentile::P95 => 130,
            Percentile::P99 => 662,
        }
    }

    /// The percentile of sorted finite samples, or `None` below [`Percentile::min_samples`].
    pub(super) fn of_sorted(self, sorted: &[f64]) -> Option<f64> {
        (sorted.len() >= self.min_samples()).then(|| sorted[(self.percent() * sorted.len()).div_ceil(100) - 1])
    }
}

/// Nearest-rank percentile: the smallest sample with at least `percent` % of the samples at or below it (Hyndman and Fan
/// 1996, definition 1). `None` for no samples, a sample that is not finite, or a percentage outside 1 to 100.
pub fn nearest_rank(samples: &[f64], percent: usize) -> Option<f64> {
    if !(1..=100).contains(&percent) {
        return None;
    }
    let sorted = super::sorted_finite(samples)?;
    Some(sorted[(percent * sorted.len()).div_ceil(100) - 1])
}

/// Smallest n for which, with the given confidence, at least two of n samples lie above quantile `p`:
/// `P(Binomial(n, 1 - p) <= 1) <= 1 - confidence`. `None` unless both lie strictly between 0 and 1.
pub fn supported_samples(p: f64, confidence: f64) -> Option<usize> {
    let inside = |x: f64| x > 0.0 && x < 1.0;
    if !inside(p) || !inside(confidence) {
        return None;
    }
    let supported = |n: u64| Binomial::new(1.0 - p, n).is_ok_and(|above| above.cdf(1) <= 1.0 - confidence);
    let mut enough = 2_u64;
    while !supported(enough) {
        enough = enough.checked_mul(2)?;
    }
    let (mut low, mut high) = (enough / 2, enough);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if supported(middle) { high = middle } else { low = middle }
    }
    usize::try_from(high).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    #[test]
    fn sample_floors_are_mlperfs_binomial_bound() {
        for percentile in Percentile::ALL {
            let p = percentile.percent() as f64 / 100.0;
            assert_eq!(supported_samples(p, 0.99), Some(percentile.min_samples()), "{percentile:?}");
        }
        assert_eq!(supported_samples(0.999, 0.99), Some(6636));
        assert_eq!(supported_samples(1.0, 0.99), None);
        assert_eq!(supported_samples(0.9, f64::NAN), None);
    }

    #[test]
    fn percentiles_start_at_their_floor() {
        let sorted: Vec<f64> = (1..=662).map(f64::from).collect();
        assert_eq!(Percentile::P90.of_sorted(&sorted[..63]), None);
        assert_eq!(Percentile::P90.of_sorted(&sorted[..64]), Some(58.0));
        assert_eq!(Percentile::P95.of_sorted(&sorted[..129]), None);
        assert_eq!(Percentile::P95.of_sorted(&sorted[..130]), Some(124.0));
        assert_eq!(Percentile::P99.of_sorted(&sorted[..661]), None);
        assert_eq!(Percentile::P99.of_sorted(&sorted), Some(656.0));
    }

    #[test]
    fn percentiles_of_sorted_samples_are_nearest_ranks() {
        for mut sorted in Draws::new(3).cases(40, 1, 900) {
            sorted.sort_unstable_by(f64::total_cmp);
            for percentile in Percentile::ALL {
                let expected = nearest_rank(&sorted, percentile.percent());
                let expected = expected.filter(|_| sorted.len() >= percentile.min_samples());
                assert_eq!(percentile.of_sorted(&sorted), expected, "{percentile:?} of {}", sorted.len());
            }
        }
    }
}
