//! Agreement of an engine's outputs with the FP32 reference, numerical failures and where they begin, and task quality.

mod compare;
mod forward_references;
mod forwards;
mod quality;
mod reference;
mod tolerance;

use std::path::PathBuf;

use thiserror::Error;

pub use compare::{ComparisonSettings, compare};
pub use forward_references::{ForwardReferences, PathOf};
pub use forwards::{Forwards, compare_forward};
pub use quality::{Evaluation, evaluate, negative_log_likelihood};
pub use reference::{Part, ReferenceOutputs, ReferenceSource};
pub use tolerance::limit_forwards;

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
    /// The labels of the input's file are no classes of the model.
    #[error("{0}")]
    Labels(String),
    /// The reference file could not be read or written.
    #[error("{path}: {message}")]
    File { path: PathBuf, message: String },
}
