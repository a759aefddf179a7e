//! Engines that read one batch, timed interleaved. With two engines of one configuration it is an A/A test: noise alone makes the
//! ratio differ from 1.
//!
//! A round has two blocks of each engine, `A B B A`, and the next one begins with the next engine, `B A A B`. A drift that is
//! linear over a round affects all engines equally, and no engine always begins.

use std::time::Instant;

use super::clock::Clock;
use crate::engine::{BackendError, Engine};
use crate::input::Batch;
use crate::manifest::schema::{NoiseFloorTest, TimedBlock};
use crate::stats::{BOOTSTRAP_MIN_SAMPLES, median};

/// How long engines are timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundLimits {
    /// Rounds, at most.
    pub rounds: usize,
    /// Forwards of a block.
    pub block: TimedBlock,
    /// No round begins after this long, seconds, once there are enough for an interval.
    pub time_cap_s: f64,
}

impl RoundLimits {
    /// The limits of a test of forwards that take this long, seconds.
    pub fn of(test: &NoiseFloorTest, forward_s: f64) -> Self {
        RoundLimits { rounds: test.rounds, block: test.block(forward_s), time_cap_s: test.time_cap_s }
    }
}

/// Times engines interleaved. All read `batch`. Returns the median wall time of each engine's forwards in each round,
/// milliseconds.
///
/// # Errors
/// The engines' [`BackendError`], or [`BackendError::Clock`].
pub fn measure_interleaved(
    engines: &mut [&mut dyn Engine],
    batch: &Batch,
    limits: RoundLimits,
) -> Result<Vec<Vec<f64>>, BackendError> {
    let mut clocks = engines.iter().map(|engine| Clock::of(*engine)).collect::<Result<Vec<_>, _>>()?;
    engines.iter_mut().try_for_each(|engine| engine.bind(batch))?;
    interleave(engines.len(), limits, |arm| block(engines[arm], &mut clocks[arm], limits.block))
}

fn block(engine: &mut dyn Engine, clock: &mut Clock, of: TimedBlock) -> Result<Vec<f64>, BackendError> {
    for _ in 0..of.untimed {
        clock.sample(engine)?;
    }
    (0..of.samples).map(|_| clock.sample(engine).map(|sample| sample.wall_ms)).collect()
}

/// Runs rounds of so many arms until the limit, or until time is up and there are enough rounds for an interval.
fn interleave<E>(
    arms: usize,
    limits: RoundLimits,
    mut block: impl FnMut(usize) -> Result<Vec<f64>, E>,
) -> Result<Vec<Vec<f64>>, E> {
    let mut medians = vec![Vec::new(); arms];
    let start = Instant::now();
    for round in 0..limits.rounds {
        if round >= BOOTSTRAP_MIN_SAMPLES && start.elapsed().as_secs_f64() >= limits.time_cap_s {
            break;
        }
        let order = (0..arms).map(|place| (round + place) % arms);
        let mut samples = vec![Vec::new(); arms];
        for arm in order.clone().chain(order.rev()) {
            samples[arm].extend(block(arm)?);
        }
        for (medians, samples) in medians.iter_mut().zip(&samples) {
            // The clock only returns finite times.
            medians.push(median(samples).unwrap_or(f64::NAN));
        }
    }
    Ok(medians)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::stats::ratio_of_rounds;

    fn limits(rounds: usize, samples: usize) -> RoundLimits {
        RoundLimits { rounds, block: TimedBlock { untimed: 0, samples }, time_cap_s: 1e6 }
    }

    /// A simulated clock. A forward takes 1 ms, and `second` times as long in the second engine. Each has normal noise
    /// of `spread` and is slower than the one before by `drift`.
    struct Known {
        second: f64,
        spread: f64,
        drift: f64,
    }

    impl Known {
        fn test(&self, seed: u64, limits: RoundLimits) -> Vec<Vec<f64>> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let noise = Normal::new(0.0, self.spread).unwrap();
            let mut forward = 0_u32;
            let block = |arm: usize| {
                let factor = if arm == 1 { self.second } else { 1.0 };
                let samples = (0..limits.block.samples).map(|_| {
                    forward += 1;
                    factor * (1.0 + self.drift * f64::from(forward)) * (1.0 + noise.sample(&mut rng))
                });
                Ok::<Vec<f64>, Infallible>(samples.collect())
            };
            interleave(2, limits, block).unwrap_or_else(|never| match never {})
        }
    }

    fn ratio(test: &[Vec<f64>]) -> (f64, f64, f64) {
        let (ratio, interval) = ratio_of_rounds(&test[0], &test[1], 1).unwrap();
        let interval = interval.unwrap();
        (ratio, interval.low, interval.high)
    }

    #[test]
    fn known_noise_is_recovered() {
        let (rounds, samples, spread) = (40, 10, 0.01);
        let known = Known { second: 1.0, spread, drift: 0.0 };
        let found: Vec<_> = (0..200).map(|seed| ratio(&known.test(seed, limits(rounds, samples)))).collect();
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
        let (_, low, high) = ratio(&Known { second: 1.02, spread: 0.01, drift: 0.0 }.test(1, limits));
        assert!(low > 1.01 && (low..=high).contains(&1.02), "{low} {high}");
        // The end is twice as slow as the beginning, yet the two engines do not differ.
        let (ratio, ..) = ratio(&Known { second: 1.0, spread: 0.0, drift: 1.0 / 1600.0 }.test(1, limits));
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn rounds_end_by_number_or_time_but_not_before_an_interval_can_be_had() {
        let known = Known { second: 1.0, spread: 0.01, drift: 0.0 };
        assert_eq!(known.test(1, limits(9, 2))[0].len(), 9);
        let test = known.test(1, RoundLimits { time_cap_s: 0.0, ..limits(9, 2) });
        assert_eq!([test[0].len(), test[1].len()], [BOOTSTRAP_MIN_SAMPLES; 2]);
    }

    #[test]
    fn each_engine_begins_in_turn_and_has_the_same_mean_place() {
        let mut order = Vec::new();
        let found = interleave(3, limits(3, 1), |arm| {
            order.push(arm);
            Ok::<_, Infallible>(vec![arm as f64])
        });
        assert_eq!(order, [0, 1, 2, 2, 1, 0, 1, 2, 0, 0, 2, 1, 2, 0, 1, 1, 0, 2]);
        assert_eq!(found.unwrap_or_else(|never| match never {}), [[0.0; 3], [1.0; 3], [2.0; 3]]);
    }
}
