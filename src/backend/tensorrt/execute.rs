//! A deserialised engine on a CUDA device.
#![allow(unsafe_code, reason = "gives TensorRT device addresses and a stream")]

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::{CudaStream, DriverError, sys};

use super::binding::Executable;
use super::engine_cache::CacheEntry;
use super::inspect::{Inspection, layers_of};
use super::io::{Interface, integers, mask_row, output_format, widen};
use super::launch::LaunchMode;
use super::library::{TensorRtLibrary, device_lost, execution, out_of_memory};
use super::memory::{Allocator, IoBuffer, Ledger, Purpose};
use crate::backend::cuda::capture::capture;
use crate::backend::cuda::device::{Device, describe};
use crate::backend::cuda::ends_the_context;
use crate::engine::checks::token_types;
use crate::engine::{BackendError, DeviceQueue, Engine, EngineDescription, MemoryBreakdown, Output};
use crate::input::Batch;
use crate::onnx::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};

/// Device memory of inputs and output, bound for the lifetime of the engine.
struct Buffers {
    ids: IoBuffer,
    mask: Option<IoBuffer>,
    types: Option<IoBuffer>,
    output: IoBuffer,
}

/// An engine that executes. Fields are dropped in their order, so that everything outlives what uses it.
pub(super) struct LoadedEngine {
    launch: LaunchMode,
    engine: Box<dyn Executable>,
    buffers: Buffers,
    stream: Arc<CudaStream>,
    ledger: Ledger,
    device: Device,
    /// Bytes of the device's memory in use before any of this was made.
    bytes_before: Option<u64>,
    library: &'static TensorRtLibrary,
    interface: Interface,
    cache_entry: Option<CacheEntry>,
    /// Creating the execution context, seconds: TensorRT-RTX compiles its kernels there.
    context_s: f64,
    warmed: bool,
    first_run_s: Option<f64>,
}

impl LoadedEngine {
    /// Deserialises an engine, which runs the code in it: `bytes` must have been built here or have a known digest.
    /// `cache_entry` may have device code that an earlier process compiled.
    ///
    /// # Errors
    /// [`BackendError`] with the library's own words; [`BackendError::Unavailable`] where it refuses the device.
    pub fn load(
        library: &'static TensorRtLibrary,
        device: Device,
        bytes: &[u8],
        interface: Interface,
        cache_entry: Option<CacheEntry>,
    ) -> Result<LoadedEngine, BackendError> {
        // SAFETY: every buffer is used on the one stream of this engine only, so no other stream has to wait for it.
        unsafe { device.context.disable_event_tracking() };
        let stream = device.context.new_stream().map_err(driver_failed)?;
        let bytes_before = device.bytes_in_use();
        let ledger = Ledger::default();
        let in_memory = |error| refused(&ledger, error);
        let allocator = || Allocator::new(Arc::clone(&device.context), ledger.clone());
        let mut engine = library.call(|| library.binding.load(bytes, allocator())).map_err(in_memory)?;
        let format = library.call(|| output_format(&*engine, interface))?;
        let interface = Interface { format, ..interface };
        ledger.set_purpose(Purpose::Activations);
        let code = cache_entry.as_ref().and_then(CacheEntry::code);
        let start = Instant::now();
        library.call(|| engine.create_context(code.as_deref())).map_err(in_memory)?;
        let context_s = start.elapsed().as_secs_f64();
        let buffers = bind_buffers(library, allocator(), &mut *engine, interface).map_err(in_memory)?;
        ledger.set_purpose(Purpose::Workspace);
        Ok(LoadedEngine {
            launch: LaunchMode::Eager,
            engine,
            buffers,
            stream,
            ledger,
            device,
            bytes_before,
            library,
            interface,
            cache_entry,
            context_s,
            warmed: false,
            first_run_s: None,
        })
    }

    /// The layers of the engine as built.
    ///
    /// # Errors
    /// [`BackendError`] with the library's own words.
    pub fn inspect(&self) -> Result<Inspection, BackendError> {
        layers_of(self.library, &*self.engine)
    }

    /// Stores the inspector's view in the engine's cache entry.
    pub fn keep_layers(&self, inspection: &Inspection) {
        if let Some(cache_entry) = &self.cache_entry {
            cache_entry.keep_layers(&inspection.json);
        }
    }

    /// Stores the device code that this process compiled, so that the next process need not compile it.
    fn keep_code(&self) -> Result<(), BackendError> {
        let Some(cache_entry) = self.cache_entry.as_ref().filter(|_| !self.engine.precompiled()) else { return Ok(()) };
        if let Some(code) = self.library.call(|| self.engine.compiled())? {
            cache_entry.keep_code(&code);
        }
        Ok(())
    }

    /// Runs one forward pass kernel by kernel and waits for its end; returns its duration, seconds.
    fn eager_pass(&mut self) -> Result<f64, BackendError> {
        let start = Instant::now();
        enqueue(&mut *self.engine, &self.stream).map_err(|error| refused(&self.ledger, self.library.failure(error)))?;
        self.stream.synchronize().map_err(driver_failed)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Runs a first forward pass, which may still compile and allocate, and a second one, to learn how much longer the first
    /// took; then captures a third.
    fn warm(&mut self) -> Result<(), BackendError> {
        self.warmed = true;
        let first_s = self.eager_pass()?;
        let second_s = self.eager_pass()?;
        // With device code of an earlier process nothing was compiled, and the time would be a different quantity.
        self.first_run_s = (!self.engine.precompiled()).then(|| self.context_s + (first_s - second_s).max(0.0));
        let (engine, stream, library) = (&mut *self.engine, &self.stream, self.library);
        let captured = capture(
            stream,
            || enqueue(engine, stream).map_err(|error| library.failure(error).to_string()),
            |error| describe(&error),
        );
        // An engine that cannot be captured is executed kernel by kernel, and its description says so.
        self.launch = captured.map_or(LaunchMode::Eager, LaunchMode::Graph);
        self.keep_code()
    }
}

/// Starts a forward pass.
fn enqueue(engine: &mut dyn Executable, stream: &CudaStream) -> Result<(), String> {
    // SAFETY: the stream is the engine's own and live; all three addresses have been set to buffers of the same life.
    unsafe { engine.enqueue(stream.cu_stream().cast()) }
}

/// Allocates inputs and output and sets their addresses in the context.
fn bind_buffers(
    library: &TensorRtLibrary,
    allocator: Allocator,
    engine: &mut dyn Executable,
    interface: Interface,
) -> Result<Buffers, BackendError> {
    let ids_bytes = interface.shape.tokens() * interface.ids.bytes() as usize;
    let allocator = Arc::new(allocator);
    let take = |bytes: usize| {
        let refused = || out_of_memory(format!("cannot allocate {bytes} bytes for inputs and outputs"));
        IoBuffer::take(&allocator, bytes).ok_or_else(refused)
    };
    let mask = interface.masked.then(|| take(ids_bytes)).transpose()?;
    let types = interface.typed.then(|| take(ids_bytes)).transpose()?;
    let buffers = Buffers { ids: take(ids_bytes)?, mask, types, output: take(interface.output_bytes())? };
    let addresses = [(INPUT_IDS, buffers.ids.address()), (interface.output, buffers.output.address())];
    let mask = buffers.mask.as_ref().map(|mask| (ATTENTION_MASK, mask.address()));
    let types = buffers.types.as_ref().map(|types| (TOKEN_TYPE_IDS, types.address()));
    for (name, address) in addresses.into_iter().chain(mask).chain(types) {
        // SAFETY: the buffer has the tensor's type and size, which `output_format` has compared, and lives as long as the
        // engine.
        library.call(|| unsafe { engine.set_address(name, address) })?;
    }
    Ok(buffers)
}

impl Engine for LoadedEngine {
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError> {
        self.interface.check(batch)?;
        let Interface { shape, ids: element, .. } = self.interface;
        let ids = integers(element, batch.ids.iter().copied());
        self.buffers.ids.fill(&self.stream, &ids).map_err(driver_failed)?;
        if let Some(buffer) = &self.buffers.mask {
            let mask = batch.lengths.iter().flat_map(|&length| mask_row(length, shape.sequence));
            buffer.fill(&self.stream, &integers(element, mask)).map_err(driver_failed)?;
        }
        if let Some((buffer, types)) = self.buffers.types.as_ref().zip(token_types(batch, self.interface.typed)?) {
            buffer.fill(&self.stream, &integers(element, types.into_iter())).map_err(driver_failed)?;
        }
        // The first batch warms up, so that the one-time work of a first forward pass is part of no sample.
        if self.warmed { Ok(()) } else { self.warm() }
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        match &self.launch {
            LaunchMode::Graph(graph) => graph.launch().map_err(driver_failed),
            LaunchMode::Eager => enqueue(&mut *self.engine, &self.stream).map_err(|error| self.library.failure(error)),
        }
    }

    fn synchronize(&mut self) -> Result<(), BackendError> {
        self.stream.synchronize().map_err(driver_failed)
    }

    fn device_queue(&self) -> Option<&dyn DeviceQueue> {
        Some(&self.stream)
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        let bytes = self.buffers.output.read(&self.stream).map_err(driver_failed)?;
        let Interface { kind, rows, width, format, .. } = self.interface;
        Ok(Output { kind, rows, width, values: widen(&bytes, format) })
    }

    fn first_run_s(&self) -> Option<f64> {
        self.first_run_s
    }

    fn memory(&self) -> MemoryBreakdown {
        let device_bytes = self.device.bytes_in_use().zip(self.bytes_before);
        let device_bytes = device_bytes.and_then(|(now, before)| now.checked_sub(before));
        MemoryBreakdown { device_bytes, ..self.ledger.breakdown() }
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription {
            library: format!("{}, {}", self.library.version, self.launch.describe()),
            device: self.device.name.clone(),
            threads: None,
            emulated: false,
        }
    }
}

impl Drop for LoadedEngine {
    fn drop(&mut self) {
        // Work that is still executing uses the memory about to be freed. An error here has been reported before.
        let _ = self.stream.synchronize();
    }
}

/// The driver's failure.
fn driver_failed(error: DriverError) -> BackendError {
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => out_of_memory(describe(&error)),
        code if ends_the_context(code) => device_lost(describe(&error)),
        _ => execution(describe(&error)),
    }
}

/// The failure as the library reports it, or as out of memory if an allocation was refused.
fn refused(ledger: &Ledger, error: BackendError) -> BackendError {
    match ledger.take_refused() {
        Some(bytes) => out_of_memory(format!("the device did not have {bytes} bytes left; {error}")),
        None => error,
    }
}
