//! The parts of a device's queue that the runner needs: to time its work, and to find the device's sensors.

/// The queue that an engine enqueues its work on.
pub trait DeviceQueue {
    /// A timer that records marks in this queue.
    ///
    /// # Errors
    /// The driver's message.
    fn timer(&self) -> Result<Box<dyn DeviceTimer>, String>;

    /// The device's PCI bus address, such as `00000000:3b:00.0`. NVML and CUDA number GPUs differently, but share this
    /// address.
    ///
    /// # Errors
    /// The driver's message.
    fn pci_address(&self) -> Result<String, String>;
}

/// Two marks in a device's queue, and the time between them.
pub trait DeviceTimer {
    /// Marks the start of the timed work in the queue.
    ///
    /// # Errors
    /// The driver's message.
    fn start(&mut self) -> Result<(), String>;

    /// Marks the end of the timed work in the queue.
    ///
    /// # Errors
    /// The driver's message.
    fn stop(&mut self) -> Result<(), String>;

    /// Milliseconds between the two marks, once the device has reached both.
    ///
    /// # Errors
    /// The driver's message.
    fn elapsed_ms(&mut self) -> Result<f64, String>;
}
