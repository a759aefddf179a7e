//! Matrix products by cuBLASLt, with an algorithm that the caller chooses. The safe layer of `cudarc` would not do: it
//! asks the heuristic again for every call, takes its first answer, and computes FP32 products in TF32.
#![allow(unsafe_code, reason = "calls cuBLASLt")]

use std::ffi::c_void;
use std::ptr::from_ref;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::{CudaContext, CudaStream};
use half::f16;
use serde::{Deserialize, Serialize};
use sys::{
    cublasComputeType_t as ComputeType, cublasLtEpilogue_t as LtEpilogue, cublasLtMatmulDescAttributes_t as Attribute,
    cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayoutAttribute_t as LayoutAttribute,
    cudaDataType_t as DataType,
};

use super::element::ElementType;
use super::error::{matmul_failed, unavailable};
use super::libraries;
use super::memory::DeviceMemory;
use super::stage::Accumulator;
use crate::engine::BackendError;

/// Scratch that algorithms may use, bytes. NVIDIA recommends this size for Hopper.
pub(super) const WORKSPACE_BYTES: usize = 32 << 20;

/// cuBLASLt's handle and its scratch. One stream uses it at a time.
#[derive(Debug)]
pub(super) struct MatmulLibrary {
    handle: sys::cublasLtHandle_t,
    workspace: DeviceMemory,
}

impl MatmulLibrary {
    /// Opens the library on the device of `context`.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when the library cannot be loaded, or its own failure.
    pub fn open(context: &Arc<CudaContext>) -> Result<Self, BackendError> {
        libraries::cublaslt().map_err(unavailable)?;
        // The variable overrides what programs ask for, so a row of `fp32` or `tf32` would be wrong.
        if let Some(value) = std::env::var_os("NVIDIA_TF32_OVERRIDE") {
            let value = value.to_string_lossy();
            return Err(unavailable(format!("NVIDIA_TF32_OVERRIDE={value} overrides the precision policy: unset it")));
        }
        let workspace = DeviceMemory::take(context, WORKSPACE_BYTES, "cuBLASLt's workspace")?;
        let handle = result::create_handle().map_err(matmul_failed("be opened"))?;
        Ok(MatmulLibrary { handle, workspace })
    }

    /// Its scratch. Kernels may use it between two products.
    pub fn workspace(&self) -> &DeviceMemory {
        &self.workspace
    }
}

impl Drop for MatmulLibrary {
    fn drop(&mut self) {
        // SAFETY: made by `open` and destroyed only here.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What cuBLASLt does with the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LtEnding {
    /// `y = alpha x w`
    Store,
    /// `y = x w + bias`, the bias stored as `y`
    Bias,
    /// `y = y + x w + bias`
    BiasResidual,
}

/// Row-major `y [tokens, width] = x [tokens, depth] w`, once or in a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MatmulSpec {
    pub tokens: usize,
    pub width: usize,
    pub depth: usize,
    pub operand: ElementType,
    pub output: ElementType,
    pub accumulator: Accumulator,
    pub ending: LtEnding,
    pub alpha: f64,
    /// Whether `w` is `[width, depth]`, else it is `[depth, width]`.
    pub w_by_rows: bool,
    /// Elements from one row of x, w and y to the next.
    pub strides: [usize; 3],
    /// Number of products, and elements from one x, w and y to the next.
    pub batch: Option<(usize, [usize; 3])>,
}

/// An algorithm of cuBLASLt, as the library stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Algorithm([u64; 8]);

/// The addresses of one product.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatmulAddresses {
    pub x: u64,
    pub w: u64,
    pub y: u64,
    pub bias: Option<u64>,
}

/// A product, described to cuBLASLt.
#[derive(Debug)]
pub(super) struct Matmul {
    description: sys::cublasLtMatmulDesc_t,
    /// Layouts of w, x and y. The library is column-major, so the operands are swapped.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    alpha: Scalar,
    beta: Scalar,
    has_bias: bool,
}

/// A factor in the accumulator's type: FP16 in the first two bytes, or FP32 in all four.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(4))]
struct Scalar([u8; 4]);

impl Scalar {
    fn new(value: f64, accumulator: Accumulator) -> Self {
        match accumulator {
            Accumulator::F16 => {
                let [a, b] = f16::from_f64(value).to_ne_bytes();
                Scalar([a, b, 0, 0])
            }
            Accumulator::F32 | Accumulator::Tf32 => Scalar((value as f32).to_ne_bytes()),
        }
    }
}

impl Matmul {
    /// Describes a product.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's status.
    pub fn new(spec: &MatmulSpec) -> Result<Self, BackendError> {
        let failed = matmul_failed("describe a product");
        let (compute, scale) = match spec.accumulator {
            Accumulator::F32 => (ComputeType::CUBLAS_COMPUTE_32F, DataType::CUDA_R_32F),
            Accumulator::Tf32 => (ComputeType::CUBLAS_COMPUTE_32F_FAST_TF32, DataType::CUDA_R_32F),
            Accumulator::F16 => (ComputeType::CUBLAS_COMPUTE_16F, DataType::CUDA_R_16F),
        };
        let description = result::create_matmul_desc(compute, scale).map_err(&failed)?;
        let residual = spec.ending == LtEnding::BiasResidual;
        let mut matmul = Matmul {
            description,
            layouts: [std::ptr::null_mut(); 3],
            alpha: Scalar::new(spec.alpha, spec.accumulator),
            beta: Scalar::new(if residual { 1.0 } else { 0.0 }, spec.accumulator),
            has_bias: spec.ending != LtEnding::Store,
        };
        matmul.describe(spec)?;
        let MatmulSpec { tokens, width, depth, .. } = *spec;
        let w = if spec.w_by_rows { (depth, width) } else { (width, depth) };
        let sizes = [(w, spec.strides[1]), ((depth, tokens), spec.strides[0]), ((width, tokens), spec.strides[2])];
        let pitches = spec.batch.map(|(count, [x, w, y])| (count, [w, x, y]));
        for (index, ((rows, columns), stride)) in sizes.into_iter().enumerate() {
            let element = if index == 2 { spec.output } else { spec.operand };
            let layout = result::create_matrix_layout(data_type(element), rows as u64, columns as u64, stride as i64);
            matmul.layouts[index] = layout.map_err(&failed)?;
            if let Some((count, pitches)) = pitches {
                matmul.batched(index, count as i32, pitches[index] as i64)?;
            }
        }
        Ok(matmul)
    }

    fn describe(&mut self, spec: &MatmulSpec) -> Result<(), BackendError> {
        if spec.w_by_rows {
            self.attribute(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &1i32)?;
        }
        let epilogue = match spec.ending {
            LtEnding::Store => LtEpilogue::CUBLASLT_EPILOGUE_DEFAULT,
            LtEnding::Bias | LtEnding::BiasResidual => LtEpilogue::CUBLASLT_EPILOGUE_BIAS,
        };
        self.attribute(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        if spec.ending != LtEnding::Store {
            self.attribute(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &data_type(spec.output))?;
        }
        Ok(())
    }

    fn attribute<T>(&self, attribute: Attribute, value: &T) -> Result<(), BackendError> {
        // SAFETY: the description is live, and the value has the size that is named.
        let set = unsafe {
            result::set_matmul_desc_attribute(self.description, attribute, from_ref(value).cast(), size_of::<T>())
        };
        set.map_err(matmul_failed("describe a product"))
    }

    fn batched(&self, layout: usize, count: i32, pitch: i64) -> Result<(), BackendError> {
        let set = |attribute, value: *const c_void, size| {
            // SAFETY: the layout is live, and the value has the size that is named.
            unsafe { result::set_matrix_layout_attribute(self.layouts[layout], attribute, value, size) }
                .map_err(matmul_failed("describe a batch of products"))
        };
        set(LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, from_ref(&count).cast(), 4)?;
        set(LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, from_ref(&pitch).cast(), 8)
    }

    /// Up to `count` algorithms for the product, the library's first choice first. Only algorithms that add partial
    /// sums in the accumulator's format are allowed: a narrower format would break the policy.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's status.
    pub fn algorithms(&self, library: &MatmulLibrary, count: usize) -> Result<Vec<Algorithm>, BackendError> {
        let failed = matmul_failed("choose an algorithm");
        let preference = PreferenceHandle(result::create_matmul_pref().map_err(&failed)?);
        let scheme = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        // SAFETY: the preference is live, and the values have the sizes that are named.
        unsafe {
            let bytes = from_ref(&WORKSPACE_BYTES).cast();
            let attribute = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            result::set_matmul_pref_attribute(preference.0, attribute, bytes, 8).map_err(&failed)?;
            let attribute = Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
            result::set_matmul_pref_attribute(preference.0, attribute, from_ref(&scheme).cast(), 4).map_err(&failed)?;
        }
        // The library accepts the epilogue only with a bias. Every call sets its address.
        if self.has_bias {
            self.bias(library.workspace.address())?;
        }
        // SAFETY: a plain structure that the call fills.
        let mut found: Vec<sys::cublasLtMatmulHeuristicResult_t> = vec![unsafe { std::mem::zeroed() }; count];
        let [w, x, y] = self.layouts;
        let mut returned = 0;
        // SAFETY: all handles are live, and the buffer has room for `count` results.
        unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                library.handle,
                self.description,
                w,
                x,
                y,
                y,
                preference.0,
                count as i32,
                found.as_mut_ptr(),
                &raw mut returned,
            )
        }
        .result()
        .map_err(&failed)?;
        found.truncate(returned as usize);
        Ok(found.into_iter().filter(|one| one.state.result().is_ok()).map(|one| Algorithm(one.algo.data)).collect())
    }

    fn bias(&self, address: u64) -> Result<(), BackendError> {
        self.attribute(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &address)
    }

    /// Enqueues the product on `stream`.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's status.
    pub fn enqueue(
        &self,
        library: &MatmulLibrary,
        algorithm: Algorithm,
        addresses: MatmulAddresses,
        stream: &CudaStream,
    ) -> Result<(), BackendError> {
        if let Some(bias) = addresses.bias {
            self.bias(bias)?;
        }
        let algorithm = sys::cublasLtMatmulAlgo_t { data: algorithm.0 };
        let [w, x, y] = self.layouts;
        // SAFETY: handles and layouts are live; the addresses are spans of the engine that calls, at least as large as
        // the layouts say; `y` is both the matrix that is added and the output, of one layout; the workspace is the
        // library's.
        unsafe {
            result::matmul(
                library.handle,
                self.description,
                from_ref(&self.alpha).cast(),
                from_ref(&self.beta).cast(),
                addresses.w as *const c_void,
                w,
                addresses.x as *const c_void,
                x,
                addresses.y as *const c_void,
                y,
                addresses.y as *mut c_void,
                y,
                &raw const algorithm,
                library.workspace.address() as *mut c_void,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        }
        .map_err(matmul_failed("multiply"))
    }
}

impl Drop for Matmul {
    fn drop(&mut self) {
        for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
            // SAFETY: made by `new` and destroyed only here.
            let _ = unsafe { result::destroy_matrix_layout(layout) };
        }
        // SAFETY: made by `new` and destroyed only here.
        let _ = unsafe { result::destroy_matmul_desc(self.description) };
    }
}

struct PreferenceHandle(sys::cublasLtMatmulPreference_t);

impl Drop for PreferenceHandle {
    fn drop(&mut self) {
        // SAFETY: made where this object was and destroyed only here.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

fn data_type(element: ElementType) -> DataType {
    match element {
        ElementType::F32 => DataType::CUDA_R_32F,
        ElementType::F16 => DataType::CUDA_R_16F,
        ElementType::Bf16 => DataType::CUDA_R_16BF,
    }
}
