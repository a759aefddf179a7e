//! Two things timed by turns: their ratio, round by round.

use super::{Interval, bootstrap_median, median};

/// The median over rounds of `second / first`, and its bootstrap 95 % interval over rounds, which are resampled whole: what
/// disturbs one block of a round disturbs its neighbours as well. No interval below
/// [`BOOTSTRAP_MIN_SAMPLES`](super::BOOTSTRAP_MIN_SAMPLES) rounds. `None` for no rounds, unequal numbers of them, or a
/// quotient that is not finite.
pub fn ratio_of_rounds(first: &[f64], second: &[f64], seed: u64) -> Option<(f64, Option<Interval>)> {
    if first.len() != second.len() {
        return None;
    }
    let ratios: Vec<f64> = first.iter().zip(second).map(|(first, second)| second / first).collect();
    Some((median(&ratios)?, bootstrap_median(&ratios, seed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Rounds of very different speed, the second always a tenth slower.
        let first: Vec<f64> = (1..=9).map(|round| f64::from(round * round)).collect();
        let second: Vec<f64> = first.iter().map(|ms| ms * 1.1).collect();
        let (ratio, interval) = ratio_of_rounds(&first, &second, 1).unwrap();
        let interval = interval.unwrap();
        assert!((ratio - 1.1).abs() < 1e-12 && (interval.high - interval.low).abs() < 1e-12, "{ratio} {interval:?}");
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(ratio_of_rounds(&[], &[], 1), None);
        assert_eq!(ratio_of_rounds(&[1.0], &[1.0, 2.0], 1), None);
        assert_eq!(ratio_of_rounds(&[0.0], &[1.0], 1), None);
        assert_eq!(ratio_of_rounds(&[2.0], &[1.0], 1), Some((0.5, None)));
    }
}
