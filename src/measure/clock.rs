//! The one clock: wall time on the host around enqueue and synchronize, for every backend alike; and, where the engine
//! has a stream, the device's own time of the same pass.

use std::time::Instant;

use crate::engine::{BackendError, DeviceTimer, Engine};

/// One timed pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedSample {
    /// Wall time on the host, milliseconds.
    pub wall_ms: f64,
    /// Time between two events on the engine's stream, milliseconds.
    pub device_ms: Option<f64>,
}

/// The runner's clock for one engine.
#[derive(Default)]
pub struct Clock {
    timer: Option<Box<dyn DeviceTimer>>,
}

impl Clock {
    /// The clock for an engine: with device time where it has a stream.
    ///
    /// # Errors
    /// [`BackendError::Clock`] when the driver refuses its events.
    pub fn of(engine: &dyn Engine) -> Result<Self, BackendError> {
        let Some(queue) = engine.device_queue() else { return Ok(Clock::default()) };
        Ok(Clock { timer: Some(queue.timer().map_err(BackendError::Clock)?) })
    }

    /// A clock with this timer for the device.
    pub fn with(timer: impl DeviceTimer + 'static) -> Self {
        Clock { timer: Some(Box::new(timer)) }
    }

    /// Whether its samples have a device time.
    pub fn has_device_time(&self) -> bool {
        self.timer.is_some()
    }

    /// Executes the bound batch once. The first event is recorded before the wall clock starts; recording the second is
    /// part of the wall time. The device's queue is empty before the pass, so that its time begins with the first event
    /// and contains the launch.
    ///
    /// # Errors
    /// The engine's [`BackendError`], or [`BackendError::Clock`].
    pub fn sample(&mut self, engine: &mut dyn Engine) -> Result<TimedSample, BackendError> {
        if let Some(timer) = &mut self.timer {
            timer.start().map_err(BackendError::Clock)?;
        }
        let start = Instant::now();
        engine.enqueue()?;
        if let Some(timer) = &mut self.timer {
            timer.stop().map_err(BackendError::Clock)?;
        }
        engine.synchronize()?;
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        let device_ms = self.timer.as_mut().map(|timer| timer.elapsed_ms()).transpose();
        Ok(TimedSample { wall_ms, device_ms: device_ms.map_err(BackendError::Clock)? })
    }
}
