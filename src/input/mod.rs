//! Token ids for an engine: random, windows of a text, or labelled SST-2 sentences.

use std::path::Path;

use thiserror::Error;

use crate::graph::Shape;
use crate::manifest::schema::InputSource;
use crate::model::Model;

/// Token ids of one forward pass. Row `i` depends on the source, the sequence length and `i`, never on the batch size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Batch size and padded sequence length.
    pub shape: Shape,
    /// `[batch, sequence]`, row-major; padding holds the pad id.
    pub ids: Vec<u32>,
    /// Tokens per row, 1 to `sequence`; the rest is padding.
    pub lengths: Vec<usize>,
    /// Class of each row, for labelled inputs.
    pub labels: Option<Vec<u8>>,
}

/// An input that cannot be used.
#[derive(Debug, Error)]
pub enum InputError {
    /// A dataset is absent.
    #[error("stub")]
    Stub,
}

/// A source of batches for one model.
#[derive(Debug)]
pub struct InputStream {}

impl InputStream {
    /// Opens the source: reads and tokenises its file, if it has one.
    ///
    /// # Errors
    /// [`InputError`] naming the file and the cure.
    pub fn open(_source: &InputSource, _base_dir: &Path, _model: &Model) -> Result<InputStream, InputError> {
        unimplemented!()
    }

    /// Rows `first .. first + shape.batch`, wrapping around where the source is finite.
    ///
    /// # Errors
    /// [`InputError`] where the source holds too little text for one row.
    pub fn batch(&self, _shape: Shape, _first: usize) -> Result<Batch, InputError> {
        unimplemented!()
    }
}
