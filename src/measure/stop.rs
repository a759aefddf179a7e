//! The rule that ends sampling.

use crate::manifest::schema::Measurement;
use crate::record::StopReason;
use crate::stats::relative_half_width;

/// The number of samples grows by this factor between two checks of the spread. Sorting then costs O(n log n) over the
/// whole measurement, and rare checks make an early stop by chance rare.
const CHECK_GROWTH: f64 = 1.25;

/// The stop rule of one measurement: minimum samples, target precision of the median, maximum samples, time cap.
///
/// The minimum is always taken, because fewer samples give no interval. The runner's timeout ends a measurement that
/// takes far too long. Stopping on an interval favours streams that happen to look quiet, especially at small n.
/// `min_samples` limits this bias.
#[derive(Debug, Clone)]
pub struct StopRule {
    min_samples: usize,
    max_samples: usize,
    target_precision: f64,
    time_cap_s: f64,
    next_check: usize,
}

impl StopRule {
    /// The rule with the manifest's limits.
    pub fn new(limits: &Measurement) -> Self {
        StopRule {
            min_samples: limits.min_samples.max(1),
            max_samples: limits.max_samples.max(1),
            target_precision: limits.target_precision,
            time_cap_s: limits.time_cap_s,
            next_check: limits.min_samples.max(1),
        }
    }

    /// Decides whether to stop after these samples, taken within `elapsed_s` seconds. Call it after every sample.
    ///
    /// The target is met when half the width of the median's order-statistic 95 % interval is at most
    /// `target_precision` of the median. Below 6 samples that interval does not exist, so the target cannot be met.
    pub fn verdict(&mut self, samples_ms: &[f64], elapsed_s: f64) -> Option<StopReason> {
        let n = samples_ms.len();
        if n >= self.next_check || n >= self.max_samples {
            self.next_check = ((n as f64 * CHECK_GROWTH) as usize).max(n + 1);
            if relative_half_width(samples_ms).is_some_and(|width| width <= self.target_precision) {
                return Some(StopReason::TargetPrecision);
            }
        }
        if n >= self.max_samples {
            return Some(StopReason::MaxSamples);
        }
        (n >= self.min_samples && elapsed_s >= self.time_cap_s).then_some(StopReason::TimeCap)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    const LIMITS: Measurement = Measurement {
        warmup: 0,
        min_samples: 10,
        max_samples: 500,
        target_precision: 0.01,
        time_cap_s: 10.0,
        timeout_s: 60.0,
        threads: None,
        energy_window_s: None,
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
}
