//! Opens the CUDA device that engines run on, if there is one.
#![allow(unsafe_code, reason = "asks the dynamic loader for the CUDA driver before cudarc does, which would panic")]

use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, DriverError, result, sys};

/// A CUDA device that has been opened.
#[derive(Debug, Clone)]
pub(in crate::backend) struct Device {
    /// Its context, current in the thread that opened it.
    pub context: Arc<CudaContext>,
    /// Marketing name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Newest CUDA version that the driver supports, e.g. 13000.
    pub driver: i32,
}

impl Device {
    /// The first CUDA device, or why there is none. CUDA_VISIBLE_DEVICES decides which one is first.
    ///
    /// # Errors
    /// The reason, as a sentence fragment.
    pub fn first() -> Result<Device, String> {
        // Symbols are resolved once. Only the next process sees a driver that is installed later.
        static OPENED: OnceLock<Result<Device, String>> = OnceLock::new();
        let device = OPENED.get_or_init(Device::open).clone()?;
        device.context.bind_to_thread().map_err(|error| describe(&error))?;
        Ok(device)
    }

    /// `NVIDIA L4, compute capability 8.9`
    pub fn describe(&self) -> String {
        let (major, minor) = self.capability;
        format!("{}, compute capability {major}.{minor}", self.name)
    }

    /// GPU and driver. They decide whether cached choices and engines are valid for the device.
    pub fn identity(&self) -> String {
        format!("{}, CUDA driver {}", self.describe(), self.driver)
    }

    /// Bytes of the device's memory that any process uses, by the driver's count.
    pub fn bytes_in_use(&self) -> Option<u64> {
        self.context.bind_to_thread().ok()?;
        result::mem_get_info().ok().map(|(free, total)| (total - free) as u64)
    }

    fn open() -> Result<Device, String> {
        // SAFETY: loads and unloads the driver's library; its initialisers have no requirements.
        if !unsafe { sys::is_culib_present() } {
            return Err("this machine has no CUDA driver (libcuda.so)".to_owned());
        }
        let open = || {
            let context = CudaContext::new(0)?;
            let (major, minor) = context.compute_capability()?;
            let capability = (major.unsigned_abs(), minor.unsigned_abs());
            let mut driver = 0;
            // SAFETY: the pointer is to a live integer.
            unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result()?;
            Ok(Device { name: context.name()?, context, capability, driver })
        };
        open().map_err(|error: DriverError| match error.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => "the CUDA driver finds no device".to_owned(),
            _ => format!("the CUDA device cannot be opened: {}", describe(&error)),
        })
    }
}

/// Compute capability of this machine's device.
#[cfg(feature = "tensorrt")]
pub(in crate::backend) fn capability() -> Option<(u32, u32)> {
    Device::first().ok().map(|device| device.capability)
}

/// The driver's name and sentence for an error.
pub(in crate::backend) fn describe(error: &DriverError) -> String {
    let text = |text: Result<&std::ffi::CStr, DriverError>| text.map(|text| text.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Ok(name), Ok(sentence)) => format!("{sentence} ({name})"),
        _ => format!("{:?}", error.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_says_so_and_does_not_panic() {
        match Device::first() {
            Ok(device) => assert!(device.capability.0 >= 3 && !device.name.is_empty()),
            Err(reason) => assert!(reason.contains("CUDA"), "{reason}"),
        }
    }
}
