//! The order-statistic interval of the median, against all patterns of samples.

use mixprec::stats::{Interval, median, median_interval, relative_half_width};

use super::draws::Draws;
use super::shuffled;

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
        assert_eq!(median_interval(&shuffled(&mut draws, &samples)), Some(found));
        let moved: Vec<f64> = samples.iter().map(|x| 4.0 * x + 3.0).collect();
        let expected = Interval { low: 4.0 * found.low + 3.0, high: 4.0 * found.high + 3.0 };
        assert_eq!(median_interval(&moved), Some(expected));
        let mirrored: Vec<f64> = samples.iter().map(|x| -x).collect();
        assert_eq!(median_interval(&mirrored), Some(Interval { low: -found.high, high: -found.low }));
        let scaled: Vec<f64> = samples.iter().map(|x| 8.0 * x).collect();
        assert_eq!(relative_half_width(&scaled), relative_half_width(&samples));
    }
}
