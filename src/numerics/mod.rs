//! Agreement of an engine's outputs with the FP32 reference, what fails in a pass and where it begins, and task quality.

mod compare;
mod forwards;
mod quality;
mod reference;

use std::path::PathBuf;

use thiserror::Error;

pub use compare::compare;
pub use forwards::Forwards;
pub use quality::{NO_PREDICTION, evaluate, negative_log_likelihood};
pub use reference::ReferenceOutputs;

/// Why there is nothing to compare with.
#[derive(Debug, Error)]
pub enum NumericsError {
    /// An engine failed.
    #[error(transparent)]
    Backend(#[from] crate::engine::BackendError),
    /// The input failed.
    #[error(transparent)]
    Input(#[from] crate::input::InputError),
    /// The reference file could not be read or written.
    #[error("{path}: {message}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}
