//! Checks shared by all backends: whether a shape fits the model and a batch fits the engine, the size of the output,
//! whether a policy rounds at all, and the meaning of a failed export.

use super::{BackendError, BackendKind};
use crate::graph::{Format, Graph, PolicyError, PrecisionPolicy, Shape};
use crate::input::Batch;
use crate::onnx::ExportError;

/// Refuses a shape that the model does not allow, before anything is allocated for it.
pub(crate) fn check_shape(graph: &Graph, shape: Shape) -> Result<(), BackendError> {
    let positions = graph.dimensions.positions;
    if shape.batch == 0 || shape.sequence == 0 || shape.sequence > positions {
        let Shape { batch, sequence } = shape;
        return Err(BackendError::Inputs(format!(
            "a batch of {batch} with {sequence} tokens a row, where the model's {positions} positions allow 1 to {positions}"
        )));
    }
    Ok(())
}

/// Refuses a batch that would read outside the engine's tensors.
pub(crate) fn check_batch(graph: &Graph, shape: Shape, batch: &Batch) -> Result<(), BackendError> {
    check_rows(IdRange::of(graph), shape, batch)
}

/// What a model embeds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdRange {
    /// Number of token ids.
    pub vocabulary: usize,
    /// Number of token types; 0 of a model without.
    pub token_types: usize,
}

impl IdRange {
    /// That of a graph.
    pub fn of(graph: &Graph) -> Self {
        IdRange { vocabulary: graph.dimensions.vocabulary, token_types: graph.token_types() }
    }
}

/// Like [`check_batch`], for an engine that has dropped its graph.
pub(crate) fn check_rows(range: IdRange, shape: Shape, batch: &Batch) -> Result<(), BackendError> {
    let IdRange { vocabulary, token_types } = range;
    let refuse = |message: String| Err(BackendError::Inputs(message));
    if batch.shape != shape || batch.ids.len() != shape.tokens() || batch.lengths.len() != shape.batch {
        let (engine, batch) = (format_args!("{}x{}", shape.batch, shape.sequence), batch.shape);
        return refuse(format!("a batch of {}x{} for an engine of {engine}", batch.batch, batch.sequence));
    }
    if let Some(length) = batch.lengths.iter().find(|&&length| length == 0 || length > shape.sequence) {
        return refuse(format!("a row of {length} tokens, where 1 to {} are allowed", shape.sequence));
    }
    if let Some(types) = &batch.token_types {
        if types.len() != batch.ids.len() {
            return refuse(format!("{} token types for {} tokens", types.len(), batch.ids.len()));
        }
        if let Some(of) = types.iter().find(|&&of| of as usize >= token_types) {
            return refuse(format!("token type {of}, where the model has {token_types} types"));
        }
    }
    match batch.ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => refuse(format!("token id {id} is outside the vocabulary of {vocabulary}")),
        None => Ok(()),
    }
}

/// Types of the batch's tokens for an engine that has them as an input; `None` for one that has not, whose tokens are all of
/// type 0.
pub(crate) fn token_types(batch: &Batch, is_input: bool) -> Result<Option<Vec<u32>>, BackendError> {
    match (&batch.token_types, is_input) {
        (Some(_), false) => Err(BackendError::Inputs(
            "a batch with token types for an engine that was built without them as an input".to_owned(),
        )),
        (None, false) => Ok(None),
        (types, true) => Ok(Some(types.clone().unwrap_or_else(|| vec![0; batch.ids.len()]))),
    }
}

/// Number of rows and width of the graph's output, seen as a list of vectors.
pub(crate) fn output_dims(graph: &Graph, shape: Shape) -> (usize, usize) {
    let dims = graph.value(graph.output).shape.dims(shape);
    let width = dims.last().copied().unwrap_or(1);
    (dims.iter().product::<usize>() / width, width)
}

/// Whether every op computes, accumulates and stores in FP32, so that nothing is rounded to another format.
pub(crate) fn is_fp32(graph: &Graph, policy: &PrecisionPolicy) -> Result<bool, PolicyError> {
    let fp32 = |format| matches!(format, Format::Fp32);
    Ok(graph.roundings(policy)?.iter().all(|r| fp32(r.compute) && fp32(r.accumulate) && fp32(r.store)))
}

/// The backend error for a failed export. A shape that does not fit the model is an input error.
pub(crate) fn export_failed(backend: BackendKind, error: ExportError) -> BackendError {
    match error {
        ExportError::Policy(error) => error.into(),
        ExportError::Model(error) => error.into(),
        ExportError::Positions { .. } | ExportError::Empty { .. } | ExportError::Huge { .. } => {
            BackendError::Inputs(error.to_string())
        }
        error => BackendError::Execution { backend, message: error.to_string() },
    }
}
