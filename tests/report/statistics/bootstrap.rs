//! The bootstrap interval of the median: coverage, determinism, invariances.

use std::time::Instant;

use mixprec::stats::{BOOTSTRAP_MIN_SAMPLES, Interval, bootstrap_median, median, median_interval};

use super::draws::{Draws, uniform};
use super::shuffled;

#[test]
fn seeded_and_independent_of_order() {
    let samples = uniform(101, 3);
    let mut shuffled = samples.clone();
    shuffled.rotate_left(40);
    assert_eq!(bootstrap_median(&samples, 5), bootstrap_median(&shuffled, 5));
    assert_ne!(bootstrap_median(&samples, 5), bootstrap_median(&samples, 6));
}

#[test]
fn agrees_with_the_order_statistic_interval() {
    let samples = uniform(400, 21);
    let (boot, exact) = (bootstrap_median(&samples, 1).unwrap(), median_interval(&samples).unwrap());
    assert!((boot.low - exact.low).abs() < 0.03 && (boot.high - exact.high).abs() < 0.03, "{boot:?} {exact:?}");
}

#[test]
fn covers_the_true_median_about_95_times_in_100_and_of_few_samples_a_little_less() {
    for (n, least) in [(BOOTSTRAP_MIN_SAMPLES, 0.91), (10, 0.91), (60, 0.93)] {
        let covers = |seed: &u64| {
            let interval = bootstrap_median(&uniform(n, 1000 + seed), *seed).unwrap();
            interval.low <= 0.5 && 0.5 <= interval.high
        };
        let covered = (0..2000).filter(covers).count() as f64 / 2000.0;
        println!("{n} samples: covered {covered}");
        assert!((least..0.985).contains(&covered), "{n} samples: covered {covered}");
    }
}

#[test]
fn undefined_is_none() {
    assert_eq!(bootstrap_median(&[1.0; 5], 1), None);
    assert_eq!(bootstrap_median(&[1.0; 6], 1), Some(Interval { low: 1.0, high: 1.0 }));
    assert_eq!(bootstrap_median(&[1.0, 2.0, 3.0, 4.0, 5.0, f64::NAN], 1), None);
}

/// Ignored by default because it measures time: `cargo test --release bootstrap -- --ignored --nocapture`.
#[test]
#[ignore = "timing"]
fn a_thousand_samples_take_under_10_ms() {
    let samples = uniform(1000, 1);
    let start = Instant::now();
    let interval = bootstrap_median(&samples, 1);
    println!("bootstrap of 1000 samples: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    assert!(interval.is_some() && start.elapsed().as_millis() < 10);
}

#[test]
fn an_interval_holds_the_median_and_follows_scale_and_shift_and_no_order() {
    let mut draws = Draws::new(15);
    for samples in draws.cases(40, BOOTSTRAP_MIN_SAMPLES, 80) {
        let found = bootstrap_median(&samples, 8).unwrap();
        let centre = median(&samples).unwrap();
        assert!(found.low <= centre && centre <= found.high, "{samples:?}");
        assert_eq!(bootstrap_median(&shuffled(&mut draws, &samples), 8), Some(found));
        let moved: Vec<f64> = samples.iter().map(|x| 2.0 * x - 5.0).collect();
        let expected = Interval { low: 2.0 * found.low - 5.0, high: 2.0 * found.high - 5.0 };
        assert_eq!(bootstrap_median(&moved, 8), Some(expected));
    }
}
