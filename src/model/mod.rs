//! A checkpoint turned into a graph, with its weights readable tensor by tensor.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::graph::{Graph, ParamId};
use crate::manifest::schema::ModelSource;

/// What a person wants out of the model. `Natural` is the head the checkpoint was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// Logits where the checkpoint has a head for them, hidden states otherwise.
    #[default]
    Natural,
    /// Last hidden state.
    Hidden,
}

/// A model ready to be built into engines.
#[derive(Debug)]
pub struct Model {
    /// Manifest name.
    pub name: String,
    /// Typed operations.
    pub graph: Graph,
    /// `random weights, seed 1` or `checkpoint sha256 1234…`, for labels.
    pub provenance: String,
}

/// A checkpoint that cannot be used, and what to do about it.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Model {
    /// Opens a model: reads its configuration and builds its graph, but reads no weights yet.
    ///
    /// # Errors
    /// [`ModelError`] naming the file, key or tensor.
    pub fn open(_name: &str, _source: &ModelSource, _base_dir: &Path, _head: Head) -> Result<Model, ModelError> {
        unimplemented!()
    }

    /// One parameter as `[out, in]` f32, converted from the checkpoint's dtype.
    ///
    /// # Errors
    /// [`ModelError`] naming the tensor.
    pub fn param(&self, _id: ParamId) -> Result<Vec<f32>, ModelError> {
        unimplemented!()
    }
}
