//! The built-in CPU backend: interprets the graph. It runs FP32 directly. It emulates other policies in FP32, with
//! every rounding of their definition. FP64 is the oracle.

mod activation;
mod buffer_pool;
mod elementwise;
mod examine;
mod kernels;
mod observer;
mod product;
mod program;
mod real;
mod rounding;
mod weights;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

use crate::engine::checks::{check_batch, check_shape, is_fp32, output_dims};
use crate::engine::{
    Availability, Backend, BackendError, BackendKind, Build, BuildRequest, Engine, EngineDescription, Examination,
    MemoryBreakdown, Output,
};
use crate::graph::{Graph, PrecisionPolicy, Shape};
use crate::input::Batch;
use crate::model::Model;
use examine::Examiner;
use kernels::Kernels;
use observer::{Observer, Unobserved};
use program::Program;
use weights::RoundedWeights;

/// Weights that the next engine of the same model and policy reuses.
type CachedWeights = (Arc<Model>, PrecisionPolicy, Arc<RoundedWeights<f32>>);

/// Builds CPU engines. It keeps the weights of the last model and policy, so that engines of many shapes share them, and policies
/// that read the same weights in the same formats.
#[derive(Debug, Default)]
pub struct ReferenceBackend {
    loaded: Mutex<Option<CachedWeights>>,
}

impl ReferenceBackend {
    fn weights(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<Arc<RoundedWeights<f32>>, BackendError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.as_ref() {
            Some((held, kept, weights)) if Arc::ptr_eq(held, model) && kept == policy => return Ok(weights.clone()),
            _ => {}
        }
        // What the new policy does not read is dropped first: memory may not have room for two models.
        let known = match loaded.take() {
            Some((held, _, weights)) if Arc::ptr_eq(&held, model) => Arc::unwrap_or_clone(weights),
            _ => RoundedWeights::default(),
        };
        let weights = Arc::new(RoundedWeights::load(model, policy, known)?);
        *loaded = Some((model.clone(), policy.clone(), weights.clone()));
        Ok(weights)
    }
}

impl Backend for ReferenceBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Reference
    }

    fn availability(&self) -> Result<Availability, BackendError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Availability::executes(format!("{} on {threads} cores", library())))
    }

    fn load(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<(), BackendError> {
        self.weights(model, policy).map(|_| ())
    }

    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError> {
        let BuildRequest { model, policy, shape, threads, .. } = request;
        check_shape(&model.graph, *shape)?;
        let program = Program::new(&model.graph, policy, *shape, self.weights(model, policy)?)?;
        Ok(Build::of(ReferenceEngine {
            runner: Runner { program, pool: pool(*threads)?, shape: *shape, batch: None },
            model: model.clone(),
            emulated: !is_fp32(&model.graph, policy)?,
            threads: *threads,
        }))
    }
}

fn pool(threads: usize) -> Result<ThreadPool, BackendError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| BackendError::Execution { backend: BackendKind::Reference, message: error.to_string() })
}

fn library() -> String {
    let vectors = if cfg!(target_arch = "x86_64") {
        let features = [("avx512f", is_avx512f()), ("avx2", is_avx2())];
        features.into_iter().find(|(_, found)| *found).map_or("sse2", |(name, _)| name)
    } else {
        std::env::consts::ARCH
    };
    format!("reference {} ({vectors})", env!("CARGO_PKG_VERSION"))
}

#[cfg(target_arch = "x86_64")]
fn is_avx512f() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}
#[cfg(target_arch = "x86_64")]
fn is_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}
#[cfg(not(target_arch = "x86_64"))]
fn is_avx512f() -> bool {
    false
}
#[cfg(not(target_arch = "x86_64"))]
fn is_avx2() -> bool {
    false
}

/// A program with its threads and its bound batch.
struct Runner<T> {
    program: Program<T>,
    pool: ThreadPool,
    shape: Shape,
    batch: Option<Batch>,
}

impl<T: Kernels> Runner<T> {
    fn bind(&mut self, graph: &Graph, batch: &Batch) -> Result<(), BackendError> {
        check_batch(graph, self.shape, batch)?;
        self.batch = Some(batch.clone());
        Ok(())
    }

    fn run(&mut self, observer: &mut impl Observer<T>) -> Result<(), BackendError> {
        let Runner { program, pool, batch, .. } = self;
        let Some(batch) = batch.as_ref() else {
            return Err(BackendError::Inputs("no batch has been bound".to_owned()));
        };
        pool.install(|| program.run(batch, observer));
        Ok(())
    }
}

struct ReferenceEngine {
    runner: Runner<f32>,
    model: Arc<Model>,
    emulated: bool,
    threads: usize,
}

impl fmt::Debug for ReferenceEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceEngine").field("shape", &self.runner.shape).finish_non_exhaustive()
    }
}

impl Engine for ReferenceEngine {
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError> {
        self.runner.bind(&self.model.graph, batch)
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        self.runner.run(&mut Unobserved)
    }

    fn examine(&mut self) -> Result<Option<Examination>, BackendError> {
        let Some(batch) = self.runner.batch.clone() else {
            return Err(BackendError::Inputs("no batch has been bound".to_owned()));
        };
        let mut examiner = Examiner::new(&self.model.graph, &batch);
        self.runner.run(&mut examiner)?;
        Ok(Some(examiner.finish()))
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        let values = self.runner.program.output().to_vec();
        let (rows, width) = output_dims(&self.model.graph, self.runner.shape);
        Ok(Output { kind: self.model.graph.output_kind, rows, width, values })
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown {
            weights_bytes: Some(self.runner.program.weight_bytes()),
            activations_bytes: Some(self.runner.program.activation_bytes()),
            workspace_bytes: Some(self.runner.program.workspace_bytes()),
            device_bytes: None,
        }
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription {
            library: library(),
            device: "cpu".to_owned(),
            threads: Some(self.threads),
            emulated: self.emulated,
        }
    }
}

/// FP64 outputs of a batch, `[rows, width]`. All other outputs are compared with them.
///
/// # Errors
/// [`BackendError`] when weights cannot be read or the batch does not fit.
pub fn oracle_outputs(model: &Model, batch: &Batch, threads: usize) -> Result<Vec<f64>, BackendError> {
    check_shape(&model.graph, batch.shape)?;
    let policy = PrecisionPolicy::oracle();
    let weights = Arc::new(RoundedWeights::<f64>::load(model, &policy, RoundedWeights::default())?);
    let program = Program::new(&model.graph, &policy, batch.shape, weights)?;
    let mut runner = Runner { program, pool: pool(threads)?, shape: batch.shape, batch: None };
    runner.bind(&model.graph, batch)?;
    runner.run(&mut Unobserved)?;
    Ok(runner.program.output().to_vec())
}
