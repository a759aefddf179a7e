//! Errors of backends and engines.

use thiserror::Error;

use super::BackendKind;
use crate::graph::PolicyError;

/// Why a backend, an engine or an execution failed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum BackendError {
    /// The backend cannot run on this machine or is not part of this build.
    #[error("{backend} is not available: {reason}")]
    Unavailable {
        backend: BackendKind,
        /// Why, and the cure where there is one.
        reason: String,
    },
    /// The backend does not execute this policy.
    #[error("{backend} does not execute policy `{policy}`: {reason}")]
    UnsupportedPolicy { backend: BackendKind, policy: String, reason: String },
    /// The policy does not fit the graph.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Weights could not be loaded.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// The inputs do not fit the engine.
    #[error("inputs do not fit the engine: {0}")]
    Inputs(String),
    /// The device or the library ran out of memory.
    #[error("{backend} ran out of memory: {message}")]
    OutOfMemory {
        backend: BackendKind,
        /// The library's own words.
        message: String,
    },
    /// The device has failed. This process cannot use it any more.
    #[error("{backend} lost its device: {message}")]
    DeviceLost {
        backend: BackendKind,
        /// The driver's own words.
        message: String,
    },
    /// The library failed while executing.
    #[error("{backend} failed: {message}")]
    Execution {
        backend: BackendKind,
        /// The library's own words.
        message: String,
    },
    /// The driver refused an event that times the device.
    #[error("the device's clock failed: {0}")]
    Clock(String),
}

impl BackendError {
    /// The message without the backend's name, for places that already show the name.
    pub fn into_reason(self) -> String {
        match self {
            BackendError::Unavailable { reason, .. } => reason,
            BackendError::Execution { message, .. } => message,
            error => error.to_string(),
        }
    }
}
