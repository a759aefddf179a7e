//! Distribution-free interval of the median, cheap enough for every step of the stop rule.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::{Interval, median_of_sorted, sorted_finite};

/// Order-statistic 95 % interval of the median: `[x(k), x(n + 1 - k)]` with the largest k for which
/// `P(Binomial(n, 1/2) < k) <= 0.025` (David and Nagaraja 2003, section 7.1). No assumption on the distribution.
///
/// `None` below 6 samples, where even the extremes cover less than 95 %, or when a sample is not finite.
pub fn median_interval(samples: &[f64]) -> Option<Interval> {
    of_sorted(&sorted_finite(samples)?)
}

/// Half the interval's width as a fraction of the median, the spread that the stop rule uses. `None` when the interval
/// is undefined or the median is not positive.
pub fn relative_half_width(samples: &[f64]) -> Option<f64> {
    let sorted = sorted_finite(samples)?;
    let (interval, median) = (of_sorted(&sorted)?, median_of_sorted(&sorted));
    (median > 0.0).then(|| (interval.high - interval.low) / 2.0 / median)
}

fn of_sorted(sorted: &[f64]) -> Option<Interval> {
    let k = lower_rank(sorted.len())?;
    Some(Interval { low: sorted[k - 1], high: sorted[sorted.len() - k] })
}

/// The largest k (from 1) with `P(Binomial(n, 1/2) <= k - 1) <= 0.025`.
fn lower_rank(n: usize) -> Option<usize> {
    const TAIL: f64 = 0.025;
    let below = Binomial::new(0.5, n as u64).ok()?;
    let fits = |k: usize| below.cdf(k as u64 - 1) <= TAIL;
    // The rank lies near n/2 - 0.98 sqrt(n). The search starts a little above that and goes down.
    let near = n as f64 / 2.0 - 0.98 * (n as f64).sqrt() + 3.0;
    (1..=(near.max(1.0) as usize).min(n)).rev().find(|&k| fits(k))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::tosses_with_at_most;

    #[test]
    fn ranks_match_published_tables() {
        // Conover, Practical Nonparametric Statistics, 95 % two-sided sign intervals.
        let table =
            [(5, None), (6, Some(1)), (8, Some(1)), (9, Some(2)), (12, Some(3)), (20, Some(6)), (100, Some(40))];
        for (n, rank) in table {
            assert_eq!(lower_rank(n), rank, "n = {n}");
        }
    }

    #[test]
    fn the_rank_is_the_largest_that_fits() {
        for n in 6..400 {
            let below = Binomial::new(0.5, n as u64).unwrap();
            let k = lower_rank(n).unwrap();
            assert!(below.cdf(k as u64 - 1) <= 0.025 && below.cdf(k as u64) > 0.025, "n = {n}, k = {k}");
        }
    }

    /// In integers: `P(Binomial(n, 1/2) < k) <= 1/40`, and not for the next k.
    #[test]
    fn the_rank_is_that_of_exact_binomial_sums() {
        for n in 0..=120 {
            let fits = |k: usize| 40 * tosses_with_at_most(k - 1, n) <= 1 << n;
            let expected = (1..=n).take_while(|&k| fits(k)).last();
            assert_eq!(lower_rank(n), expected, "n = {n}");
        }
    }
}
