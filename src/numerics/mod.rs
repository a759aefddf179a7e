//! Agreement of an engine's outputs with the FP32 reference, numerical failures and where they begin, and task quality.

mod compare;
mod forward_references;
mod forwards;
mod quality;
mod reference;

use std::path::PathBuf;

use thiserror::Error;

pub use compare::{compare, limit_forwards};
pub use forward_references::{ForwardReferences, PathOf};
pub use forwards::Forwards;
pub use quality::{NO_PREDICTION, evaluate, negative_log_likelihood};
pub use reference::{Part, ReferenceOutputs, ReferenceSource};

/// Why there is nothing to compare with.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum NumericsError {
    /// An engine failed.
    #[error(transparent)]
    Backend(#[from] crate::engine::BackendError),
    /// The input failed.
    #[error(transparent)]
    Input(#[from] crate::input::InputError),
    /// The reference file could not be read or written.
    #[error("{path}: {message}")]
    File { path: PathBuf, message: String },
}
