//! Agreement of an engine's outputs with the FP32 reference, and task quality.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::backend::{BackendError, Engine, Output};
use crate::graph::Shape;
use crate::input::{Batch, InputStream};
use crate::manifest::schema::{Numerics, Tolerance};
use crate::model::Model;
use crate::plan::Configuration;
use crate::store::record::{NumericsSummary, QualitySummary};

/// Why there is nothing to compare with.
#[derive(Debug, Error)]
pub enum NumericsError {
    /// The reference engine failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
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

/// FP32 outputs of the first few sequences of an input, kept in a file that all policies and batch sizes share.
#[derive(Debug)]
pub struct ReferenceOutputs {
    /// The outputs, one sequence after the other.
    pub output: Output,
}

impl ReferenceOutputs {
    /// Where the reference of `configuration` lives under `dir`: keyed by model, sequence length, input and number of
    /// sequences, so that every backend, policy and batch size shares it.
    pub fn path(_dir: &Path, _configuration: &Configuration, _settings: Numerics) -> PathBuf {
        unimplemented!()
    }

    /// Computes the outputs with the reference backend in FP32 and writes them atomically to `path`.
    ///
    /// # Errors
    /// [`NumericsError`]; nothing half-written is left.
    pub fn compute(
        _path: &Path,
        _model: &std::sync::Arc<Model>,
        _input: &InputStream,
        _sequence: usize,
        _settings: Numerics,
    ) -> Result<(), NumericsError> {
        unimplemented!()
    }

    /// Reads what [`ReferenceOutputs::compute`] wrote.
    ///
    /// # Errors
    /// [`NumericsError::File`] when the file is absent or damaged.
    pub fn read(_path: &Path) -> Result<Self, NumericsError> {
        unimplemented!()
    }
}

/// Counts non-finite values over the whole output, then compares with the reference, then checks the tolerance.
/// Padding is left out of all of it.
pub fn compare(
    _output: &Output,
    _batch: &Batch,
    _reference: Result<&ReferenceOutputs, String>,
    _tolerance: Option<&Tolerance>,
) -> NumericsSummary {
    unimplemented!()
}

/// Scores the engine on its input: accuracy over a labelled file, mean NLL over text windows, or nothing.
///
/// # Errors
/// [`NumericsError`] when the engine or the input fails.
pub fn evaluate(
    _engine: &mut dyn Engine,
    _input: &InputStream,
    _shape: Shape,
    _settings: Numerics,
) -> Result<QualitySummary, NumericsError> {
    unimplemented!()
}
