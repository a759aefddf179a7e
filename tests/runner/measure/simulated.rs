//! A simulated device. Its engine, timer and sensors share one state.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use mixprec::engine::{BackendError, BackendKind, DeviceTimer, Engine, EngineDescription, MemoryBreakdown, Output};
use mixprec::graph::{OutputKind, Shape};
use mixprec::input::Batch;
use mixprec::measure::Instruments;
use mixprec::measure::clock::Clock;
use mixprec::measure::guard::{Foreign, Guard, Reading, Sensor};
use mixprec::record::telemetry::ThrottleReason;

/// The state that engine, timer and sensors share.
#[derive(Debug, Default)]
pub struct DeviceState {
    forwards: Cell<usize>,
    /// Forwards enqueued and not yet waited for.
    pending: Cell<usize>,
    waits: Cell<usize>,
    fails_at: Cell<Option<usize>>,
    reads: Cell<usize>,
    read_while_pending: Cell<bool>,
    energy: RefCell<Vec<u64>>,
}

/// A simulated device.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDevice {
    /// Time to wait for a forward.
    pub forward_ms: f64,
    /// Time to enqueue a forward.
    pub launch_ms: f64,
    pub bind_ms: f64,
    pub copy_ms: f64,
    /// Energy of a forward. The counter shows it in steps of `energy_step_mj`.
    pub forward_mj: u64,
    pub energy_step_mj: u64,
    /// The readings from the second one on.
    pub later: Option<Reading>,
    pub state: Rc<DeviceState>,
}

impl SimulatedDevice {
    /// Number of forwards so far.
    pub fn forwards(&self) -> usize {
        self.state.forwards.get()
    }

    /// Number of waits so far.
    pub fn waits(&self) -> usize {
        self.state.waits.get()
    }

    /// Makes this forward fail, counted from 1.
    pub fn fails_at(&self, forward: usize) {
        self.state.fails_at.set(Some(forward));
    }

    /// Whether any reading took place between enqueueing a forward and waiting for it.
    pub fn was_read_during_a_forward(&self) -> bool {
        self.state.read_while_pending.get()
    }

    /// Overrides the energy counter, reading by reading. The last value stays.
    pub fn shows_energy(&self, values: &[u64]) {
        *self.state.energy.borrow_mut() = values.iter().rev().copied().collect();
    }

    /// An engine that shares this device's state.
    pub fn engine(&self) -> SimulatedDevice {
        self.clone()
    }

    /// A clock that times this device, and its guard.
    pub fn instruments(&self) -> Instruments {
        Instruments { clock: Clock::with(self.clone()), guard: self.guard() }
    }

    /// A guard that reads this device's sensors.
    pub fn guard(&self) -> Guard {
        Guard::new(Ok(Box::new(self.clone())))
    }
}

/// A batch, which simulated engines ignore.
pub fn batch() -> Batch {
    Batch::new(Shape { batch: 1, sequence: 1 }, vec![0], vec![1])
}

/// A reading of an undisturbed GPU.
pub fn calm() -> Reading {
    Reading {
        sm_clock_mhz: Some(1980),
        memory_clock_mhz: Some(3201),
        temperature_c: Some(41),
        power_mw: Some(300_000),
        throttle_reasons: Some(BTreeSet::new()),
        foreign: Some(Foreign { processes: 0, memory_bytes: Some(0) }),
    }
}

/// A reading of a hot GPU at its power limit, shared with other processes.
pub fn disturbed() -> Reading {
    Reading {
        sm_clock_mhz: Some(1200),
        memory_clock_mhz: Some(2600),
        temperature_c: Some(88),
        power_mw: Some(700_000),
        throttle_reasons: Some(BTreeSet::from([ThrottleReason::SwPowerCap, ThrottleReason::SwThermalSlowdown])),
        foreign: Some(Foreign { processes: 2, memory_bytes: Some(5 << 30) }),
    }
}

fn sleep(ms: f64) {
    std::thread::sleep(Duration::from_secs_f64(ms / 1e3));
}

impl Engine for SimulatedDevice {
    fn bind(&mut self, _batch: &Batch) -> Result<(), BackendError> {
        sleep(self.bind_ms);
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        self.state.forwards.set(self.forwards() + 1);
        self.state.pending.set(self.state.pending.get() + 1);
        if self.state.fails_at.get() == Some(self.forwards()) {
            return Err(BackendError::Execution { backend: BackendKind::Mock, message: "no more".to_owned() });
        }
        sleep(self.launch_ms);
        Ok(())
    }

    fn synchronize(&mut self) -> Result<(), BackendError> {
        sleep(self.forward_ms * self.state.pending.take() as f64);
        self.state.waits.set(self.waits() + 1);
        Ok(())
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        sleep(self.copy_ms);
        Ok(Output { kind: OutputKind::Hidden, rows: 1, width: 1, values: vec![0.0] })
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription { library: "test".to_owned(), device: "none".to_owned(), threads: None, emulated: false }
    }
}

impl DeviceTimer for SimulatedDevice {
    fn start(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn stop(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn elapsed_ms(&mut self) -> Result<f64, String> {
        Ok(self.forward_ms)
    }
}

impl Sensor for SimulatedDevice {
    fn read(&mut self) -> Reading {
        let state = &self.state;
        state.reads.set(state.reads.get() + 1);
        state.read_while_pending.set(state.read_while_pending.get() || state.pending.get() > 0);
        match &self.later {
            Some(later) if state.reads.get() > 1 => later.clone(),
            _ => calm(),
        }
    }

    fn energy_mj(&mut self) -> Result<u64, String> {
        let mut shown = self.state.energy.borrow_mut();
        match shown.len() {
            0 if self.energy_step_mj == 0 => Err("the GPU has no energy counter".to_owned()),
            0 => {
                let used = self.forwards() as u64 * self.forward_mj;
                Ok(used - used % self.energy_step_mj)
            }
            1 => Ok(shown[0]),
            _ => Ok(shown.pop().unwrap_or_default()),
        }
    }
}
