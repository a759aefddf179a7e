//! A device's queue of work, as far as the runner needs it: to time what is in it, and to find the device's sensors.

/// The queue that an engine puts its work on.
pub trait DeviceQueue {
    /// A timer that marks places in this queue.
    ///
    /// # Errors
    /// The driver's own words.
    fn timer(&self) -> Result<Box<dyn DeviceTimer>, String>;

    /// The device's address on the PCI bus, `00000000:3b:00.0`: NVML and CUDA number GPUs differently, and share it.
    ///
    /// # Errors
    /// The driver's own words.
    fn pci_address(&self) -> Result<String, String>;
}

/// Two marks in a device's queue of work and the time between them.
pub trait DeviceTimer {
    /// Marks the place in the queue from which time is taken.
    ///
    /// # Errors
    /// The driver's own words.
    fn start(&mut self) -> Result<(), String>;

    /// Marks the place up to which.
    ///
    /// # Errors
    /// The driver's own words.
    fn stop(&mut self) -> Result<(), String>;

    /// Milliseconds from one to the other, once the device has passed both.
    ///
    /// # Errors
    /// The driver's own words.
    fn elapsed_ms(&mut self) -> Result<f64, String>;
}
