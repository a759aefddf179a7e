//! Device memory of an engine. TensorRT allocates through this module, so that the purpose of every byte is known.
#![allow(unsafe_code, reason = "hands device memory to TensorRT")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use crate::engine::MemoryBreakdown;

/// What the library allocates memory for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Purpose {
    /// Deserialising: parameters.
    #[default]
    Weights,
    /// Creating an execution context: intermediate tensors. Then inputs and outputs.
    Activations,
    /// Executing: scratch.
    Workspace,
}

/// Live device memory by purpose.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Accounts>>);

#[derive(Debug, Default)]
struct Accounts {
    purpose: Purpose,
    live: HashMap<u64, (u64, Purpose)>,
    /// Bytes of a refused allocation since the last call of [`Ledger::take_refused`].
    refused: Option<u64>,
}

impl Ledger {
    /// Sets the purpose of the allocations that follow.
    pub fn set_purpose(&self, purpose: Purpose) {
        self.accounts().purpose = purpose;
    }

    /// Bytes of an allocation that the device refused, if there was one since the last call.
    pub fn take_refused(&self) -> Option<u64> {
        self.accounts().refused.take()
    }

    /// Bytes by purpose; the driver's count is the device's.
    pub fn breakdown(&self) -> MemoryBreakdown {
        let accounts = self.accounts();
        let sum =
            |of: Purpose| accounts.live.values().filter(|(_, purpose)| *purpose == of).map(|(bytes, _)| bytes).sum();
        MemoryBreakdown {
            weights_bytes: Some(sum(Purpose::Weights)),
            activations_bytes: Some(sum(Purpose::Activations)),
            workspace_bytes: Some(sum(Purpose::Workspace)),
            device_bytes: None,
        }
    }

    fn enter(&self, address: u64, bytes: u64) {
        let mut accounts = self.accounts();
        let purpose = accounts.purpose;
        accounts.live.insert(address, (bytes, purpose));
    }

    fn refuse(&self, bytes: u64) {
        self.accounts().refused = Some(bytes);
    }

    fn leave(&self, address: u64) {
        self.accounts().live.remove(&address);
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where memory is allocated.
#[derive(Debug)]
enum Heap {
    /// Plain device memory of a context.
    Device(Arc<CudaContext>),
    /// Addresses of nothing, at most this many bytes of each: a test's device.
    #[cfg(test)]
    Pretended { largest: u64, next: std::sync::atomic::AtomicU64 },
}

impl Heap {
    fn allocate(&self, bytes: u64) -> Option<u64> {
        match self {
            Heap::Device(context) => {
                context.bind_to_thread().ok()?;
                // SAFETY: the context is current in this thread and the size is not 0. cuMemAlloc aligns to 256 bytes at
                // least, and TensorRT asks for no more ("not exceeding the alignment guaranteed by cudaMalloc").
                unsafe { result::malloc_sync(usize::try_from(bytes).ok()?) }.ok()
            }
            #[cfg(test)]
            Heap::Pretended { largest, next } => {
                let address = || next.fetch_add(bytes.next_multiple_of(256), std::sync::atomic::Ordering::Relaxed);
                (bytes <= *largest).then(address)
            }
        }
    }

    fn free(&self, address: u64, stream: sys::CUstream) -> bool {
        match self {
            Heap::Device(context) => {
                let synchronised = context.bind_to_thread().is_ok()
                    // SAFETY: TensorRT's stream is valid during the call. Memory may be freed once it has come this far.
                    && (stream.is_null() || unsafe { result::stream::synchronize(stream) }.is_ok());
                // SAFETY: the address is from `allocate`: TensorRT frees with the allocator that it allocated with, once.
                synchronised && unsafe { result::free_sync(address) }.is_ok()
            }
            #[cfg(test)]
            Heap::Pretended { .. } => true,
        }
    }
}

/// TensorRT's allocator, whose memory is entered in a ledger.
#[derive(Debug)]
pub(super) struct Allocator {
    heap: Heap,
    ledger: Ledger,
}

impl Allocator {
    /// Allocates in `context`.
    pub fn new(context: Arc<CudaContext>, ledger: Ledger) -> Self {
        Allocator { heap: Heap::Device(context), ledger }
    }

    /// Pretends to have a device, which refuses an allocation of more than `largest` bytes.
    #[cfg(test)]
    pub fn pretended(largest: u64, ledger: Ledger) -> Self {
        Allocator { heap: Heap::Pretended { largest, next: 0x1000.into() }, ledger }
    }

    /// An allocation's address; `None` if the device refuses it.
    pub fn allocate(&self, bytes: u64) -> Option<u64> {
        if bytes == 0 {
            return None;
        }
        let address = self.heap.allocate(bytes);
        match address {
            Some(address) => self.ledger.enter(address, bytes),
            None => self.ledger.refuse(bytes),
        }
        address
    }

    /// Frees an allocation once `stream`, if there is one, has come this far. Whether it was freed.
    pub fn free(&self, address: u64, stream: sys::CUstream) -> bool {
        if address == 0 {
            return true;
        }
        let freed = self.heap.free(address, stream);
        if freed {
            self.ledger.leave(address);
        }
        freed
    }
}

/// An input or output of an engine on the device, entered in the ledger. The driver's pools, which reserve 32 MiB at once, are
/// avoided, so that its count of memory agrees with the ledger.
#[derive(Debug)]
pub(super) struct IoBuffer {
    address: u64,
    bytes: usize,
    allocator: Arc<Allocator>,
}

impl IoBuffer {
    /// Allocates `bytes`; `None` if the device refuses.
    pub fn take(allocator: &Arc<Allocator>, bytes: usize) -> Option<IoBuffer> {
        let address = allocator.allocate(bytes as u64)?;
        Some(IoBuffer { address, bytes, allocator: Arc::clone(allocator) })
    }

    /// Its device address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Fills it with `values`, which are as many as it has, ordered by `stream`, and waits for the copy.
    pub fn fill(&self, stream: &CudaStream, values: &[u8]) -> Result<(), DriverError> {
        let values = &values[..values.len().min(self.bytes)];
        stream.context().bind_to_thread()?;
        // SAFETY: the values fit into the buffer, and outlive the copy, which is waited for.
        unsafe { result::memcpy_htod_async(self.address, values, stream.cu_stream()) }?;
        stream.synchronize()
    }

    /// Its content, ordered by `stream`.
    pub fn read(&self, stream: &CudaStream) -> Result<Vec<u8>, DriverError> {
        let mut values = vec![0u8; self.bytes];
        stream.context().bind_to_thread()?;
        // SAFETY: the buffer has as many bytes as `values`, which outlive the copy: it is waited for.
        unsafe { result::memcpy_dtoh_async(&mut values, self.address, stream.cu_stream()) }?;
        stream.synchronize()?;
        Ok(values)
    }
}

impl Drop for IoBuffer {
    fn drop(&mut self) {
        // A failure means that the context is gone, and the memory with it. Freeing waits for work that uses it.
        let _ = self.allocator.free(self.address, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_entered_by_purpose_and_leave_it_when_freed() {
        let ledger = Ledger::default();
        ledger.enter(0x100, 1000);
        ledger.enter(0x200, 24);
        ledger.set_purpose(Purpose::Activations);
        ledger.enter(0x300, 50);
        ledger.set_purpose(Purpose::Workspace);
        ledger.enter(0x400, 7);
        ledger.leave(0x200);
        ledger.leave(0x900);
        let breakdown = ledger.breakdown();
        assert_eq!(breakdown.weights_bytes, Some(1000));
        assert_eq!(breakdown.activations_bytes, Some(50));
        assert_eq!(breakdown.workspace_bytes, Some(7));
    }

    #[test]
    fn inputs_and_outputs_are_activations_as_long_as_they_live() {
        let ledger = Ledger::default();
        let allocator = Arc::new(Allocator::pretended(1 << 20, ledger.clone()));
        ledger.set_purpose(Purpose::Activations);
        let buffers = [64, 128].map(|bytes| IoBuffer::take(&allocator, bytes).unwrap());
        assert_ne!(buffers[0].address(), buffers[1].address());
        assert_eq!(ledger.breakdown().activations_bytes, Some(192));
        assert!(IoBuffer::take(&allocator, 1 << 21).is_none());
        assert_eq!(ledger.take_refused(), Some(1 << 21));
        drop(buffers);
        assert_eq!(ledger.breakdown().activations_bytes, Some(0));
    }

    #[test]
    fn a_refused_allocation_is_told_once() {
        let ledger = Ledger::default();
        assert_eq!(ledger.take_refused(), None);
        ledger.refuse(1 << 40);
        assert_eq!(ledger.take_refused(), Some(1 << 40));
        assert_eq!(ledger.take_refused(), None);
    }
}
