//! The ratio of two interleaved series: its definition and invariances.

use mixprec::stats::{Interval, bootstrap_median, ratio_of_rounds};

use super::draws::Draws;
use super::shuffled;

#[test]
fn ratios_are_taken_within_a_round() {
    // The rounds have very different speeds, but the second series is always a tenth slower.
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

#[test]
fn the_ratio_is_the_median_of_quotients_and_follows_either_scale_and_no_order_of_rounds() {
    let mut draws = Draws::new(10);
    for first in draws.cases(40, 1, 60) {
        let first: Vec<f64> = first.iter().map(|ms| ms + 0.25).collect();
        let second: Vec<f64> = draws.samples(first.len()).iter().map(|ms| ms + 0.5).collect();
        let found = ratio_of_rounds(&first, &second, 3).unwrap();
        let mut quotients: Vec<f64> = (0..first.len()).map(|round| second[round] / first[round]).collect();
        assert_eq!(found.1, bootstrap_median(&quotients, 3));
        quotients.sort_unstable_by(f64::total_cmp);
        let n = quotients.len();
        assert_eq!(found.0, f64::midpoint(quotients[(n - 1) / 2], quotients[n / 2]));

        let order = shuffled(&mut draws, &(0..n).collect::<Vec<_>>());
        let reordered = [&first, &second].map(|times| order.iter().map(|&round| times[round]).collect::<Vec<_>>());
        assert_eq!(ratio_of_rounds(&reordered[0], &reordered[1], 3), Some(found));

        let halved: Vec<f64> = first.iter().map(|ms| ms / 2.0).collect();
        let doubled = found.1.map(|i| Interval { low: 2.0 * i.low, high: 2.0 * i.high });
        assert_eq!(ratio_of_rounds(&halved, &second, 3), Some((2.0 * found.0, doubled)));

        let inverse = ratio_of_rounds(&second, &first, 3).unwrap().0;
        assert!(n.is_multiple_of(2) || (inverse * found.0 - 1.0).abs() < 1e-15, "{inverse} {}", found.0);
    }
}
