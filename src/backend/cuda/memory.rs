//! Device memory and pinned host memory. A span is allocated at once, never grows, and is freed when it is dropped.
#![allow(unsafe_code, reason = "takes, fills and copies device memory through the driver")]

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::Pod;
use cudarc::driver::{CudaContext, CudaStream, result, sys};

use super::error::{execution, failed};
use crate::engine::{BackendError, BackendKind};

/// Device spans that this process has allocated.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// How many device spans this process has allocated so far. A forward pass allocates none.
#[cfg(test)]
pub(super) fn spans_taken() -> usize {
    TAKEN.load(Ordering::Relaxed)
}

/// A span of device memory.
#[derive(Debug)]
pub(super) struct DeviceMemory {
    address: u64,
    bytes: usize,
    context: Arc<CudaContext>,
}

impl DeviceMemory {
    /// Allocates `bytes` (at least one) of the device's memory and fills them with 0xFF, which is NaN in every format.
    /// Elements that nothing writes thus show up in the results.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] with the sizes, or the driver's failure.
    pub fn take(context: &Arc<CudaContext>, bytes: usize, purpose: &str) -> Result<Self, BackendError> {
        let bytes = bytes.max(1);
        context.bind_to_thread().map_err(failed)?;
        // SAFETY: the context is current, and the address is freed once, in `drop`.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => exhausted(bytes, purpose),
            _ => failed(error),
        })?;
        TAKEN.fetch_add(1, Ordering::Relaxed);
        let memory = DeviceMemory { address, bytes, context: context.clone() };
        memory.poison()?;
        Ok(memory)
    }

    /// Address of its first byte, a multiple of 256.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fills it with 0xFF. No kernel may be using it.
    pub fn poison(&self) -> Result<(), BackendError> {
        // SAFETY: the span is this object's own, and it is waited for.
        unsafe { result::memset_d8_sync(self.address, 0xFF, self.bytes) }.map_err(failed)?;
        finish_default_stream()
    }

    /// Fills it with random numbers. As FP16 they lie between 2^-4 and 2, of either sign; in the other formats they are
    /// small and finite. Products of zeros or of NaN would take less power than real ones, and so less time.
    pub fn fill_with_small_numbers(&self) -> Result<(), BackendError> {
        const BLOCK: usize = 1 << 20;
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let number = |bits: u64| 0x2C00 + (bits >> 40) as u16 % 0x1400 + ((bits >> 63) as u16) * 0x8000;
        let block: Vec<u16> = (0..BLOCK.min(self.bytes / 2)).map(|_| number(next())).collect();
        for offset in (0..self.bytes).step_by(2 * BLOCK) {
            self.fill(offset, &block[..block.len().min((self.bytes - offset) / 2)])?;
        }
        Ok(())
    }

    /// Copies `values` to `offset` bytes from the start, and waits for the copy.
    pub fn fill<T: Pod>(&self, offset: usize, values: &[T]) -> Result<(), BackendError> {
        self.check(offset, size_of_val(values))?;
        // SAFETY: the span lies within this object's own, and the copy is waited for.
        unsafe { result::memcpy_htod_sync(self.address + offset as u64, values) }.map_err(failed)?;
        finish_default_stream()
    }

    /// Copies to `values` from `offset` bytes from the start, and waits for the copy. No kernel may be writing there.
    pub fn read<T: Pod>(&self, offset: usize, values: &mut [T]) -> Result<(), BackendError> {
        self.check(offset, size_of_val(values))?;
        // SAFETY: the span lies within this object's own, and every bit pattern is a `T`.
        unsafe { result::memcpy_dtoh_sync(values, self.address + offset as u64) }.map_err(failed)
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<(), BackendError> {
        if offset + bytes <= self.bytes {
            return Ok(());
        }
        Err(execution(format!("bytes {offset} to {} of a span of {}", offset + bytes, self.bytes)))
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `take` and freed only here; freeing waits for work that uses it. A failure means that
        // the context is gone, and the memory with it.
        let _ = self.context.bind_to_thread().is_ok() && unsafe { result::free_sync(self.address) }.is_ok();
    }
}

/// Waits for fills and copies on the default stream. They may return before they are done ("API synchronization
/// behavior" in the driver's manual), and nothing else orders the engines' own stream after them.
fn finish_default_stream() -> Result<(), BackendError> {
    // SAFETY: the null stream is that of the current context.
    unsafe { result::stream::synchronize(result::stream::null()) }.map_err(failed)
}

fn exhausted(bytes: usize, purpose: &str) -> BackendError {
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    let free = result::mem_get_info()
        .map_or(String::new(), |(free, total)| format!(" ({:.0} of {:.0} MiB are free)", mib(free), mib(total)));
    BackendError::OutOfMemory {
        backend: BackendKind::Cuda,
        message: format!("cannot allocate {:.0} MiB for {purpose}{free}", mib(bytes)),
    }
}

/// Page-locked host memory of `count` values. Copies between it and the device need no staging.
#[derive(Debug)]
pub(super) struct Pinned<T: Pod> {
    address: *mut T,
    count: usize,
    context: Arc<CudaContext>,
}

impl<T: Pod> Pinned<T> {
    /// Allocates `count` (at least one) values, all zero.
    pub fn take(context: &Arc<CudaContext>, count: usize) -> Result<Self, BackendError> {
        let count = count.max(1);
        context.bind_to_thread().map_err(failed)?;
        // SAFETY: the context is current, and the address is freed once, in `drop`.
        let address = unsafe { result::malloc_host(count * size_of::<T>(), 0) }.map_err(failed)?.cast::<T>();
        // SAFETY: `count` values have just been allocated there, and zeros are a `T`.
        unsafe { address.write_bytes(0, count) };
        Ok(Pinned { address, count, context: context.clone() })
    }

    /// Its values.
    pub fn values(&mut self) -> &mut [T] {
        // SAFETY: the allocation holds `count` initialised values and is borrowed mutably. Copies from it are waited
        // for before it is handed out again (see `send`).
        unsafe { std::slice::from_raw_parts_mut(self.address, self.count) }
    }

    /// Copies all values to `address` on the device, ordered by `stream`, and waits for the copy.
    pub fn send(&mut self, stream: &CudaStream, address: u64) -> Result<(), BackendError> {
        let values: &[T] = self.values();
        // SAFETY: the caller's address is that of a span of at least `count` values, and the copy is waited for.
        unsafe { result::memcpy_htod_async(address, values, stream.cu_stream()) }.map_err(failed)?;
        stream.synchronize().map_err(failed)
    }

    /// Copies `count` values (at most all) from `address` on the device, ordered by `stream`, and waits for the copy.
    pub fn receive(&mut self, stream: &CudaStream, address: u64, count: usize) -> Result<&[T], BackendError> {
        let count = count.min(self.count);
        let values = &mut self.values()[..count];
        // SAFETY: the caller's address is that of a span of at least `count` values, and the copy is waited for.
        unsafe { result::memcpy_dtoh_async(values, address, stream.cu_stream()) }.map_err(failed)?;
        stream.synchronize().map_err(failed)?;
        Ok(&self.values()[..count])
    }
}

impl<T: Pod> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `take` and freed only here.
        let _ = self.context.bind_to_thread().is_ok()
            && unsafe { result::free_host(self.address.cast::<c_void>()) }.is_ok();
    }
}
