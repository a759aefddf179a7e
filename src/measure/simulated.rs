//! A simulated device for the tests of this module: an engine, a timer and sensors that share one state.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::Instruments;
use super::clock::Clock;
use super::guard::{Foreign, Guard, Reading, Sensor};
use crate::engine::DeviceTimer;
use crate::engine::{BackendError, BackendKind, Engine, EngineDescription, MemoryBreakdown, Output};
use crate::graph::{OutputKind, Shape};
use crate::input::Batch;
use crate::record::telemetry::ThrottleReason;

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct DeviceState {
    passes: Cell<usize>,
    /// Enqueued and not waited for.
    pending: Cell<usize>,
    waits: Cell<usize>,
    fails_at: Cell<Option<usize>>,
    reads: Cell<usize>,
    read_while_pending: Cell<bool>,
    energy: RefCell<Vec<u64>>,
}

/// The simulated device.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDevice {
    /// What waiting for a pass takes.
    pub forward_ms: f64,
    /// What enqueueing takes.
    pub launch_ms: f64,
    pub bind_ms: f64,
    pub copy_ms: f64,
    /// Energy of a pass; the counter shows it in steps of `energy_step_mj`.
    pub forward_mj: u64,
    pub energy_step_mj: u64,
    /// From the second reading on.
    pub later: Option<Reading>,
    pub(super) state: Rc<DeviceState>,
}

impl SimulatedDevice {
    /// Executions so far.
    pub fn passes(&self) -> usize {
        self.state.passes.get()
    }

    /// Times the device was waited for while it had work.
    pub fn waits(&self) -> usize {
        self.state.waits.get()
    }

    /// Makes this execution fail, from 1.
    pub fn fails_at(&self, pass: usize) {
        self.state.fails_at.set(Some(pass));
    }

    /// Whether any reading fell between enqueueing a pass and waiting for it.
    pub fn was_read_during_a_forward(&self) -> bool {
        self.state.read_while_pending.get()
    }

    /// What the energy counter shows instead, reading by reading; the last value remains.
    pub fn shows_energy(&self, values: &[u64]) {
        *self.state.energy.borrow_mut() = values.iter().rev().copied().collect();
    }

    /// Its engine. Only the state is shared with the device.
    pub fn engine(&self) -> SimulatedDevice {
        self.clone()
    }

    /// A timer of a pass's own time, and the sensors.
    pub fn instruments(&self) -> Instruments {
        Instruments { clock: Clock::with(self.clone()), guard: self.guard() }
    }

    /// The guard over its sensors.
    pub fn guard(&self) -> Guard {
        Guard::new(Ok(Box::new(self.clone())))
    }
}

/// A batch that no simulated engine looks at.
pub fn batch() -> Batch {
    Batch { shape: Shape { batch: 1, sequence: 1 }, ids: vec![0], lengths: vec![1], labels: None, next_ids: None }
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

/// A reading of one that is hot, at its power limit and not alone.
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
        self.state.passes.set(self.passes() + 1);
        self.state.pending.set(self.state.pending.get() + 1);
        if self.state.fails_at.get() == Some(self.passes()) {
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
                let used = self.passes() as u64 * self.forward_mj;
                Ok(used - used % self.energy_step_mj)
            }
            1 => Ok(shown[0]),
            _ => Ok(shown.pop().unwrap_or_default()),
        }
    }
}
