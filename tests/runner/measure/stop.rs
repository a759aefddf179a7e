//! The stop rule over synthetic streams of samples.

use mixprec::manifest::schema::Measurement;
use mixprec::measure::stop::StopRule;
use mixprec::record::StopReason;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const LIMITS: Measurement = Measurement {
    warmup: 0,
    min_samples: 10,
    max_samples: 500,
    target_precision: 0.01,
    time_cap_s: 10.0,
    timeout_s: 60.0,
    threads: None,
    energy_window_s: None,
    cpu_processes: None,
    pin_threads: false,
};

/// Feeds a synthetic stream. Its samples also make up the elapsed time.
fn run(limits: &Measurement, mut next_ms: impl FnMut(usize) -> f64) -> (usize, StopReason) {
    let mut rule = StopRule::new(limits);
    let (mut samples, mut elapsed_s) = (Vec::new(), 0.0);
    loop {
        let ms = next_ms(samples.len());
        samples.push(ms);
        elapsed_s += ms / 1e3;
        if let Some(reason) = rule.verdict(&samples, elapsed_s) {
            return (samples.len(), reason);
        }
    }
}

fn noise(seed: u64, spread: f64) -> impl FnMut(usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |_| 1.0 + spread * (f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5)
}

#[test]
fn a_constant_stream_stops_at_the_minimum() {
    assert_eq!(run(&LIMITS, |_| 1.0), (10, StopReason::TargetPrecision));
}

#[test]
fn noisier_streams_take_longer() {
    let (quiet, reason) = run(&LIMITS, noise(1, 0.05));
    let (loud, loud_reason) = run(&LIMITS, noise(1, 0.15));
    assert_eq!((reason, loud_reason), (StopReason::TargetPrecision, StopReason::TargetPrecision));
    assert!(quiet < loud && loud < 500, "{quiet} {loud}");
}

#[test]
fn the_sample_limit_ends_a_hopeless_stream() {
    assert_eq!(run(&LIMITS, |i| if i % 2 == 0 { 1.0 } else { 2.0 }), (500, StopReason::MaxSamples));
}

#[test]
fn the_target_wins_when_both_are_reached_at_once() {
    let limits = Measurement { min_samples: 10, max_samples: 10, ..LIMITS };
    assert_eq!(run(&limits, |_| 1.0), (10, StopReason::TargetPrecision));
}

#[test]
fn the_time_cap_ends_a_slow_stream_but_not_below_the_minimum() {
    let slow_and_loud =
        |forward_ms: f64| move |i: usize| if i.is_multiple_of(2) { forward_ms } else { 2.0 * forward_ms };
    assert_eq!(run(&LIMITS, slow_and_loud(500.0)), (14, StopReason::TimeCap));
    assert_eq!(run(&LIMITS, slow_and_loud(30_000.0)), (10, StopReason::TimeCap));
}

#[test]
fn below_six_samples_no_interval_exists() {
    let limits = Measurement { min_samples: 1, ..LIMITS };
    assert_eq!(run(&limits, |_| 1.0), (6, StopReason::TargetPrecision));
}

#[test]
fn samples_that_are_not_finite_never_meet_the_target() {
    let limits = Measurement { max_samples: 20, ..LIMITS };
    let mut rule = StopRule::new(&limits);
    assert_eq!(rule.verdict(&[f64::NAN; 10], 0.0), None);
    assert_eq!(rule.verdict(&[f64::NAN; 20], 0.0), Some(StopReason::MaxSamples));
}
