//! The native CUDA backend: the graph, fused where the policy allows it, executed by own kernels and cuBLASLt as one CUDA
//! graph. It needs a driver, NVRTC and cuBLASLt at run time, and nothing at build time.
//!
//! One direction: the graph and a policy become stages ([`lower`]), stages become calls ([`calls`]) for the kernels chosen
//! by timing ([`tune`]), calls are compiled, loaded and captured ([`engine`]).

mod arena;
mod calls;
pub(in crate::backend) mod capture;
mod catalogue;
mod ceiling;
mod compile;
pub(in crate::backend) mod device;
mod element;
mod engine;
mod error;
mod gpu;
mod launch;
mod libraries;
mod lower;
mod matmul;
mod memory;
mod stage;
mod tune;
mod weights;

#[cfg(test)]
mod device_tests;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::fit::check_shape;
use super::{Availability, Backend, BackendError, BackendKind, Build, BuildReport, BuildRequest, Engine};
use crate::graph::{PrecisionPolicy, Shape};
use crate::model::Model;
use engine::{CudaEngine, EngineParts};
use error::unavailable;
use gpu::GpuRuntime;
use stage::{Stages, WeightKey};
use weights::DeviceWeights;

/// Whether a policy can be executed on any device.
///
/// # Errors
/// The reason, as a sentence fragment.
pub fn supports(policy: &PrecisionPolicy) -> Result<(), String> {
    lower::supports(policy)
}

/// Weights kept for the next engine of the same model and policy.
#[derive(Debug)]
struct CachedDeviceWeights {
    model: Arc<Model>,
    policy: PrecisionPolicy,
    weights: Rc<DeviceWeights>,
}

/// Builds engines on the first CUDA device.
#[derive(Debug, Default)]
pub struct CudaBackend {
    /// Opened once: a driver that comes later is seen by the next process.
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
            // A device that is full now may have room for the next engine.
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
        // The old weights go first: two models need not fit.
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
        // The shape decides nothing about the weights.
        let stages = lower::lower(&model.graph, policy, Shape { batch: 1, sequence: 1 })?;
        self.weights(&gpu, model, policy, &stages).map(|_| ())
    }

    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError> {
        check_shape(&request.model.graph, request.shape)?;
        let gpu = self.gpu()?;
        let stages = lower::lower(&request.model.graph, &request.policy, request.shape)?;
        let weights = self.weights(&gpu, &request.model, &request.policy, &stages)?;
        let engine = CudaEngine::build(EngineParts { gpu, weights, stages }, request)?;
        let report = BuildReport { engine_sha256: Some(engine.digest().to_owned()), ..BuildReport::default() };
        let engine: Box<dyn Engine> = Box::new(engine);
        Ok(Build { report, engine: Ok(engine) })
    }
}
