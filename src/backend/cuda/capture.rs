//! One forward pass as a CUDA graph: launched in one call instead of one per kernel.

use std::sync::Arc;

use cudarc::driver::{CudaGraph, CudaStream, DriverError, sys};

/// Captures what `enqueue` starts on `stream`, and uploads it so that the first launch is like every other. `enqueue` must
/// have run once before: allocation and compilation cannot be captured.
///
/// # Errors
/// That of `enqueue`, or what `failed` makes of the driver's; the stream is then as it was, and eager passes work.
pub(in crate::backend) fn capture<E>(
    stream: &Arc<CudaStream>,
    enqueue: impl FnOnce() -> Result<(), E>,
    failed: impl Fn(DriverError) -> E,
) -> Result<CudaGraph, E> {
    // Other threads, such as the library's own, may allocate meanwhile.
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(&failed)?;
    let enqueued = enqueue();
    // The capture ends in any case: a stream that stays in it refuses all other work.
    let captured = stream.end_capture(sys::CUgraphInstantiate_flags(0));
    enqueued?;
    let graph = captured.map_err(&failed)?;
    let graph = graph.ok_or_else(|| failed(DriverError(sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)))?;
    graph.upload().map_err(&failed)?;
    Ok(graph)
}
