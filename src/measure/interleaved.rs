//! An A/A test: two engines of one configuration, timed interleaved. Noise alone makes the ratio differ from 1.
//!
//! A round has four blocks, `A B B A`, and `B A A B` in every other round. A drift that is linear over a round affects
//! both engines equally, and neither engine always begins.

use std::time::Instant;

use super::clock::Clock;
use crate::engine::{BackendError, Engine};
use crate::input::Batch;
use crate::manifest::schema::NoiseFloorTest;
use crate::record::AaTest;
use crate::stats::{BOOTSTRAP_MIN_SAMPLES, median};

/// Untimed forwards at the beginning of a block. The device and the caches have just served the other engine.
const WARMUP: usize = 1;

/// Which of the two engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    First,
    Second,
}

/// Times two engines of one configuration, interleaved. Both read `batch`.
///
/// # Errors
/// The engines' [`BackendError`], or [`BackendError::Clock`].
pub fn measure_interleaved(
    first: &mut dyn Engine,
    second: &mut dyn Engine,
    batch: &Batch,
    limits: &NoiseFloorTest,
) -> Result<AaTest, BackendError> {
    let (mut first_clock, mut second_clock) = (Clock::of(first)?, Clock::of(second)?);
    first.bind(batch)?;
    second.bind(batch)?;
    interleave(limits, |arm| match arm {
        Arm::First => block(first, &mut first_clock, limits.samples),
        Arm::Second => block(second, &mut second_clock, limits.samples),
    })
}

fn block(engine: &mut dyn Engine, clock: &mut Clock, samples: usize) -> Result<Vec<f64>, BackendError> {
    for _ in 0..WARMUP {
        clock.sample(engine)?;
    }
    (0..samples).map(|_| clock.sample(engine).map(|sample| sample.wall_ms)).collect()
}

/// Runs rounds until the limit, or until time is up and there are enough rounds for an interval.
fn interleave<E>(limits: &NoiseFloorTest, mut block: impl FnMut(Arm) -> Result<Vec<f64>, E>) -> Result<AaTest, E> {
    let mut test = AaTest { samples: limits.samples, first_ms: Vec::new(), second_ms: Vec::new() };
    let start = Instant::now();
    for round in 0..limits.rounds {
        if round >= BOOTSTRAP_MIN_SAMPLES && start.elapsed().as_secs_f64() >= limits.time_cap_s {
            break;
        }
        let (outer, inner) = match round % 2 {
            0 => (Arm::First, Arm::Second),
            _ => (Arm::Second, Arm::First),
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for arm in [outer, inner, inner, outer] {
            match arm {
                Arm::First => first.extend(block(arm)?),
                Arm::Second => second.extend(block(arm)?),
            }
        }
        // The clock only returns finite times.
        test.first_ms.push(median(&first).unwrap_or(f64::NAN));
        test.second_ms.push(median(&second).unwrap_or(f64::NAN));
    }
    Ok(test)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::stats::ratio_of_rounds;

    fn limits(rounds: usize, samples: usize) -> NoiseFloorTest {
        NoiseFloorTest {
            batch_sizes: vec![],
            sequence_lengths: vec![],
            precisions: vec![],
            rounds,
            samples,
            time_cap_s: 1e6,
        }
    }

    /// A simulated clock. A forward takes 1 ms, and `second` times as long in the second engine. Each has normal noise
    /// of `spread` and is slower than the one before by `drift`.
    struct Known {
        second: f64,
        spread: f64,
        drift: f64,
    }

    impl Known {
        fn test(&self, seed: u64, limits: &NoiseFloorTest) -> AaTest {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let noise = Normal::new(0.0, self.spread).unwrap();
            let mut forward = 0_u32;
            let block = |arm: Arm| {
                let factor = if arm == Arm::Second { self.second } else { 1.0 };
                let samples = (0..limits.samples).map(|_| {
                    forward += 1;
                    factor * (1.0 + self.drift * f64::from(forward)) * (1.0 + noise.sample(&mut rng))
                });
                Ok::<Vec<f64>, Infallible>(samples.collect())
            };
            interleave(limits, block).unwrap_or_else(|never| match never {})
        }
    }

    fn ratio(test: &AaTest) -> (f64, f64, f64) {
        let (ratio, interval) = ratio_of_rounds(&test.first_ms, &test.second_ms, 1).unwrap();
        let interval = interval.unwrap();
        (ratio, interval.low, interval.high)
    }

    #[test]
    fn known_noise_is_recovered() {
        let (rounds, samples, spread) = (40, 10, 0.01);
        let known = Known { second: 1.0, spread, drift: 0.0 };
        let found: Vec<_> = (0..200).map(|seed| ratio(&known.test(seed, &limits(rounds, samples)))).collect();
        let covered = found.iter().filter(|(_, low, high)| (*low..=*high).contains(&1.0)).count();
        assert!((178..=200).contains(&covered), "95 % intervals of 200 tests hold 1 in {covered}");
        // A median of 2 m normal samples has the standard error 1.2533 s / sqrt(2 m). That of the ratio of two is
        // sqrt(2) times as large, and that of the median over rounds is 1.2533 / sqrt(rounds) times the latter.
        let error = 1.2533 * spread / (2.0 * samples as f64).sqrt() * 2.0_f64.sqrt() * 1.2533 / (rounds as f64).sqrt();
        let half_width = found.iter().map(|(_, low, high)| (high - low) / 2.0).sum::<f64>() / found.len() as f64;
        assert!((half_width / (1.96 * error) - 1.0).abs() < 0.2, "{half_width} for {}", 1.96 * error);
    }

    #[test]
    fn a_real_difference_is_seen_and_an_even_drift_is_not() {
        let limits = limits(40, 10);
        let (_, low, high) = ratio(&Known { second: 1.02, spread: 0.01, drift: 0.0 }.test(1, &limits));
        assert!(low > 1.01 && (low..=high).contains(&1.02), "{low} {high}");
        // The end is twice as slow as the beginning, yet the two engines do not differ.
        let (ratio, ..) = ratio(&Known { second: 1.0, spread: 0.0, drift: 1.0 / 1600.0 }.test(1, &limits));
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn rounds_end_by_number_or_time_but_not_before_an_interval_can_be_had() {
        let known = Known { second: 1.0, spread: 0.01, drift: 0.0 };
        assert_eq!(known.test(1, &limits(9, 2)).first_ms.len(), 9);
        let hurried = NoiseFloorTest { time_cap_s: 0.0, ..limits(9, 2) };
        let test = known.test(1, &hurried);
        assert_eq!((test.first_ms.len(), test.second_ms.len()), (BOOTSTRAP_MIN_SAMPLES, BOOTSTRAP_MIN_SAMPLES));
    }
}
