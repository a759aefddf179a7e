//! Loads modules of device code and launches their kernels.
#![allow(unsafe_code, reason = "loads modules and launches kernels through the driver")]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, LaunchConfig, sys};
use cudarc::nvrtc::Ptx;

use super::compile::Cubin;
use super::error::{execution, failed};
use crate::engine::BackendError;

/// A loaded module of device code.
#[derive(Debug, Clone)]
pub(super) struct Module {
    module: Arc<CudaModule>,
}

/// Dynamic shared memory that a block may use without an opt-in, bytes.
const FREE_SHARED_BYTES: usize = 48 << 10;

impl Module {
    /// Loads the output of [`super::compile`] on the device of `context`.
    pub fn load(context: &Arc<CudaContext>, cubin: &Cubin) -> Result<Self, BackendError> {
        let module = context.load_module(Ptx::from_binary(cubin.bytes.clone())).map_err(failed)?;
        Ok(Module { module })
    }

    /// A kernel of the module, for launches with `shared_bytes` of dynamic shared memory.
    pub fn kernel(&self, name: &str, shared_bytes: usize) -> Result<Kernel, BackendError> {
        let function = self.module.load_function(name).map_err(failed)?;
        if shared_bytes > FREE_SHARED_BYTES {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared_bytes as i32).map_err(failed)?;
        }
        Ok(Kernel { function, shared_bytes: shared_bytes as u32 })
    }
}

/// A kernel with its dynamic shared memory.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    function: CudaFunction,
    shared_bytes: u32,
}

/// Blocks of a launch, and threads of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub blocks: (usize, usize, usize),
    pub threads: usize,
}

/// The structure that a kernel takes as its parameter, by value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Arguments {
    bytes: Vec<u8>,
    /// Offsets of the pointers in it.
    pointers: Vec<usize>,
}

/// A tensor map as `cuTensorMapEncodeTiled` makes it, by value.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TensorMap(pub [u64; 16]);

impl Arguments {
    /// A line of CUDA that does not compile if the size of `structure` differs from what has been laid out here.
    pub fn assertion(&self, structure: &str) -> String {
        let bytes = self.bytes.len().next_multiple_of(8);
        format!("static_assert(sizeof({structure}) == {bytes}, \"the host lays it out otherwise\");")
    }

    /// Adds a field at the next offset of its alignment, as C lays out structures.
    fn field<const N: usize>(mut self, bytes: [u8; N]) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(N), 0);
        self.bytes.extend(bytes);
        self
    }

    /// What it says beside addresses, which differ from process to process.
    pub fn without_pointers(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        self.pointers.iter().for_each(|&at| bytes[at..at + size_of::<u64>()].fill(0));
        bytes
    }

    /// Adds a pointer.
    pub fn pointer(self, address: u64) -> Self {
        let mut with = self.field(address.to_ne_bytes());
        with.pointers.push(with.bytes.len() - size_of::<u64>());
        with
    }

    /// Adds a pointer, null where there is no address.
    pub fn optional(self, address: Option<u64>) -> Self {
        self.pointer(address.unwrap_or(0))
    }

    /// Adds a 32-bit integer.
    pub fn int(self, value: usize) -> Self {
        self.field((value as u32).to_ne_bytes())
    }

    /// Adds a 64-bit integer.
    pub fn long(self, value: usize) -> Self {
        self.field((value as u64).to_ne_bytes())
    }

    /// Adds an FP32 number.
    pub fn float(self, value: f64) -> Self {
        self.field((value as f32).to_ne_bytes())
    }
}

/// A kernel with its arguments. It can be enqueued any number of times.
#[derive(Debug, Clone)]
pub(super) struct KernelLaunch {
    pub kernel: Kernel,
    pub grid: Grid,
    /// Parameters that precede the structure.
    pub maps: Vec<TensorMap>,
    pub arguments: Arguments,
    /// Whether it may be scheduled before its predecessors have ended. The kernel itself waits for them
    /// (`griddepcontrol.wait`).
    pub overlaps: bool,
}

/// A piece of the structure, with the alignment of a kernel parameter.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Aligned([u8; 64]);

impl KernelLaunch {
    /// Checks that the device has room for a cluster of the kernel's blocks, where it has clusters. A device may be a part of one.
    ///
    /// # Errors
    /// [`BackendError::Execution`] if none would ever run.
    pub fn check_room(&self, stream: &CudaStream) -> Result<(), BackendError> {
        let function = &self.kernel.function;
        let width = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH;
        if function.get_attribute(width).map_err(failed)? <= 1 {
            return Ok(());
        }
        let Grid { blocks: (x, y, z), threads } = self.grid;
        let config = LaunchConfig {
            grid_dim: (x as u32, y as u32, z as u32),
            block_dim: (threads as u32, 1, 1),
            shared_mem_bytes: self.kernel.shared_bytes,
        };
        match function.occupancy_max_active_clusters(config, stream).map_err(failed)? {
            0 => Err(execution("the device has no room for a cluster of the kernel's blocks")),
            _ => Ok(()),
        }
    }

    /// Enqueues the kernel on `stream`.
    pub fn enqueue(&self, stream: &CudaStream) -> Result<(), BackendError> {
        let mut structure = vec![Aligned([0; 64]); self.arguments.bytes.len().div_ceil(64).max(1)];
        for (block, bytes) in structure.iter_mut().zip(self.arguments.bytes.chunks(64)) {
            block.0[..bytes.len()].copy_from_slice(bytes);
        }
        let mut maps = self.maps.clone();
        let mut parameters: Vec<*mut c_void> = maps.iter_mut().map(|map| std::ptr::from_mut(map).cast()).collect();
        parameters.push(structure.as_mut_ptr().cast());
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let Grid { blocks: (x, y, z), threads } = self.grid;
        let config = sys::CUlaunchConfig {
            gridDimX: x as u32,
            gridDimY: y as u32,
            gridDimZ: z as u32,
            blockDimX: threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.kernel.shared_bytes,
            hStream: stream.cu_stream(),
            attrs: &raw mut attribute,
            numAttrs: u32::from(self.overlaps),
        };
        // SAFETY: the parameters are those the kernel declares, in order, size and alignment (`Arguments` lays the
        // structure out as C does), and are copied by the call; the addresses in them are spans of the engine that
        // holds this launch, at least as large as the kernel reads or writes for the sizes given with them.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                self.kernel.function.cu_function(),
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .result()
        .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_laid_out_as_c_lays_structures_out() {
        let arguments = Arguments::default().int(1).pointer(2).float(1.0).int(3).long(4);
        assert_eq!(arguments.bytes.len(), 32);
        assert_eq!(arguments.bytes[8..16], 2u64.to_ne_bytes());
        assert_eq!(arguments.bytes[16..20], 1f32.to_ne_bytes());
        assert_eq!(arguments.bytes[24..32], 4u64.to_ne_bytes());
        let there = Arguments::default().int(1).pointer(77).float(1.0).int(3).long(4);
        assert_eq!(there.without_pointers(), arguments.without_pointers());
        assert_ne!(there.long(5).without_pointers(), arguments.long(6).without_pointers());
    }
}
