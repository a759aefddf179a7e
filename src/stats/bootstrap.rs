//! Seeded percentile bootstrap of the median.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Interval, sorted_finite};

/// Number of resamples. Each tail of 2.5 % then has 50 resamples.
pub const BOOTSTRAP_RESAMPLES: usize = 2000;

/// Fewest samples for an interval. Below 6, the distribution-free 95 % interval of the median does not exist either,
/// and a bootstrap only repeats the extremes.
pub const BOOTSTRAP_MIN_SAMPLES: usize = 6;

/// Percentile-bootstrap 95 % interval of the median (Efron 1979; Efron and Tibshirani 1993, section 13.3).
///
/// The same samples and seed give the same interval, whatever the samples' order. `None` below
/// [`BOOTSTRAP_MIN_SAMPLES`], above `u32::MAX` samples, or when a sample is not finite.
pub fn bootstrap_median(samples: &[f64], seed: u64) -> Option<Interval> {
    let sorted = sorted_finite(samples)?;
    if sorted.len() < BOOTSTRAP_MIN_SAMPLES || u32::try_from(sorted.len()).is_err() {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draws = vec![0_u32; sorted.len()];
    let mut medians: Vec<f64> =
        (0..BOOTSTRAP_RESAMPLES).map(|_| resampled_median(&sorted, &mut draws, &mut rng)).collect();
    medians.sort_unstable_by(f64::total_cmp);
    let tail = BOOTSTRAP_RESAMPLES / 40;
    Some(Interval { low: medians[tail], high: medians[BOOTSTRAP_RESAMPLES - 1 - tail] })
}

/// Median of one resample. The samples are sorted, so it counts how often each rank is drawn instead of sorting.
fn resampled_median(sorted: &[f64], draws: &mut [u32], rng: &mut ChaCha8Rng) -> f64 {
    draws.fill(0);
    let n = sorted.len();
    for _ in 0..n / 2 {
        let bits = rng.next_u64();
        draws[scale(bits as u32, n)] += 1;
        draws[scale((bits >> 32) as u32, n)] += 1;
    }
    if n % 2 == 1 {
        draws[scale(rng.next_u32(), n)] += 1;
    }
    let upper = drawn(draws, n / 2);
    if n % 2 == 1 { sorted[upper] } else { f64::midpoint(sorted[drawn(draws, n / 2 - 1)], sorted[upper]) }
}

/// A uniform 32-bit number as an index below `n` (Lemire's multiplication; its bias is below n / 2^32).
fn scale(bits: u32, n: usize) -> usize {
    ((u64::from(bits) * n as u64) >> 32) as usize
}

/// The rank at `position` (from 0) of the resample in ascending order.
fn drawn(draws: &[u32], position: usize) -> usize {
    let mut seen = 0_usize;
    draws
        .iter()
        .position(|&count| {
            seen += count as usize;
            seen > position
        })
        .unwrap_or(draws.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::{Draws, uniform};
    use crate::stats::median;

    #[test]
    fn counting_equals_sorting_a_resample() {
        for n in [6, 7, 50, 51] {
            let mut sorted = uniform(n, 11);
            sorted.sort_unstable_by(f64::total_cmp);
            let mut draws = vec![0; n];
            let fast = resampled_median(&sorted, &mut draws, &mut ChaCha8Rng::seed_from_u64(9));
            let resample: Vec<f64> =
                draws.iter().zip(&sorted).flat_map(|(&count, &x)| vec![x; count as usize]).collect();
            assert_eq!(resample.len(), n);
            assert_eq!(Some(fast), median(&resample));
        }
    }

    /// Number of the n^n resamples that have each median.
    fn medians_of_all_resamples(sorted: &[f64]) -> Vec<(f64, f64)> {
        let n = sorted.len();
        let all = n.pow(n as u32);
        let mut medians: Vec<f64> = (0..all)
            .map(|number| {
                let digits = (0..n).scan(number, |rest, _| {
                    let digit = *rest % n;
                    *rest /= n;
                    Some(sorted[digit])
                });
                median(&digits.collect::<Vec<_>>()).unwrap()
            })
            .collect();
        medians.sort_unstable_by(f64::total_cmp);
        medians.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f64 / all as f64)).collect()
    }

    #[test]
    fn medians_are_drawn_as_often_as_they_are_among_all_resamples() {
        const DRAWN: usize = 100_000;
        let mut cases = Draws::new(12);
        for n in 1..=6 {
            let mut sorted = cases.samples(n);
            sorted.sort_unstable_by(f64::total_cmp);
            let (mut draws, mut rng) = (vec![0; n], ChaCha8Rng::seed_from_u64(13));
            let drawn: Vec<f64> = (0..DRAWN).map(|_| resampled_median(&sorted, &mut draws, &mut rng)).collect();
            let exact = medians_of_all_resamples(&sorted);
            let mut counted = 0;
            for (value, share) in exact {
                let count = drawn.iter().filter(|x| **x == value).count();
                let (expected, deviation) = (share * DRAWN as f64, (share * (1.0 - share) * DRAWN as f64).sqrt());
                assert!(
                    (count as f64 - expected).abs() <= 5.0 * deviation,
                    "{value} of {sorted:?}: {count} {expected}"
                );
                counted += count;
            }
            assert_eq!(counted, DRAWN, "a median that no resample of {sorted:?} has");
        }
    }

    /// Each end is the 51st of 2000 medians from its side. It must leave 2.5 % of all resamples outside, within five
    /// standard deviations of such a count.
    #[test]
    fn the_ends_leave_2_5_percent_of_all_resamples_outside() {
        const SLACK: f64 = 5.0 * 0.0035; // sqrt(0.025 * 0.975 / 2000) = 0.0035
        let mut cases = Draws::new(14);
        for n in [6, 6, 6, 6, 7] {
            let mut sorted = cases.samples(n);
            sorted.sort_unstable_by(f64::total_cmp);
            let exact = medians_of_all_resamples(&sorted);
            let share = |chosen: &dyn Fn(f64) -> bool| {
                exact.iter().filter(|(x, _)| chosen(*x)).map(|(_, share)| share).sum::<f64>()
            };
            for seed in 0..20 {
                let Interval { low, high } = bootstrap_median(&sorted, seed).unwrap();
                for (outside, up_to_the_end) in
                    [(share(&|x| x < low), share(&|x| x <= low)), (share(&|x| x > high), share(&|x| x >= high))]
                {
                    let fits = outside <= 0.025 + SLACK && up_to_the_end >= 0.025 - SLACK;
                    assert!(fits, "{sorted:?}, seed {seed}: {outside} {up_to_the_end}");
                }
            }
        }
    }
}
