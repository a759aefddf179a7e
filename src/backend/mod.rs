//! Every backend by its kind: the one place that knows them all.

pub mod cuda;
mod device_queue;
pub mod mock;
pub mod onnxruntime;
pub mod reference;
#[cfg_attr(not(feature = "tensorrt"), path = "tensorrt_absent.rs")]
pub mod tensorrt;

use crate::engine::{Backend, BackendError, BackendKind};
use crate::graph::{Graph, PrecisionPolicy, Shape};

/// The backend of a kind.
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

/// Whether a backend can execute `policy` on any machine. The check touches no device, so that it works on a laptop.
///
/// # Errors
/// The reason, as a sentence fragment.
pub fn supports(kind: BackendKind, policy: &PrecisionPolicy) -> Result<(), String> {
    match kind {
        BackendKind::OnnxRuntime => onnxruntime::supports(policy),
        BackendKind::Cuda => cuda::supports(policy),
        BackendKind::Reference | BackendKind::TensorRt | BackendKind::Mock => Ok(()),
    }
}

/// Whether a backend can compute every operation of a model, as far as no device is needed to say so.
///
/// # Errors
/// [`BackendError`] naming the operation.
pub fn lowers(kind: BackendKind, graph: &Graph, policy: &PrecisionPolicy, shape: Shape) -> Result<(), BackendError> {
    match kind {
        BackendKind::Cuda => cuda::lowers(graph, policy, shape),
        _ => Ok(()),
    }
}
