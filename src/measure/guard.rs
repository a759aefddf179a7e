//! The machine guard. It reads a GPU's sensors between samples, never during one. It measures what else runs on the
//! host's CPUs, and checks the runner's clock against the kernel's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::gpu_sensor::NvmlSensor;
use super::neighbours::Neighbours;
use super::timekeeping::Timekeeping;
use crate::engine::Engine;
use crate::record::telemetry::{Telemetry, ThrottleReason};
use crate::stats::median;

/// Time between two readings. A reading takes a quarter of a millisecond on an H200, so the guard costs little of the
/// run.
const PERIOD: Duration = Duration::from_millis(200);

/// Other processes that have a compute context on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Number of processes.
    pub processes: u64,
    /// Device memory they hold together, bytes.
    pub memory_bytes: Option<u64>,
}

/// One reading of a GPU's sensors. A value that cannot be read is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Clock of the multiprocessors, MHz.
    pub sm_clock_mhz: Option<u64>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<u64>,
    /// Temperature of the GPU, degrees Celsius.
    pub temperature_c: Option<u64>,
    /// The board's power, milliwatts.
    pub power_mw: Option<u64>,
    /// Why the clocks are below their maximum.
    pub throttle_reasons: Option<BTreeSet<ThrottleReason>>,
    /// Other processes that compute on the GPU.
    pub foreign: Option<Foreign>,
}

/// The sensors of one GPU.
pub trait Sensor {
    /// Reads all sensors now.
    fn read(&mut self) -> Reading;

    /// Energy that the board has used since the driver was loaded, millijoules.
    ///
    /// # Errors
    /// Why there is no such counter, as a sentence fragment.
    fn energy_mj(&mut self) -> Result<u64, String>;
}

/// The machine guard of one measurement.
pub struct Guard {
    /// The inner error is the reason why a GPU's sensors cannot be read. It is `None` on a CPU.
    sensor: Result<Box<dyn Sensor>, Option<String>>,
    readings: Vec<Reading>,
    last: Option<Instant>,
    neighbours: Neighbours,
    foreign_cpus: Option<f64>,
    timekeeping: Timekeeping,
    clock_ratio: Option<f64>,
}

impl Guard {
    /// The guard of the device that the engine executes on.
    pub fn of(engine: &dyn Engine) -> Self {
        Guard::new(match engine.device_queue() {
            None => Err(None),
            Some(queue) => match queue.pci_address().and_then(|address| NvmlSensor::at(&address)) {
                Ok(sensor) => Ok(Box::new(sensor)),
                Err(reason) => Err(Some(reason)),
            },
        })
    }

    /// A guard with these sensors, or the reason why there are none.
    pub fn new(sensor: Result<Box<dyn Sensor>, Option<String>>) -> Self {
        Guard {
            sensor,
            readings: Vec::new(),
            last: None,
            neighbours: Neighbours::now(),
            foreign_cpus: None,
            timekeeping: Timekeeping::begin(),
            clock_ratio: None,
        }
    }

    /// Marks the beginning of the samples. What ran on the CPUs before no longer counts.
    pub fn begin(&mut self) {
        self.neighbours = Neighbours::now();
        self.read();
        self.timekeeping = Timekeeping::begin();
    }

    /// Marks the end of the samples.
    pub fn end(&mut self) {
        self.clock_ratio = self.timekeeping.ratio();
        self.foreign_cpus = self.neighbours.foreign_cpus();
        self.read();
    }

    /// Reads the sensors when the last reading is older than the period. Returns whether it did, because the device was
    /// idle during the reading.
    pub fn between_samples(&mut self) -> bool {
        let is_due = self.sensor.is_ok() && self.last.is_none_or(|last| last.elapsed() >= PERIOD);
        if is_due {
            self.read();
        }
        is_due
    }

    /// Reads the sensors now, if there are any.
    pub fn read(&mut self) {
        if let Ok(sensor) = &mut self.sensor {
            self.readings.push(sensor.read());
            self.last = Some(Instant::now());
        }
    }

    /// The board's energy counter, millijoules.
    ///
    /// # Errors
    /// Why there is no such counter.
    pub fn energy_mj(&mut self) -> Result<u64, String> {
        match &mut self.sensor {
            Ok(sensor) => sensor.energy_mj(),
            Err(reason) => Err(reason.clone().unwrap_or_else(|| "the engine is not on a GPU".to_owned())),
        }
    }

    /// Summarises all readings.
    pub fn telemetry(&self) -> Telemetry {
        let clocks = self.known(|reading| reading.sm_clock_mhz);
        let powers_w: Vec<f64> = self.known(|reading| reading.power_mw).iter().map(|&mw| mw as f64 / 1e3).collect();
        let reasons = self.readings.iter().filter_map(|reading| reading.throttle_reasons.clone());
        let foreign: Vec<Foreign> = self.readings.iter().filter_map(|reading| reading.foreign).collect();
        Telemetry {
            readings: self.readings.len() as u64,
            sm_clock_min_mhz: clocks.iter().copied().min(),
            sm_clock_median_mhz: median(&clocks.iter().map(|&mhz| mhz as f64).collect::<Vec<_>>()),
            memory_clock_min_mhz: self.known(|reading| reading.memory_clock_mhz).into_iter().min(),
            temperature_max_c: self.known(|reading| reading.temperature_c).into_iter().max(),
            power_mean_w: (!powers_w.is_empty()).then(|| powers_w.iter().sum::<f64>() / powers_w.len() as f64),
            throttle_reasons: reasons.reduce(|all, more| all.union(&more).copied().collect()),
            foreign_processes: foreign.iter().map(|foreign| foreign.processes).max(),
            foreign_memory_bytes: foreign.iter().filter_map(|foreign| foreign.memory_bytes).max(),
            foreign_cpus: self.foreign_cpus,
            clock_ratio: self.clock_ratio,
            remark: self.sensor.as_ref().err().cloned().flatten(),
        }
    }

    fn known(&self, of: impl Fn(&Reading) -> Option<u64>) -> Vec<u64> {
        self.readings.iter().filter_map(of).collect()
    }
}
