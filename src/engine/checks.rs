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
    check_rows(graph.dimensions.vocabulary, shape, batch)
}

/// Like [`check_batch`], for an engine that has dropped its graph. `vocabulary` is the number of token ids.
pub(crate) fn check_rows(vocabulary: usize, shape: Shape, batch: &Batch) -> Result<(), BackendError> {
    let refuse = |message: String| Err(BackendError::Inputs(message));
    if batch.shape != shape || batch.ids.len() != shape.tokens() || batch.lengths.len() != shape.batch {
        let (engine, batch) = (format_args!("{}x{}", shape.batch, shape.sequence), batch.shape);
        return refuse(format!("a batch of {}x{} for an engine of {engine}", batch.batch, batch.sequence));
    }
    if let Some(length) = batch.lengths.iter().find(|&&length| length == 0 || length > shape.sequence) {
        return refuse(format!("a row of {length} tokens, where 1 to {} are allowed", shape.sequence));
    }
    match batch.ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => refuse(format!("token id {id} is outside the vocabulary of {vocabulary}")),
        None => Ok(()),
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
