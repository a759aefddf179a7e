//! Times one engine: warm-up, samples until a stop rule, and peak memory. Then forwards end to end, and forwards back
//! to back.

pub mod clock;
pub mod end_to_end;
pub mod gpu_sensor;
pub mod guard;
pub mod interleaved;
pub mod memory;
pub mod neighbours;
pub mod stop;
pub mod sustained;
pub mod timekeeping;

#[cfg(test)]
mod simulated;

use std::time::Instant;

use crate::engine::{BackendError, Engine};
use crate::input::Batch;
use crate::manifest::schema::Measurement;
use crate::record::StopReason;
use crate::record::telemetry::{Sustained, Telemetry};
use crate::stats::median;
use clock::Clock;
use guard::Guard;
use memory::PeakMemory;
use stop::StopRule;

/// The measurements of one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Raw samples in the order taken, milliseconds of wall time per forward.
    pub samples_ms: Vec<f64>,
    /// Device time of the same forwards, milliseconds; empty where the engine is not on a device.
    pub device_samples_ms: Vec<f64>,
    /// Untimed forwards before the samples.
    pub warmup: usize,
    /// Why sampling ended.
    pub stop_reason: StopReason,
    /// Peak resident memory of this process from binding the inputs to the last sample, bytes.
    pub process_peak_bytes: Option<u64>,
    /// A second series: wall time from token ids to outputs in host memory, milliseconds.
    pub end_to_end_ms: Vec<f64>,
    /// Forwards back to back, where the manifest asks for them.
    pub sustained: Option<Sustained>,
    /// Telemetry of the machine during the samples.
    pub telemetry: Telemetry,
}

/// The instruments that measure an engine.
pub struct Instruments {
    /// The clock.
    pub clock: Clock,
    /// The machine guard.
    pub guard: Guard,
}

impl Instruments {
    /// The instruments for the device that the engine executes on.
    ///
    /// # Errors
    /// [`BackendError::Clock`].
    pub fn of(engine: &dyn Engine) -> Result<Self, BackendError> {
        Ok(Instruments { clock: Clock::of(engine)?, guard: Guard::of(engine) })
    }
}

/// Binds the batch, warms the engine up and takes samples until the stop rule ends them. Then takes the end-to-end
/// series. On a device, where the manifest sets an energy window, it also runs forwards back to back. The engine still
/// holds the outputs of the batch afterwards.
///
/// # Errors
/// The engine's [`BackendError`], or [`BackendError::Clock`].
pub fn measure(engine: &mut dyn Engine, batch: &Batch, limits: &Measurement) -> Result<Sampling, BackendError> {
    let instruments = Instruments::of(engine)?;
    measure_with(instruments, engine, batch, limits)
}

/// Like [`measure`], with other instruments.
///
/// # Errors
/// As [`measure`].
pub fn measure_with(
    Instruments { mut clock, mut guard }: Instruments,
    engine: &mut dyn Engine,
    batch: &Batch,
    limits: &Measurement,
) -> Result<Sampling, BackendError> {
    let peak = PeakMemory::start();
    engine.bind(batch)?;
    for _ in 0..limits.warmup {
        clock.sample(engine)?;
    }
    let start = Instant::now();
    let series = series((&mut clock, &mut guard), engine, limits)?;
    let elapsed_s = start.elapsed().as_secs_f64();
    let process_peak_bytes = peak.bytes();
    let end_to_end_ms = end_to_end::series(engine, batch, (series.samples_ms.len(), elapsed_s))?;
    let sustained = match limits.energy_window_s.filter(|_| clock.has_device_time()) {
        Some(window_s) => {
            let forward_ms = median(&series.device_samples_ms).unwrap_or_default();
            Some(sustained::sustained(engine, (window_s, forward_ms), &mut guard)?)
        }
        None => None,
    };
    Ok(Sampling {
        samples_ms: series.samples_ms,
        device_samples_ms: series.device_samples_ms,
        warmup: limits.warmup,
        stop_reason: series.stop_reason,
        process_peak_bytes,
        end_to_end_ms,
        sustained,
        telemetry: guard.telemetry(),
    })
}

/// The main series of samples.
struct SampleSeries {
    samples_ms: Vec<f64>,
    device_samples_ms: Vec<f64>,
    stop_reason: StopReason,
}

fn series(
    (clock, guard): (&mut Clock, &mut Guard),
    engine: &mut dyn Engine,
    limits: &Measurement,
) -> Result<SampleSeries, BackendError> {
    let mut rule = StopRule::new(limits);
    let mut samples_ms = Vec::with_capacity(limits.min_samples);
    let mut device_samples_ms = Vec::new();
    guard.begin();
    let start = Instant::now();
    loop {
        let sample = clock.sample(engine)?;
        samples_ms.push(sample.wall_ms);
        device_samples_ms.extend(sample.device_ms);
        if let Some(stop_reason) = rule.verdict(&samples_ms, start.elapsed().as_secs_f64()) {
            guard.end();
            return Ok(SampleSeries { samples_ms, device_samples_ms, stop_reason });
        }
        if guard.between_samples() {
            // The device was idle while its sensors were read. One untimed forward warms it up again.
            clock.sample(engine)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::simulated::{SimulatedDevice, batch};
    use super::*;

    fn limits() -> Measurement {
        Measurement { warmup: 2, min_samples: 5, max_samples: 8, target_precision: 0.0, ..Measurement::default() }
    }

    fn on_cpu(forward_ms: f64) -> SimulatedDevice {
        SimulatedDevice { forward_ms, ..SimulatedDevice::default() }
    }

    #[test]
    fn the_clock_includes_synchronisation_and_warm_up_is_not_a_sample() {
        let device = on_cpu(3.0);
        let sampling = measure(&mut device.engine(), &batch(), &limits()).unwrap();
        assert_eq!((sampling.warmup, sampling.samples_ms.len()), (2, 8));
        assert_eq!(device.forwards(), 2 + 8 + sampling.end_to_end_ms.len());
        assert_eq!(sampling.stop_reason, StopReason::MaxSamples);
        assert!(sampling.samples_ms.iter().all(|&ms| ms >= 3.0), "{:?}", sampling.samples_ms);
    }

    #[test]
    fn the_minimum_is_taken_whatever_the_time_cap() {
        let sampling =
            measure(&mut on_cpu(5.0).engine(), &batch(), &Measurement { time_cap_s: 0.001, ..limits() }).unwrap();
        assert_eq!((sampling.warmup, sampling.samples_ms.len()), (2, 5));
        assert_eq!(sampling.stop_reason, StopReason::TimeCap);
    }

    #[test]
    fn a_failing_engine_ends_the_measurement() {
        let device = on_cpu(0.0);
        device.fails_at(4);
        let error = measure(&mut device.engine(), &batch(), &limits()).unwrap_err();
        assert_eq!((error.to_string(), device.forwards()), ("mock failed: no more".to_owned(), 4));
    }

    #[test]
    fn on_a_cpu_there_is_no_device_time_and_no_block_back_to_back() {
        let limits = Measurement { energy_window_s: Some(0.5), ..limits() };
        let sampling = measure(&mut on_cpu(1.0).engine(), &batch(), &limits).unwrap();
        assert_eq!((sampling.device_samples_ms, sampling.sustained), (vec![], None));
        assert_eq!((sampling.telemetry.readings, sampling.telemetry.remark), (0, None));
        assert!(!sampling.end_to_end_ms.is_empty());
    }

    #[test]
    fn on_a_device_every_pass_has_both_times_and_the_launch_is_only_in_one() {
        let device = SimulatedDevice { forward_ms: 2.0, launch_ms: 3.0, ..SimulatedDevice::default() };
        let sampling = measure_with(device.instruments(), &mut device.engine(), &batch(), &limits()).unwrap();
        assert_eq!((sampling.samples_ms.len(), sampling.device_samples_ms.len()), (8, 8));
        for (&wall_ms, &device_ms) in sampling.samples_ms.iter().zip(&sampling.device_samples_ms) {
            assert!(wall_ms >= 5.0 && device_ms == 2.0, "{wall_ms} {device_ms}");
        }
        assert!(sampling.telemetry.readings >= 2, "one before the samples, one after");
    }

    #[test]
    fn end_to_end_contains_binding_and_copying() {
        let device = SimulatedDevice { forward_ms: 1.0, bind_ms: 4.0, copy_ms: 5.0, ..SimulatedDevice::default() };
        let sampling = measure(&mut device.engine(), &batch(), &limits()).unwrap();
        assert!(sampling.end_to_end_ms.len() <= 8 && !sampling.end_to_end_ms.is_empty());
        assert!(sampling.end_to_end_ms.iter().all(|&ms| ms >= 10.0), "{:?}", sampling.end_to_end_ms);
        assert!(median(&sampling.samples_ms) < median(&sampling.end_to_end_ms), "{sampling:?}");
    }

    #[test]
    fn a_long_series_is_read_between_samples_and_warmed_up_again() {
        let device = SimulatedDevice { forward_ms: 30.0, ..SimulatedDevice::default() };
        let limits = Measurement { warmup: 0, max_samples: 20, min_samples: 20, ..limits() };
        let sampling = measure_with(device.instruments(), &mut device.engine(), &batch(), &limits).unwrap();
        let between = sampling.telemetry.readings as usize - 2;
        assert!(between >= 2, "{between} readings within 600 ms");
        assert_eq!(device.forwards(), 20 + between + sampling.end_to_end_ms.len());
        assert!(!device.was_read_during_a_forward());
    }
}
