//! Captures one forward pass as a CUDA graph, which one call launches instead of one call per kernel.

use std::sync::Arc;

use cudarc::driver::{CudaGraph, CudaStream, DriverError, sys};

/// Captures the work that `enqueue` puts on `stream`, and uploads the graph so that the first launch is like every
/// other. `enqueue` must have run once before, because allocation and compilation cannot be captured.
///
/// # Errors
/// The error of `enqueue`, or the driver's error converted by `failed`. The stream then works as before, without a
/// graph.
pub(in crate::backend) fn capture<E>(
    stream: &Arc<CudaStream>,
    enqueue: impl FnOnce() -> Result<(), E>,
    failed: impl Fn(DriverError) -> E,
) -> Result<CudaGraph, E> {
    // Other threads, such as the library's own, may allocate meanwhile.
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(&failed)?;
    let enqueued = enqueue();
    // End the capture in any case: a stream that is still capturing refuses all other work.
    let captured = stream.end_capture(sys::CUgraphInstantiate_flags(0));
    enqueued?;
    let graph = captured.map_err(&failed)?;
    let graph = graph.ok_or_else(|| failed(DriverError(sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)))?;
    graph.upload().map_err(&failed)?;
    Ok(graph)
}
