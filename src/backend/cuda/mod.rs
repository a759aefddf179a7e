//! The native CUDA backend: runs the graph with the kernels of this folder and with cuBLASLt, as one CUDA graph. It
//! needs a driver, NVRTC and cuBLASLt at run time, and nothing at build time.
//!
//! # From a policy to a CUDA graph
//!
//! An engine is built in one direction:
//!
//! | step | input | output | where |
//! |---|---|---|---|
//! | lower | graph, precision policy, shape | [stages](stage): what is computed, in which formats | [`lower`] |
//! | call | stages on a device | calls of kernels and of cuBLASLt, with the choices for each | [`calls`] |
//! | tune | the choices | the fastest choice for each group of stages | [`tune`] |
//! | capture | calls, compiled and loaded | one CUDA graph | [`capture`] |
//!
//! [`engine`] runs these steps in order and then executes the CUDA graph.
//!
//! # Where a policy becomes a kernel
//!
//! In two places. [`lower`] reads the policy's rounding of every operation and decides which operations are fused, and
//! whether the fused kernel computes in FP32 or rounds to FP16 at every step. [`calls`] then picks the source of the kernel
//! from the stage and the types of its elements:
//!
//! | stage | kernels |
//! |---|---|
//! | linear layer of 16-bit operands, FP32 sums | cuBLASLt, `gemm_mma.cu` or, on Hopper, `gemm_wgmma.cu`: [`tune`] decides |
//! | any other linear layer | cuBLASLt |
//! | fused attention of 16-bit tensors | `attention.cu` or, on Hopper, `attention_wgmma.cu`: [`tune`] decides |
//! | the same, rounding to FP16 at every step | `attention_halves.cu` or, on Hopper, `attention_halves_wgmma.cu` |
//! | fused attention of FP32 tensors | `attention_f32.cu`, with products in FP32 or TF32 |
//! | a packed QKV projection and its attention, both of 16-bit tensors | the two, or on Hopper `qkv_attention.cu` or `qkv_cluster.cu`: [`tune`] decides |
//! | layer norm or embedding that computes in FP32 | `layer_norm.cu` and `embedding.cu` |
//! | layer norm that rounds to FP16 at every step | `layer_norm_halves.cu` |
//! | all other stages | `stepwise.cu` with the functions of `activation.cu`, which rounds after every operation; products of heads by cuBLASLt |
//!
//! # Examination
//!
//! [`examine`] runs a forward operation by operation (`stepwise.cu`, `head_product.cu`) and tallies the output of each
//! (`tally.cu`), where every operation can have one: under `fp16`, whose fused kernels have the same bits. Nothing of it is
//! timed, and its memory is freed at the end.
//!
//! # Kernels
//!
//! The sources in `kernels/` are compiled by NVRTC for the GPU at hand. What a kernel is specialised to are its template
//! arguments: sizes of tiles and rows, formats, and the activation of an epilogue. `catalogue.rs` lists which files form a source,
//! and `compile.rs` compiles them. Each architecture has its own tiles: `calls/tiles/sm80.rs` and
//! `calls/tiles/sm90.rs`.

mod arena;
pub mod calls;
pub mod capture;
mod catalogue;
mod ceiling;
mod compile;
pub(in crate::backend) mod device;
mod element;
pub mod engine;
mod error;
pub mod examine;
mod gpu;
mod launch;
mod libraries;
pub mod lower;
mod matmul;
mod memory;
pub mod stage;
pub mod tune;
mod weights;

#[cfg(test)]
mod device_tests;

#[cfg(feature = "tensorrt")]
pub(in crate::backend) use error::ends_the_context;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::engine::checks::check_shape;
use crate::engine::{Availability, Backend, BackendError, BackendKind, Build, BuildReport, BuildRequest, Engine};
use crate::graph::{Graph, PrecisionPolicy, Shape};
use crate::model::Model;
use engine::{CudaEngine, EngineParts};
use error::unavailable;
use examine::StepwiseForward;
use gpu::GpuRuntime;
use stage::{Stages, WeightKey};
use weights::DeviceWeights;

/// Whether any device can execute a policy.
///
/// # Errors
/// The reason, as a sentence fragment.
pub fn supports(policy: &PrecisionPolicy) -> Result<(), String> {
    lower::supports(policy)
}

/// Whether there are kernels for every operation of a model under a policy.
///
/// # Errors
/// [`BackendError::UnsupportedPolicy`] naming the operation, [`BackendError::Policy`] when the policy does not fit the graph.
pub fn lowers(graph: &Graph, policy: &PrecisionPolicy, shape: Shape) -> Result<(), BackendError> {
    lower::lower(graph, policy, shape).map(drop)
}

/// Weights that the next engine of the same model and policy reuses.
#[derive(Debug)]
struct CachedDeviceWeights {
    model: Arc<Model>,
    policy: PrecisionPolicy,
    weights: Rc<DeviceWeights>,
}

/// Builds engines on the first CUDA device.
#[derive(Debug, Default)]
pub struct CudaBackend {
    /// Opened once. Only the next process sees a driver that is installed later.
    gpu: OnceCell<Result<Rc<GpuRuntime>, String>>,
    loaded: RefCell<Option<CachedDeviceWeights>>,
}

impl CudaBackend {
    fn gpu(&self) -> Result<Rc<GpuRuntime>, BackendError> {
        if let Some(opened) = self.gpu.get() {
            return opened.clone().map_err(unavailable);
        }
        match GpuRuntime::open() {
            Ok(gpu) => self.gpu.get_or_init(|| Ok(Rc::new(gpu))).clone().map_err(unavailable),
            Err(BackendError::Unavailable { reason, .. }) => {
                self.gpu.get_or_init(|| Err(reason)).clone().map_err(unavailable)
            }
            // Any other error may be temporary: a device that is full now may have room for the next engine.
            Err(error) => Err(error),
        }
    }

    fn weights(
        &self,
        gpu: &GpuRuntime,
        model: &Arc<Model>,
        policy: &PrecisionPolicy,
        stages: &Stages,
    ) -> Result<Rc<DeviceWeights>, BackendError> {
        let keys: BTreeSet<WeightKey> = stages.stages.iter().flat_map(|stage| stage.weights()).collect();
        let mut loaded = self.loaded.borrow_mut();
        match loaded.as_ref() {
            Some(held) if Arc::ptr_eq(&held.model, model) && held.policy == *policy && held.weights.hold(&keys) => {
                return Ok(held.weights.clone());
            }
            _ => {}
        }
        // Drop the old weights first: the device may not have room for two models.
        *loaded = None;
        let weights = Rc::new(DeviceWeights::load(&gpu.device.context, model, &keys)?);
        *loaded = Some(CachedDeviceWeights { model: model.clone(), policy: policy.clone(), weights: weights.clone() });
        Ok(weights)
    }
}

impl Backend for CudaBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Cuda
    }

    fn availability(&self) -> Result<Availability, BackendError> {
        let gpu = self.gpu()?;
        let version = |library: Result<&libraries::LoadedLibrary, String>| {
            library.map_or_else(|reason| reason, |l| l.version.clone())
        };
        let (cublaslt, nvrtc) = (version(libraries::cublaslt()), version(libraries::nvrtc()));
        Ok(Availability::executes(format!("{} (cuBLASLt {cublaslt}, NVRTC {nvrtc})", gpu.device.describe())))
    }

    fn load(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<(), BackendError> {
        let gpu = self.gpu()?;
        // The weights do not depend on the shape.
        let stages = lower::lower(&model.graph, policy, Shape { batch: 1, sequence: 1 })?;
        self.weights(&gpu, model, policy, &stages).map(|_| ())
    }

    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError> {
        check_shape(&request.model.graph, request.shape)?;
        let gpu = self.gpu()?;
        let stages = lower::lower(&request.model.graph, &request.policy, request.shape)?;
        let weights = self.weights(&gpu, &request.model, &request.policy, &stages)?;
        let stepwise = lower::lower_stepwise(&request.model.graph, &request.policy, request.shape)?;
        let stepwise = StepwiseForward::new(stepwise);
        let engine = CudaEngine::build(EngineParts { gpu, weights, stages, stepwise }, request)?;
        let report = BuildReport { engine_sha256: Some(engine.digest().to_owned()), ..BuildReport::default() };
        let engine: Box<dyn Engine> = Box::new(engine);
        Ok(Build { report, engine: Ok(engine) })
    }
}
