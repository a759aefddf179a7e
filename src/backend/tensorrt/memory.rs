//! Device memory of an engine. TensorRT allocates through this module, so that the purpose of every byte is known.
#![allow(unsafe_code, reason = "hands device memory to TensorRT")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, result, sys};

use crate::engine::MemoryBreakdown;

/// What the library allocates memory for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Purpose {
    /// Deserialising: parameters.
    #[default]
    Weights,
    /// Creating an execution context: intermediate tensors. The engine's inputs and outputs count as well.
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

    /// Bytes by purpose. The activations include `io_bytes`, the engine's own inputs and outputs.
    pub fn breakdown(&self, io_bytes: u64) -> MemoryBreakdown {
        let accounts = self.accounts();
        let sum =
            |of: Purpose| accounts.live.values().filter(|(_, purpose)| *purpose == of).map(|(bytes, _)| bytes).sum();
        let activations: u64 = sum(Purpose::Activations);
        MemoryBreakdown {
            weights_bytes: Some(sum(Purpose::Weights)),
            activations_bytes: Some(activations + io_bytes),
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

/// TensorRT's allocator: plain device memory of the engine's context, entered in a ledger.
#[derive(Debug)]
pub(super) struct Allocator {
    /// `None` refuses everything: there is no device.
    context: Option<Arc<CudaContext>>,
    ledger: Ledger,
}

impl Allocator {
    /// Allocates in `context`.
    pub fn new(context: Arc<CudaContext>, ledger: Ledger) -> Self {
        Allocator { context: Some(context), ledger }
    }

    /// Refuses everything.
    #[cfg(test)]
    pub fn without_device(ledger: Ledger) -> Self {
        Allocator { context: None, ledger }
    }

    /// An allocation's address; `None` if the device refuses it.
    pub fn allocate(&self, bytes: u64) -> Option<u64> {
        let size = usize::try_from(bytes).ok().filter(|size| *size > 0)?;
        self.context.as_ref()?.bind_to_thread().ok()?;
        // SAFETY: the context is current in this thread and the size is not 0. cuMemAlloc aligns to 256 bytes at least,
        // and TensorRT asks for no more than that ("a power of 2 not exceeding the alignment guaranteed by cudaMalloc").
        let address = unsafe { result::malloc_sync(size) };
        match address {
            Ok(address) => {
                self.ledger.enter(address, bytes);
                Some(address)
            }
            Err(_) => {
                self.ledger.refuse(bytes);
                None
            }
        }
    }

    /// Frees an allocation once `stream`, if there is one, has come this far. Whether it was freed.
    pub fn free(&self, address: u64, stream: sys::CUstream) -> bool {
        if address == 0 {
            return true;
        }
        let synchronised = self.context.as_ref().is_some_and(|context| context.bind_to_thread().is_ok())
            // SAFETY: TensorRT's stream is valid during the call. Memory may be freed once the stream has come this far.
            && (stream.is_null() || unsafe { result::stream::synchronize(stream) }.is_ok());
        // SAFETY: the address is from `allocate`: TensorRT frees with the allocator that it allocated with, once.
        let freed = synchronised && unsafe { result::free_sync(address) }.is_ok();
        if freed {
            self.ledger.leave(address);
        }
        freed
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
        let breakdown = ledger.breakdown(8);
        assert_eq!(breakdown.weights_bytes, Some(1000));
        assert_eq!(breakdown.activations_bytes, Some(58));
        assert_eq!(breakdown.workspace_bytes, Some(7));
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
