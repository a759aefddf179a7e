//! The clock that times every backend: wall time on the host from enqueue to the end of synchronize. Where the engine
//! has a stream, the clock also takes the device's time of the same forward.

use std::time::Instant;

use crate::engine::{BackendError, DeviceTimer, Engine};

/// One timed forward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedSample {
    /// Wall time on the host, milliseconds.
    pub wall_ms: f64,
    /// Time between two events on the engine's stream, milliseconds.
    pub device_ms: Option<f64>,
}

/// The runner's clock, set up for one engine.
#[derive(Default)]
pub struct Clock {
    timer: Option<Box<dyn DeviceTimer>>,
}

impl Clock {
    /// The clock for an engine. It takes device time where the engine has a stream.
    ///
    /// # Errors
    /// [`BackendError::Clock`] when the driver refuses its events.
    pub fn of(engine: &dyn Engine) -> Result<Self, BackendError> {
        let Some(queue) = engine.device_queue() else { return Ok(Clock::default()) };
        Ok(Clock { timer: Some(queue.timer().map_err(BackendError::Clock)?) })
    }

    /// A clock that takes device time from this timer.
    pub fn with(timer: impl DeviceTimer + 'static) -> Self {
        Clock { timer: Some(Box::new(timer)) }
    }

    /// Whether its samples include device time.
    pub fn has_device_time(&self) -> bool {
        self.timer.is_some()
    }

    /// Executes the bound batch once. The first event is recorded before the wall clock starts; recording the second is
    /// part of the wall time. The device's queue is empty before the forward, so device time starts at the first event
    /// and includes the launch.
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
