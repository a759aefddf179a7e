//! Moments, median and percentiles, against their definitions.

use mixprec::stats::{Interval, median, nearest_rank, summarize};

use super::draws::Draws;
use super::shuffled;

#[test]
fn known_values() {
    let summary = summarize(&[9.0, 2.0, 4.0, 4.0, 5.0, 5.0, 7.0, 4.0], 1).unwrap();
    assert_eq!((summary.samples, summary.min, summary.max), (8, 2.0, 9.0));
    assert!((summary.mean - 5.0).abs() < 1e-12);
    assert!((summary.sd.unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    assert_eq!(summary.median, 4.5);
    assert_eq!((summary.p90, summary.p95, summary.p99), (None, None, None));
}

#[test]
fn one_sample_has_no_spread() {
    let summary = summarize(&[3.5], 1).unwrap();
    assert_eq!((summary.median, summary.sd, summary.median_interval), (3.5, None, None));
}

#[test]
fn undefined_is_none() {
    assert_eq!(summarize(&[], 1), None);
    assert_eq!(summarize(&[1.0, f64::NAN], 1), None);
    assert_eq!(summarize(&[1.0, f64::INFINITY], 1), None);
    assert_eq!(median(&[f64::NEG_INFINITY]), None);
}

#[test]
fn order_does_not_matter() {
    let samples: Vec<f64> = (0..700).map(|i| f64::from((i * 37) % 701)).collect();
    let mut reversed = samples.clone();
    reversed.reverse();
    assert_eq!(summarize(&samples, 7), summarize(&reversed, 7));
}

#[test]
fn huge_samples_do_not_overflow() {
    let summary = summarize(&[f64::MAX, f64::MAX], 1).unwrap();
    assert_eq!((summary.mean, summary.median), (f64::MAX, f64::MAX));
}

/// Sums sixteenths in integers, and finds the median by counting samples on either side.
#[test]
fn moments_and_median_are_their_definitions() {
    for samples in Draws::new(6).cases(80, 2, 800) {
        let summary = summarize(&samples, 1).unwrap();
        let n = samples.len() as i128;
        let sixteenths: Vec<i128> = samples.iter().map(|x| (16.0 * x) as i128).collect();
        let sum: i128 = sixteenths.iter().sum();
        let squares: i128 = sixteenths.iter().map(|x| (n * x - sum).pow(2)).sum();
        let mean = sum as f64 / n as f64 / 16.0;
        let sd = (squares as f64 / (n * n * (n - 1)) as f64).sqrt() / 16.0;
        assert!((summary.mean - mean).abs() <= 1e-12 * mean, "{} {mean}", summary.mean);
        assert!((summary.sd.unwrap() - sd).abs() <= 1e-12 * sd + 1e-12 * mean, "{:?} {sd}", summary.sd);
        let count = |chosen: &dyn Fn(&f64) -> bool| 2 * samples.iter().filter(|x| chosen(x)).count();
        assert!(count(&|x| *x <= summary.median) >= samples.len(), "{samples:?}");
        assert!(count(&|x| *x >= summary.median) >= samples.len(), "{samples:?}");
        assert!(samples.iter().all(|x| summary.min <= *x && *x <= summary.max));
        let upper = |percent, least| nearest_rank(&samples, percent).filter(|_| samples.len() >= least);
        let expected = (upper(90, 64), upper(95, 130), upper(99, 662));
        assert_eq!((summary.p90, summary.p95, summary.p99), expected);
    }
}

#[test]
fn the_median_mirrors_and_lies_between_the_middle_ranks() {
    for samples in Draws::new(7).cases(80, 1, 60) {
        let found = median(&samples).unwrap();
        let mirrored: Vec<f64> = samples.iter().map(|x| -x).collect();
        assert_eq!(median(&mirrored), Some(-found));
        let (lower, upper) = (nearest_rank(&samples, 50).unwrap(), -nearest_rank(&mirrored, 50).unwrap());
        assert_eq!(found, f64::midpoint(lower, upper), "{samples:?}");
    }
}

#[test]
fn a_summary_follows_scale_and_shift_and_no_order() {
    let mut draws = Draws::new(8);
    for samples in draws.cases(20, 6, 800) {
        let summary = summarize(&samples, 9).unwrap();
        assert_eq!(summarize(&shuffled(&mut draws, &samples), 9), Some(summary));
        let moved: Vec<f64> = samples.iter().map(|x| 4.0 * x + 3.0).collect();
        let moved = summarize(&moved, 9).unwrap();
        let to = |x: f64| 4.0 * x + 3.0;
        let ends = summary.median_interval.map(|i| Interval { low: to(i.low), high: to(i.high) });
        assert_eq!((moved.min, moved.max, moved.median), (to(summary.min), to(summary.max), to(summary.median)));
        assert_eq!((moved.p90, moved.p95, moved.p99), (summary.p90.map(to), summary.p95.map(to), summary.p99.map(to)));
        assert_eq!(moved.median_interval, ends);
        assert!((moved.mean - to(summary.mean)).abs() <= 1e-11 * moved.mean);
        assert!((moved.sd.unwrap() - 4.0 * summary.sd.unwrap()).abs() <= 1e-11 * moved.mean);
    }
}
