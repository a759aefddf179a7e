//! Turns failures of the driver and of cuBLASLt into errors of the backend.

use cudarc::cublaslt::result::CublasError;
use cudarc::cublaslt::sys::cublasStatus_t;
use cudarc::driver::{DriverError, sys};

use super::device::describe;
use crate::engine::{BackendError, BackendKind};

/// A failure for which neither the driver nor a library has a message.
pub(super) fn execution(message: impl Into<String>) -> BackendError {
    BackendError::Execution { backend: BackendKind::Cuda, message: message.into() }
}

/// The error that the backend cannot be used on this machine.
pub(super) fn unavailable(reason: String) -> BackendError {
    BackendError::Unavailable { backend: BackendKind::Cuda, reason }
}

/// A failure of the driver. After an error of the device itself, this process can do nothing more with it.
pub(super) fn failed(error: DriverError) -> BackendError {
    let message = describe(&error);
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => BackendError::OutOfMemory { backend: BackendKind::Cuda, message },
        code if ends_the_context(code) => BackendError::DeviceLost { backend: BackendKind::Cuda, message },
        _ => BackendError::Execution { backend: BackendKind::Cuda, message },
    }
}

/// A failure of cuBLASLt while doing `what`.
pub(super) fn matmul_failed(what: &str) -> impl Fn(CublasError) -> BackendError {
    move |error| {
        let (backend, message) = (BackendKind::Cuda, format!("cuBLASLt cannot {what}: {:?}", error.0));
        match error.0 {
            cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => BackendError::OutOfMemory { backend, message },
            // A kernel of the library failed, so the state of the device cannot be trusted.
            cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED => BackendError::DeviceLost { backend, message },
            _ => BackendError::Execution { backend, message },
        }
    }
}

/// Whether the driver refuses all further work in the context after this error ("sticky" in the CUDA programming
/// guide).
pub(in crate::backend) fn ends_the_context(code: sys::CUresult) -> bool {
    use sys::CUresult as Code;
    matches!(
        code,
        Code::CUDA_ERROR_ILLEGAL_ADDRESS
            | Code::CUDA_ERROR_LAUNCH_FAILED
            | Code::CUDA_ERROR_LAUNCH_TIMEOUT
            | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Code::CUDA_ERROR_MISALIGNED_ADDRESS
            | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Code::CUDA_ERROR_INVALID_PC
            | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Code::CUDA_ERROR_ASSERT
            | Code::CUDA_ERROR_ECC_UNCORRECTABLE
            | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | Code::CUDA_ERROR_EXTERNAL_DEVICE
            | Code::CUDA_ERROR_UNKNOWN
    )
}
