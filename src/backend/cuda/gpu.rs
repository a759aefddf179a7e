//! The device and what all engines on it share: a stream, cuBLASLt, and the loaded kernels.
#![allow(unsafe_code, reason = "makes tensor maps through the driver")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::Arc;

use cudarc::driver::{CudaStream, sys};
use rayon::prelude::*;

use super::calls::{DeviceCall, KernelCall, MapSpec, ProductCall, instances};
use super::catalogue::{Instance, unit};
use super::ceiling;
use super::compile::{CompileError, Compiler, Cubin, GpuArchitecture};
use super::device::Device;
use super::element::ElementType;
use super::error::{execution, failed, unavailable};
use super::launch::{KernelLaunch, Module, TensorMap};
use super::libraries;
use super::matmul::{Algorithm, Matmul, MatmulAddresses, MatmulLibrary, MatmulSpec};
use super::stage::Accumulator;
use crate::cache::ChecksummedFolder;
use crate::engine::{BackendError, Ceilings};
use crate::stats::median;

/// A device that engines are built on. All of them use its one stream, so that no two products use cuBLASLt's workspace
/// at once and results are bitwise reproducible.
#[derive(Debug)]
pub(super) struct GpuRuntime {
    pub device: Device,
    pub architecture: GpuArchitecture,
    pub multiprocessors: usize,
    pub stream: Arc<CudaStream>,
    pub library: MatmulLibrary,
    compiler: Compiler,
    /// Bytes of the device's memory in use before this object allocated any.
    bytes_at_opening: Option<u64>,
    ceilings: RefCell<HashMap<(ElementType, Accumulator), Option<Ceilings>>>,
    modules: RefCell<HashMap<Instance, Module>>,
}

/// A call that can be enqueued.
#[derive(Debug)]
pub(super) enum Prepared {
    Kernel(KernelLaunch),
    Product { matmul: Matmul, algorithm: Algorithm, addresses: MatmulAddresses },
}

impl GpuRuntime {
    /// Opens the first device and the libraries.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] with the reason.
    pub fn open() -> Result<GpuRuntime, BackendError> {
        let device = Device::first().map_err(unavailable)?;
        let architecture = GpuArchitecture { major: device.capability.0, minor: device.capability.1 };
        if architecture < GpuArchitecture::OLDEST {
            let GpuArchitecture { major, minor } = GpuArchitecture::OLDEST;
            return Err(unavailable(format!("{}: the kernels need {major}.{minor} or newer", device.describe())));
        }
        libraries::nvrtc().map_err(unavailable)?;
        // SAFETY: every buffer is used on the one stream of this object only, so no other stream has to wait for it.
        unsafe { device.context.disable_event_tracking() };
        let stream = device.context.new_stream().map_err(failed)?;
        let bytes_at_opening = device.bytes_in_use();
        let library = MatmulLibrary::open(&device.context)?;
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = device.context.attribute(attribute).map_err(failed)?.unsigned_abs() as usize;
        // Without a cache folder every process compiles for itself.
        let compiler = Compiler::new(architecture, ChecksummedFolder::open("kernels").ok());
        Ok(GpuRuntime {
            device,
            architecture,
            multiprocessors,
            stream,
            library,
            compiler,
            bytes_at_opening,
            ceilings: RefCell::default(),
            modules: RefCell::default(),
        })
    }

    /// The device's ceilings for products of these types, measured once. `None` if it has no room for the probes.
    pub fn ceilings(&self, operand: ElementType, accumulator: Accumulator) -> Option<Ceilings> {
        let known = self.ceilings.borrow().get(&(operand, accumulator)).copied();
        known.unwrap_or_else(|| {
            // Any error leaves the ceilings unknown. If the device is lost, the next call reports it.
            let measured = ceiling::measure(self, operand, accumulator).ok();
            self.ceilings.borrow_mut().insert((operand, accumulator), measured);
            measured
        })
    }

    /// Growth of the device's used memory since the library was opened, bytes, by the driver's count. It includes
    /// engines, kernels, and what other processes have allocated or freed since.
    pub fn device_bytes_since_opening(&self) -> Option<u64> {
        self.device.bytes_in_use()?.checked_sub(self.bytes_at_opening?)
    }

    /// Prepares calls: compiles and loads their kernels, and describes their products to cuBLASLt.
    ///
    /// # Errors
    /// [`BackendError`]: the compiler refuses a kernel, or cuBLASLt has no algorithm for a product.
    pub fn prepare(&self, calls: &[DeviceCall]) -> Result<Vec<Prepared>, BackendError> {
        self.load_kernels(calls)?;
        calls.iter().map(|call| self.prepare_one(call)).collect()
    }

    /// Compiles, on all processors, and loads those kernels of `calls` that are not loaded yet. A kernel that is
    /// refused does not keep the others from being loaded.
    ///
    /// # Errors
    /// The first refusal: [`BackendError::Execution`] with the compiler's message.
    pub fn load_kernels<'a>(&self, calls: impl IntoIterator<Item = &'a DeviceCall>) -> Result<(), BackendError> {
        let mut modules = self.modules.borrow_mut();
        let compiler = &self.compiler;
        let missing: Vec<&Instance> =
            instances(calls).into_iter().filter(|instance| !modules.contains_key(instance)).collect();
        let compiled: Vec<Result<Cubin, CompileError>> =
            missing.par_iter().map(|instance| compiler.cubin(&unit(instance.source, [*instance]))).collect();
        let mut first_error = None;
        for (instance, cubin) in missing.into_iter().zip(compiled) {
            let loaded = cubin.map_err(not_compiled).and_then(|cubin| Module::load(&self.device.context, &cubin));
            match loaded {
                Ok(module) => drop(modules.insert(instance.clone(), module)),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Compiles the kernels of `calls` again from the source that `edit` makes of theirs, where it makes one, and uses them
    /// from here on. Returns their number.
    ///
    /// # Errors
    /// The first refusal: [`BackendError::Execution`] with the compiler's message.
    #[cfg(test)]
    pub fn reload(&self, calls: &[DeviceCall], edit: impl Fn(&str) -> Option<String>) -> Result<usize, BackendError> {
        let mut reloaded = 0;
        for instance in instances(calls) {
            let mut unit = unit(instance.source, [instance]);
            let Some(source) = edit(&unit.source) else { continue };
            unit.source = source;
            let cubin = self.compiler.cubin(&unit).map_err(not_compiled)?;
            self.modules.borrow_mut().insert(instance.clone(), Module::load(&self.device.context, &cubin)?);
            reloaded += 1;
        }
        Ok(reloaded)
    }

    fn prepare_one(&self, call: &DeviceCall) -> Result<Prepared, BackendError> {
        match call {
            DeviceCall::Kernel(call) => self.launch(call).map(Prepared::Kernel),
            DeviceCall::Product(ProductCall { spec, addresses, algorithm }) => {
                let matmul = Matmul::new(spec)?;
                let algorithm = match algorithm {
                    Some(algorithm) => *algorithm,
                    None => {
                        matmul.algorithms(&self.library, 1)?.into_iter().next().ok_or_else(|| no_algorithm(spec))?
                    }
                };
                Ok(Prepared::Product { matmul, algorithm, addresses: *addresses })
            }
        }
    }

    fn launch(&self, call: &KernelCall) -> Result<KernelLaunch, BackendError> {
        let modules = self.modules.borrow();
        let loaded = modules.get(&call.instance);
        let module = loaded.ok_or_else(|| execution(format!("the kernel {} was not loaded", call.instance.name)))?;
        let launch = KernelLaunch {
            kernel: module.kernel(&call.instance.name, call.shared_bytes)?,
            grid: call.grid,
            maps: call.maps.iter().map(tensor_map).collect::<Result<_, _>>()?,
            arguments: call.arguments.clone(),
            overlaps: self.architecture.overlaps_launches(),
        };
        launch.check_room(&self.stream).map(|()| launch)
    }

    /// Median time of `work` between events on the stream, over `repeats` runs after `warmup` runs, milliseconds.
    ///
    /// # Errors
    /// The error of `work`, or a failure of the driver.
    pub fn median_ms(
        &self,
        warmup: usize,
        repeats: usize,
        work: impl Fn() -> Result<(), BackendError>,
    ) -> Result<f64, BackendError> {
        (0..warmup).try_for_each(|_| self.mean_ms(1, &work).map(drop))?;
        let times_ms = (0..repeats).map(|_| self.mean_ms(1, &work)).collect::<Result<Vec<_>, _>>()?;
        median(&times_ms).ok_or_else(|| execution("nothing was timed"))
    }

    /// Mean time of `work` between events around `count` runs that do not wait for each other, milliseconds.
    ///
    /// # Errors
    /// The error of `work`, or a failure of the driver.
    pub fn mean_ms(&self, count: usize, work: impl Fn() -> Result<(), BackendError>) -> Result<f64, BackendError> {
        let event = || self.device.context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).map_err(failed);
        let (start, end) = (event()?, event()?);
        start.record(&self.stream).map_err(failed)?;
        (0..count).try_for_each(|_| work())?;
        end.record(&self.stream).map_err(failed)?;
        Ok(f64::from(start.elapsed_ms(&end).map_err(failed)?) / count as f64)
    }

    /// Enqueues calls in order.
    ///
    /// # Errors
    /// [`BackendError`] of the driver or of cuBLASLt.
    pub fn enqueue(&self, prepared: &[Prepared]) -> Result<(), BackendError> {
        prepared.iter().try_for_each(|call| match call {
            Prepared::Kernel(launch) => launch.enqueue(&self.stream),
            Prepared::Product { matmul, algorithm, addresses } => {
                matmul.enqueue(&self.library, *algorithm, *addresses, &self.stream)
            }
        })
    }
}

fn not_compiled(error: CompileError) -> BackendError {
    execution(error.to_string())
}

fn no_algorithm(spec: &MatmulSpec) -> BackendError {
    let MatmulSpec { tokens, width, depth, .. } = spec;
    execution(format!("cuBLASLt has no algorithm for a product of {tokens}x{depth} by {depth}x{width}"))
}

/// Columns of a tensor map's box: 128 bytes, the span of the swizzle.
const BOX_COLUMNS: usize = 64;

/// Encodes a map of 16-bit elements with the 128-byte swizzle. Elements outside the tensor are read as 0.
fn tensor_map(spec: &MapSpec) -> Result<TensorMap, BackendError> {
    let mut map = MaybeUninit::<sys::CUtensorMap>::zeroed();
    let sizes = [spec.columns as u64, spec.rows as u64];
    let pitches = [2 * spec.columns as u64];
    let (boxes, steps) = ([BOX_COLUMNS as u32, spec.box_rows as u32], [1u32, 1]);
    // SAFETY: the arrays have the two dimensions that are named, and the map is written to a live object. The format of
    // the elements matters only for filling with NaN, which is not asked for.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            map.as_mut_ptr(),
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            2,
            spec.address as *mut std::ffi::c_void,
            sizes.as_ptr(),
            pitches.as_ptr(),
            boxes.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
        .result()
        .map_err(failed)?;
        Ok(TensorMap(map.assume_init().opaque))
    }
}
