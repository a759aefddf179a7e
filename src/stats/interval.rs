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
    use crate::stats::draws::{Draws, tosses_with_at_most};
    use crate::stats::median;

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

    #[test]
    fn known_interval_and_width() {
        let samples: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(median_interval(&samples), Some(Interval { low: 6.0, high: 15.0 }));
        assert!((relative_half_width(&samples).unwrap() - 4.5 / 10.5).abs() < 1e-12);
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(median_interval(&[1.0; 5]), None);
        assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0, f64::INFINITY]), None);
        assert_eq!(relative_half_width(&[0.0; 10]), None);
        assert_eq!(relative_half_width(&[2.0; 10]), Some(0.0));
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

    /// All patterns of samples below and above the true median are equally likely. At least 95 % of the intervals cover
    /// it, and fewer would if they ended one rank further in.
    #[test]
    fn the_interval_covers_the_median_of_at_least_95_percent_of_all_patterns() {
        for n in 6..=14_usize {
            let (mut covered, mut narrower) = (0, 0);
            for pattern in 0..1_u32 << n {
                let side = |i: usize| if pattern >> i & 1 == 1 { 1.0 } else { -1.0 };
                let mut samples: Vec<f64> = (0..n).map(|i| side(i) * (i + 1) as f64).collect();
                let interval = median_interval(&samples).unwrap();
                covered += u32::from(interval.low <= 0.0 && 0.0 <= interval.high);
                samples.sort_unstable_by(f64::total_cmp);
                let k = samples.iter().position(|&x| x == interval.low).unwrap() + 1;
                narrower += u32::from(2 * k < n && samples[k] <= 0.0 && 0.0 <= samples[n - 1 - k]);
            }
            let share = |count: u32| f64::from(count) / f64::from(1_u32 << n);
            assert!(share(covered) >= 0.95 && share(narrower) < 0.95, "{n}: {} {}", share(covered), share(narrower));
        }
    }

    #[test]
    fn the_interval_holds_the_median_and_follows_scale_and_shift_and_no_order() {
        let mut draws = Draws::new(4);
        for samples in draws.cases(80, 6, 200) {
            let found = median_interval(&samples).unwrap();
            let centre = median(&samples).unwrap();
            assert!(found.low <= centre && centre <= found.high, "{samples:?}");
            assert_eq!(median_interval(&draws.shuffled(&samples)), Some(found));
            let moved: Vec<f64> = samples.iter().map(|x| 4.0 * x + 3.0).collect();
            let expected = Interval { low: 4.0 * found.low + 3.0, high: 4.0 * found.high + 3.0 };
            assert_eq!(median_interval(&moved), Some(expected));
            let mirrored: Vec<f64> = samples.iter().map(|x| -x).collect();
            assert_eq!(median_interval(&mirrored), Some(Interval { low: -found.high, high: -found.low }));
            let scaled: Vec<f64> = samples.iter().map(|x| 8.0 * x).collect();
            assert_eq!(relative_half_width(&scaled), relative_half_width(&samples));
        }
    }
}
