//! The ratio of two series that were timed interleaved, round by round.

use super::{Interval, bootstrap_median, median};

/// The median over rounds of `second / first`, and its bootstrap 95 % interval. Whole rounds are resampled, because a
/// disturbance of one block of a round also affects its neighbours. No interval below
/// [`BOOTSTRAP_MIN_SAMPLES`](super::BOOTSTRAP_MIN_SAMPLES) rounds. `None` for no rounds, unequal numbers of them, or a
/// quotient that is not finite.
pub fn ratio_of_rounds(first: &[f64], second: &[f64], seed: u64) -> Option<(f64, Option<Interval>)> {
    if first.len() != second.len() {
        return None;
    }
    let ratios: Vec<f64> = first.iter().zip(second).map(|(first, second)| second / first).collect();
    Some((median(&ratios)?, bootstrap_median(&ratios, seed)))
}
