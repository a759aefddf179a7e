//! The seam between the runner and the libraries that execute a graph.
//!
//! A backend builds engines; an engine binds inputs, enqueues work and hands out its outputs. Neither owns a clock.

mod build;
pub mod cuda;
mod examination;
mod fit;
pub mod library;
pub mod mock;
pub mod onnxruntime;
pub mod reference;
#[cfg_attr(not(feature = "tensorrt"), path = "tensorrt_absent.rs")]
pub mod tensorrt;

use std::fmt;
use std::sync::Arc;

use cudarc::driver::CudaStream;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use build::{Availability, Build, BuildProgress, BuildReport, ProgressSink, Target, UnknownTarget};
pub use examination::{Examination, LayerNormTally, OpTally, TensorTally};

use crate::graph::{OutputKind, PolicyError, PrecisionPolicy, Shape};
use crate::input::Batch;
use crate::model::Model;

/// The libraries an experiment can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Own interpreter on the CPU: FP32, the FP64 oracle, and bit-faithful emulation of the other policies.
    Reference,
    /// ONNX Runtime on the CPU.
    OnnxRuntime,
    /// Own CUDA kernels and cuBLASLt.
    Cuda,
    /// TensorRT.
    TensorRt,
    /// A fake engine with known outputs, for testing the runner itself.
    Mock,
}

impl BackendKind {
    /// Every backend a manifest may name, in the order of the tables.
    pub const ALL: [BackendKind; 5] =
        [BackendKind::Reference, BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt, BackendKind::Mock];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Reference => "reference",
            BackendKind::OnnxRuntime => "onnxruntime",
            BackendKind::Cuda => "cuda",
            BackendKind::TensorRt => "tensorrt",
            BackendKind::Mock => "mock",
        }
    }

    /// Whether this backend can execute `policy` at all, on the best of machines. Static knowledge: asking it touches
    /// no device, so a manifest can be checked on a laptop.
    ///
    /// # Errors
    /// The reason, as a sentence fragment.
    pub fn supports(self, policy: &PrecisionPolicy) -> Result<(), String> {
        match self {
            BackendKind::OnnxRuntime => onnxruntime::supports(policy),
            BackendKind::Cuda => cuda::supports(policy),
            _ => Ok(()),
        }
    }

    /// Whether its engines are built ahead of time for a [`Target`].
    pub fn has_targets(self) -> bool {
        self == BackendKind::TensorRt
    }

    /// Where its engines execute.
    pub fn device(self) -> DeviceKind {
        match self {
            BackendKind::Reference | BackendKind::OnnxRuntime | BackendKind::Mock => DeviceKind::Cpu,
            BackendKind::Cuda | BackendKind::TensorRt => DeviceKind::Gpu,
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an engine executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Host processor.
    Cpu,
    /// CUDA device.
    Gpu,
}

/// Why a backend, an engine or an execution is not to be had.
#[derive(Debug, Error)]
pub enum BackendError {
    /// The backend cannot run on this machine or is not part of this build.
    #[error("{backend} is not available: {reason}")]
    Unavailable {
        /// Which one.
        backend: BackendKind,
        /// Why, and the cure where there is one.
        reason: String,
    },
    /// The backend does not execute this policy.
    #[error("{backend} does not execute policy `{policy}`: {reason}")]
    UnsupportedPolicy {
        /// Which one.
        backend: BackendKind,
        /// Policy name.
        policy: String,
        /// Why.
        reason: String,
    },
    /// The policy does not fit the graph.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Weights could not be loaded.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// Inputs that do not fit the engine.
    #[error("inputs do not fit the engine: {0}")]
    Inputs(String),
    /// The device or the library ran out of memory.
    #[error("{backend} ran out of memory: {message}")]
    OutOfMemory {
        /// Which one.
        backend: BackendKind,
        /// The library's own words.
        message: String,
    },
    /// The device has failed: nothing more can be done with it in this process.
    #[error("{backend} lost its device: {message}")]
    DeviceLost {
        /// Which one.
        backend: BackendKind,
        /// The driver's own words.
        message: String,
    },
    /// The library failed while executing.
    #[error("{backend} failed: {message}")]
    Execution {
        /// Which one.
        backend: BackendKind,
        /// The library's own words.
        message: String,
    },
    /// The driver refused an event that times the device.
    #[error("the device's clock failed: {0}")]
    Clock(String),
}

impl BackendError {
    /// What it says, without the backend's name where the place it is printed in has that already.
    pub fn into_reason(self) -> String {
        match self {
            BackendError::Unavailable { reason, .. } => reason,
            BackendError::Execution { message, .. } => message,
            error => error.to_string(),
        }
    }
}

/// What to build an engine for.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The model: its graph and where its weights are.
    pub model: Arc<Model>,
    /// Precision policy.
    pub policy: PrecisionPolicy,
    /// Batch size and padded sequence length.
    pub shape: Shape,
    /// CPU threads, where the backend uses them.
    pub threads: usize,
    /// The GPU generation to build for, where the backend builds ahead of time.
    pub target: Target,
    /// Who wants to know how far the build has come.
    pub progress: ProgressSink,
}

impl BuildRequest {
    /// A build for this machine that nobody watches.
    pub fn new(model: Arc<Model>, policy: PrecisionPolicy, shape: Shape, threads: usize) -> Self {
        BuildRequest { model, policy, shape, threads, target: Target::default(), progress: ProgressSink::default() }
    }
}

/// Bytes an engine holds, by purpose. Sizes the backend cannot know are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryBreakdown {
    /// Parameters as stored.
    pub weights_bytes: Option<u64>,
    /// Intermediate tensors and outputs.
    pub activations_bytes: Option<u64>,
    /// Scratch of libraries.
    pub workspace_bytes: Option<u64>,
    /// Growth of the device's used memory since before the engine's parts were made, by the driver's count. It holds the
    /// kernels' code too, and what other processes took or gave back meanwhile.
    #[serde(default)]
    pub device_bytes: Option<u64>,
}

/// The fastest a device was seen to do the two things a pass consists of, in the process that measures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations per second of a large product in the formats of the engine's linear layers.
    pub flops_per_s: f64,
    /// Bytes per second, read and written, of a large copy.
    pub bytes_per_s: f64,
}

/// What an engine says of itself, for the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineDescription {
    /// Library and version, e.g. `reference 0.1.0 (gemm, avx512f)`.
    pub library: String,
    /// Device name.
    pub device: String,
    /// CPU threads used, if any.
    pub threads: Option<usize>,
    /// The policy's formats are emulated by rounding, so the row's time says nothing about hardware with that format.
    pub emulated: bool,
}

/// Outputs copied to the host. `values` is `[rows, width]` with padding rows included.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// What a row is.
    pub kind: OutputKind,
    /// Output vectors: `batch * sequence` or, for class logits, `batch`.
    pub rows: usize,
    /// Elements of one vector.
    pub width: usize,
    /// Row-major elements, widened to f32. (The FP64 oracle has its own entry point.)
    pub values: Vec<f32>,
}

/// An executable for one graph, policy and shape.
pub trait Engine {
    /// Copies a batch in. Not timed.
    ///
    /// # Errors
    /// [`BackendError::Inputs`] when the batch is not of the engine's shape.
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError>;

    /// Starts one forward pass over the bound batch without waiting for it: the timed path.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn enqueue(&mut self) -> Result<(), BackendError>;

    /// Waits for everything enqueued. CPU engines have nothing to wait for.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn synchronize(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    /// The CUDA stream that [`Engine::enqueue`] puts its work on, for the runner to record events there. `None` on a CPU.
    fn stream(&self) -> Option<&Arc<CudaStream>> {
        None
    }

    /// The outputs of the last pass, copied to the host. Not timed.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn outputs(&mut self) -> Result<Output, BackendError>;

    /// One more pass over the bound batch, in which every tensor is looked at; [`Engine::outputs`] then has its outputs.
    /// `None` where the library does not show its tensors, and nothing is executed.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn examine(&mut self) -> Result<Option<Examination>, BackendError> {
        Ok(None)
    }

    /// What the first execution took beyond a later one, seconds, where the library compiles device code at run time;
    /// known once it has been executed.
    fn first_run_s(&self) -> Option<f64> {
        None
    }

    /// What its device can do at most, where that has been measured.
    fn ceilings(&self) -> Option<Ceilings> {
        None
    }

    /// What it holds.
    fn memory(&self) -> MemoryBreakdown;

    /// What it is.
    fn describe(&self) -> EngineDescription;
}

/// A library that builds engines.
pub trait Backend {
    /// Which one.
    fn kind(&self) -> BackendKind;

    /// Whether it can build and execute on this machine.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] with the reason and the cure when it can do neither.
    fn availability(&self) -> Result<Availability, BackendError>;

    /// Reads the model's weights in the policy's formats and keeps them for the engines built next, so that loading is
    /// timed apart from building. Building without it loads on demand.
    ///
    /// # Errors
    /// Any [`BackendError`].
    fn load(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<(), BackendError> {
        let _ = (model, policy);
        Ok(())
    }

    /// Builds an engine. May take minutes; timed apart from execution. An engine that was built but cannot be executed
    /// on this machine is no error: [`Build::engine`] has the reason.
    ///
    /// # Errors
    /// Any [`BackendError`]; the runner turns it into the row's reason.
    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError>;
}

/// The backend of a kind, or why this build does not have it.
///
/// # Errors
/// [`BackendError::Unavailable`] for kinds this build does not contain.
pub fn backend(kind: BackendKind) -> Result<Box<dyn Backend>, BackendError> {
    match kind {
        BackendKind::Reference => Ok(Box::new(reference::ReferenceBackend::default())),
        BackendKind::Mock => Ok(Box::new(mock::MockBackend)),
        BackendKind::OnnxRuntime => Ok(Box::new(onnxruntime::OnnxRuntimeBackend::default())),
        BackendKind::TensorRt => tensorrt::backend(),
        BackendKind::Cuda => Ok(Box::new(cuda::CudaBackend::default())),
    }
}
