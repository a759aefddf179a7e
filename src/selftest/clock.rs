//! Faults in time: a slower engine, a clock that runs slow, a throttled GPU.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::experiment::TestManifest;
use super::{Mutation, Objection, Variant};
use crate::analysis::disturbances::Disturbance;
use crate::engine::{BackendError, Engine, EngineDescription, MemoryBreakdown, Output};
use crate::graph::OutputKind;
use crate::input::Batch;
use crate::manifest::schema::Measurement;
use crate::measure::guard::{Guard, Reading, Sensor};
use crate::measure::measure;
use crate::measure::timekeeping::{SecondsCounter, Timekeeping, runner_s, uptime_s};
use crate::record::telemetry::{Telemetry, ThrottleReason};
use crate::stats::median;

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation::new("latency", "a forward that takes 40 ms longer", slower_engine),
        Mutation::new("clock", "a clock that counts 9 seconds in 10", slow_clock),
        Mutation::new("GPU clocks", "a GPU throttled by heat", throttled),
    ]
}

/// An engine that sleeps for the time of a forward.
struct Sleeper {
    forward: Duration,
}

impl Engine for Sleeper {
    fn bind(&mut self, _batch: &Batch) -> Result<(), BackendError> {
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn synchronize(&mut self) -> Result<(), BackendError> {
        std::thread::sleep(self.forward);
        Ok(())
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        Ok(Output { kind: OutputKind::Hidden, rows: 1, width: 1, values: vec![0.0] })
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription { library: "sleeper".to_owned(), device: "none".to_owned(), threads: None, emulated: true }
    }
}

const FORWARD_MS: u64 = 2;
const DELAY_MS: u64 = 40;

/// The median of forwards of known length. The limit allows half the delay, because a sleep takes longer on a busy
/// machine.
fn slower_engine(_folder: &Path, variant: Variant) -> Objection {
    let delay = if variant.is_mutated() { DELAY_MS } else { 0 };
    let mut engine = Sleeper { forward: Duration::from_millis(FORWARD_MS + delay) };
    let limits = Measurement { warmup: 1, min_samples: 9, max_samples: 9, ..Measurement::default() };
    let sampling = measure(&mut engine, &Batch::single(vec![0]), &limits)?;
    let found = median(&sampling.samples_ms).unwrap_or(f64::NAN);
    let limit = (FORWARD_MS + DELAY_MS / 2) as f64;
    Ok((found > limit).then(|| format!("the median is {found:.1} ms for a forward of {FORWARD_MS} ms")))
}

/// Times a period on the clock, unchanged or slowed, and judges the ratio as for a row.
fn slow_clock(folder: &Path, variant: Variant) -> Objection {
    let slowed: SecondsCounter = || Some(0.9 * runner_s()?);
    let clock = if variant.is_mutated() { slowed } else { runner_s };
    let period = Timekeeping::of(clock, uptime_s);
    std::thread::sleep(Duration::from_millis(1150));
    let clock_ratio = period.ratio();
    let telemetry = Telemetry { clock_ratio, ..Telemetry::default() };
    judged(
        folder,
        telemetry,
        Disturbance::Clock,
        &format!("{:.3} of the kernel's time", clock_ratio.unwrap_or(f64::NAN)),
    )
}

/// Sensors of a GPU, cool or hot.
struct Thermometer {
    hot: bool,
}

impl Sensor for Thermometer {
    fn read(&mut self) -> Reading {
        let reasons = if self.hot { BTreeSet::from([ThrottleReason::SwThermalSlowdown]) } else { BTreeSet::new() };
        let sm_clock_mhz = Some(if self.hot { 900 } else { 1980 });
        Reading { sm_clock_mhz, throttle_reasons: Some(reasons), ..Reading::default() }
    }

    fn energy_mj(&mut self) -> Result<u64, String> {
        Err("no counter".to_owned())
    }
}

fn throttled(folder: &Path, variant: Variant) -> Objection {
    let mut guard = Guard::new(Ok(Box::new(Thermometer { hot: variant.is_mutated() })));
    guard.begin();
    guard.end();
    let telemetry = guard.telemetry();
    let clock = format!("{} MHz", telemetry.sm_clock_min_mhz.unwrap_or(0));
    judged(folder, telemetry, Disturbance::Throttled, &clock)
}

/// The footnote that the tables give to a row with this telemetry.
fn judged(folder: &Path, telemetry: Telemetry, kind: Disturbance, detail: &str) -> Objection {
    let manifest = TestManifest::default();
    let mut measured = manifest.measured(folder)?;
    measured.telemetry = telemetry;
    let row = manifest.row(folder, measured)?;
    Ok(kind.of(&row).then(|| format!("{} ({detail})", kind.footnote().trim_end_matches('.'))))
}
