//! Timing one engine: warm-up, samples by the one clock, a stop rule, peak memory.

pub mod clock;
pub mod memory;
pub mod stop;

use std::time::Instant;

use crate::backend::{BackendError, Engine};
use crate::manifest::schema::Measurement;
use crate::store::record::StopReason;
use stop::StopRule;

/// What measuring one engine left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Raw samples in the order taken, milliseconds per forward pass.
    pub samples_ms: Vec<f64>,
    /// Untimed passes before them.
    pub warmup: usize,
    /// Why sampling ended.
    pub stop_reason: StopReason,
}

/// Warms the engine up on its bound batch, then samples it until the stop rule is content.
///
/// # Errors
/// The engine's [`BackendError`].
pub fn measure(engine: &mut dyn Engine, limits: &Measurement) -> Result<Sampling, BackendError> {
    for _ in 0..limits.warmup {
        clock::sample(engine)?;
    }
    let mut rule = StopRule::new(limits);
    let mut samples_ms = Vec::with_capacity(limits.min_samples);
    let start = Instant::now();
    loop {
        samples_ms.push(clock::sample(engine)?);
        if let Some(stop_reason) = rule.verdict(&samples_ms, start.elapsed().as_secs_f64()) {
            return Ok(Sampling { samples_ms, warmup: limits.warmup, stop_reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::{BackendKind, EngineDescription, MemoryBreakdown, Output};
    use crate::input::Batch;

    /// Sleeps in `synchronize`, as a device does, and fails at pass `fails_at`.
    #[derive(Default)]
    struct Sleeper {
        pass_ms: u64,
        passes: usize,
        fails_at: Option<usize>,
    }

    impl Engine for Sleeper {
        fn bind(&mut self, _batch: &Batch) -> Result<(), BackendError> {
            Ok(())
        }
        fn enqueue(&mut self) -> Result<(), BackendError> {
            self.passes += 1;
            if self.fails_at == Some(self.passes) {
                return Err(BackendError::Execution { backend: BackendKind::Mock, message: "no more".to_owned() });
            }
            Ok(())
        }
        fn synchronize(&mut self) -> Result<(), BackendError> {
            std::thread::sleep(Duration::from_millis(self.pass_ms));
            Ok(())
        }
        fn outputs(&mut self) -> Result<Output, BackendError> {
            Err(BackendError::Inputs("this engine has no outputs".to_owned()))
        }
        fn memory(&self) -> MemoryBreakdown {
            MemoryBreakdown::default()
        }
        fn describe(&self) -> EngineDescription {
            EngineDescription { library: "test".to_owned(), device: "cpu".to_owned(), threads: None, emulated: false }
        }
    }

    fn limits() -> Measurement {
        Measurement { warmup: 2, min_samples: 5, max_samples: 8, target_precision: 0.0, ..Measurement::default() }
    }

    #[test]
    fn the_clock_includes_synchronisation_and_warm_up_is_not_a_sample() {
        let mut engine = Sleeper { pass_ms: 3, ..Sleeper::default() };
        let sampling = measure(&mut engine, &limits()).unwrap();
        assert_eq!((sampling.warmup, sampling.samples_ms.len(), engine.passes), (2, 8, 10));
        assert_eq!(sampling.stop_reason, StopReason::MaxSamples);
        assert!(sampling.samples_ms.iter().all(|&ms| ms >= 3.0), "{:?}", sampling.samples_ms);
    }

    #[test]
    fn the_minimum_is_taken_whatever_the_time_cap() {
        let mut engine = Sleeper { pass_ms: 5, ..Sleeper::default() };
        let sampling = measure(&mut engine, &Measurement { time_cap_s: 0.001, ..limits() }).unwrap();
        assert_eq!((sampling.warmup, sampling.samples_ms.len()), (2, 5));
        assert_eq!(sampling.stop_reason, StopReason::TimeCap);
    }

    #[test]
    fn an_engine_error_ends_the_measurement() {
        let mut engine = Sleeper { fails_at: Some(4), ..Sleeper::default() };
        assert_eq!(measure(&mut engine, &limits()).unwrap_err().to_string(), "mock failed: no more");
    }
}
