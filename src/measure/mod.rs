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
    let (warmup, series) = main_series((&mut clock, &mut guard), engine, batch, limits)?;
    let process_peak_bytes = peak.bytes();
    let end_to_end_ms = end_to_end::series(engine, batch, (series.samples_ms.len(), series.elapsed_s))?;
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
        warmup,
        stop_reason: series.stop_reason,
        process_peak_bytes,
        end_to_end_ms,
        sustained,
        telemetry: guard.telemetry(),
    })
}

/// The main series of [`measure`] and nothing else: the share of a process that only adds to another's samples. Returns the samples
/// in milliseconds and the telemetry.
///
/// # Errors
/// As [`measure`].
pub fn samples(
    engine: &mut dyn Engine,
    batch: &Batch,
    limits: &Measurement,
) -> Result<(Vec<f64>, Telemetry), BackendError> {
    let Instruments { mut clock, mut guard } = Instruments::of(engine)?;
    let (_, series) = main_series((&mut clock, &mut guard), engine, batch, limits)?;
    Ok((series.samples_ms, guard.telemetry()))
}

/// Binds the batch, warms the engine up and takes the samples. Returns the number of untimed forwards, too.
fn main_series(
    (clock, guard): (&mut Clock, &mut Guard),
    engine: &mut dyn Engine,
    batch: &Batch,
    limits: &Measurement,
) -> Result<(usize, SampleSeries), BackendError> {
    engine.bind(batch)?;
    let warmup = warm_up(clock, engine, limits)?;
    Ok((warmup, series((clock, guard), engine, limits)?))
}

/// Untimed forwards, and how many there were. Where several processes take turns, each has one forward at least, and ends when
/// these have taken as long as its samples may.
fn warm_up(clock: &mut Clock, engine: &mut dyn Engine, limits: &Measurement) -> Result<usize, BackendError> {
    let start = Instant::now();
    for done in 1..=limits.warmup {
        clock.sample(engine)?;
        if limits.cpu_processes.is_some()
            && !clock.has_device_time()
            && start.elapsed().as_secs_f64() >= limits.time_cap_s
        {
            return Ok(done);
        }
    }
    Ok(limits.warmup)
}

/// The main series of samples.
struct SampleSeries {
    samples_ms: Vec<f64>,
    device_samples_ms: Vec<f64>,
    stop_reason: StopReason,
    elapsed_s: f64,
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
        let elapsed_s = start.elapsed().as_secs_f64();
        if let Some(stop_reason) = rule.verdict(&samples_ms, elapsed_s) {
            guard.end();
            return Ok(SampleSeries { samples_ms, device_samples_ms, stop_reason, elapsed_s });
        }
        if guard.between_samples() {
            // The device was idle while its sensors were read. One untimed forward warms it up again.
            clock.sample(engine)?;
        }
    }
}
