//! A deserialised engine of TensorRT-RTX.
#![allow(unsafe_code, reason = "hands device memory and a stream to TensorRT")]

use std::ffi::c_void;
use std::ptr::null_mut;

use trtx::interfaces::{AllocateGpu, GpuAllocator};
use trtx::{CudaEngine, LayerInformationFormat, Logger, Runtime};

use super::super::binding::{Executable, TensorType};
use super::super::memory::Allocator;
use super::jit::EngineContext;
use crate::onnx::DataType;

/// An engine. Fields are dropped in their order, so that everything outlives what uses it.
pub(super) struct RtxEngine {
    context: Option<EngineContext>,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
}

impl RtxEngine {
    /// Deserialises an engine.
    ///
    /// # Errors
    /// Those of the library.
    pub fn load(logger: &'static Logger, bytes: &[u8], allocator: Allocator) -> trtx::Result<RtxEngine> {
        let mut runtime = Runtime::new(logger)?;
        runtime.set_gpu_allocator(GpuAllocator::new(Box::new(allocator))?);
        let engine = runtime.deserialize_cuda_engine(bytes)?;
        Ok(RtxEngine { context: None, engine, _runtime: runtime })
    }

    fn context(&mut self) -> Result<&mut EngineContext, String> {
        self.context.as_mut().ok_or_else(|| "the engine has no execution context".to_owned())
    }
}

impl Executable for RtxEngine {
    fn tensor(&self, name: &str) -> Result<TensorType, String> {
        let found = || Ok((self.engine.tensor_data_type(name)?, self.engine.tensor_shape(name)?));
        let (data_type, shape) = found().map_err(|error: trtx::Error| error.to_string())?;
        let element = match data_type {
            trtx::DataType::kFLOAT => Some(DataType::Fp32),
            trtx::DataType::kHALF => Some(DataType::Fp16),
            trtx::DataType::kBF16 => Some(DataType::Bf16),
            trtx::DataType::kINT64 => Some(DataType::Int64),
            trtx::DataType::kINT32 => Some(DataType::Int32),
            _ => None,
        };
        Ok(TensorType { element, elements: shape.iter().product() })
    }

    fn layers_json(&self) -> Result<String, String> {
        let json = || self.engine.create_engine_inspector()?.engine_information(LayerInformationFormat::kJSON);
        json().map_err(|error: trtx::Error| error.to_string())
    }

    fn create_context(&mut self, code: Option<&[u8]>) -> Result<(), String> {
        self.context = Some(EngineContext::create(&mut self.engine, code).map_err(|error| error.to_string())?);
        Ok(())
    }

    unsafe fn set_address(&mut self, name: &str, address: u64) -> Result<(), String> {
        let context = &mut self.context()?.context;
        // SAFETY: what the library asks is what this function asks of its caller.
        unsafe { context.set_tensor_address(name, address as *mut _) }.map_err(|error| error.to_string())
    }

    unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), String> {
        let context = &mut self.context()?.context;
        // SAFETY: what the library asks is what this function asks of its caller.
        unsafe { context.enqueue_v3(stream.cast()) }.map_err(|error| error.to_string())
    }

    fn precompiled(&self) -> bool {
        self.context.as_ref().is_some_and(|context| context.precompiled)
    }

    fn compiled(&self) -> Result<Option<Vec<u8>>, String> {
        self.context.as_ref().map(EngineContext::compiled).transpose().map_err(|error| error.to_string())
    }
}

impl AllocateGpu for Allocator {
    unsafe fn allocate_async(&self, size: u64, _alignment: u64, _flags: u32, _stream: *mut c_void) -> *mut c_void {
        // The memory can be used at once, whatever the stream still has to do.
        self.allocate(size).map_or(null_mut(), |address| address as *mut c_void)
    }

    unsafe fn reallocate(&self, _memory: *mut c_void, _alignment: u64, _new_size: u64) -> *mut c_void {
        // "TensorRT will assume that resize() is not implemented, and that the allocation at baseAddr is still valid."
        null_mut()
    }

    unsafe fn deallocate_async(&self, data: *mut c_void, cuda_stream: *mut c_void) -> bool {
        self.free(data as u64, cuda_stream.cast())
    }
}
