//! A CUDA stream as a device queue. Events time the work on it.

use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUevent_flags};
use cudarc::driver::{CudaEvent, CudaStream, DriverError};

use crate::engine::{DeviceQueue, DeviceTimer};

impl DeviceQueue for Arc<CudaStream> {
    fn timer(&self) -> Result<Box<dyn DeviceTimer>, String> {
        Ok(Box::new(CudaEvents::on(self)?))
    }

    fn pci_address(&self) -> Result<String, String> {
        let number = |attribute| self.context().attribute(attribute).map_err(in_words);
        let domain = number(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
        let bus = number(Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
        let slot = number(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
        Ok(format!("{domain:08x}:{bus:02x}:{slot:02x}.0"))
    }
}

/// A pair of events that are recorded anew for every pass. The driver resolves half a microsecond.
#[derive(Debug)]
struct CudaEvents {
    stream: Arc<CudaStream>,
    first: CudaEvent,
    last: CudaEvent,
}

impl CudaEvents {
    /// Events on this stream.
    ///
    /// # Errors
    /// The driver's own words.
    fn on(stream: &Arc<CudaStream>) -> Result<Self, String> {
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
