//! Timing events on an engine's CUDA stream.

use std::sync::Arc;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, CudaStream, DriverError};

use super::clock::DeviceTimer;

/// A pair of events that are recorded anew for every pass. The driver resolves half a microsecond.
#[derive(Debug)]
pub struct CudaEvents {
    stream: Arc<CudaStream>,
    first: CudaEvent,
    last: CudaEvent,
}

impl CudaEvents {
    /// Events on this stream.
    ///
    /// # Errors
    /// The driver's own words.
    pub fn on(stream: &Arc<CudaStream>) -> Result<Self, String> {
        // Without a flag cudarc makes events that keep no time.
        let event = || stream.context().new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(in_words);
        Ok(CudaEvents { stream: Arc::clone(stream), first: event()?, last: event()? })
    }
}

impl DeviceTimer for CudaEvents {
    fn start(&mut self) -> Result<(), String> {
        self.first.record(&self.stream).map_err(in_words)
    }

    fn stop(&mut self) -> Result<(), String> {
        self.last.record(&self.stream).map_err(in_words)
    }

    fn elapsed_ms(&mut self) -> Result<f64, String> {
        self.first.elapsed_ms(&self.last).map(f64::from).map_err(in_words)
    }
}

fn in_words(error: DriverError) -> String {
    format!("{:?}", error.0)
}
