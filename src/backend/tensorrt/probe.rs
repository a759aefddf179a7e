//! Whether the library executes on this machine's device. Only the library knows which GPUs it supports, so it is asked to
//! build and load a network of one layer.

use std::sync::OnceLock;

use trtx::host_memory::HostMemory;
use trtx::{Builder, DataType, Runtime};

use super::library::TensorRtLibrary;
use crate::backend::cuda::device::Device;
use crate::engine::BackendError;

/// Whether the library executes on the device, which has been opened and is current in this thread.
///
/// # Errors
/// The reason, the library's own sentence.
pub(super) fn executes(library: &'static TensorRtLibrary, _device: &Device) -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let ask = || -> Result<(), BackendError> {
        let engine = library.call(|| build(library))?;
        library.call(|| Runtime::new(library.logger())?.deserialize_cuda_engine(&engine).map(drop))
    };
    ANSWER.get_or_init(|| ask().map_err(BackendError::into_reason)).clone()
}

/// An engine for every GPU that the library supports. It names no target, so that only loading it depends on this GPU.
fn build(library: &'static TensorRtLibrary) -> trtx::Result<HostMemory<'static>> {
    let mut builder = Builder::new(library.logger())?;
    let mut network = builder.create_network(1)?;
    let input = network.add_input("input", DataType::kFLOAT, &[1])?;
    let layer = network.add_identity(&input)?;
    let output = layer.output(&network, 0)?;
    network.mark_output(&output);
    let mut config = builder.create_config()?;
    builder.build_serialized_network(&mut network, &mut config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal must concern the device and not the question.
    #[cfg(not(feature = "tensorrt-enterprise"))]
    #[test]
    fn the_question_itself_needs_no_device() {
        match TensorRtLibrary::get() {
            Ok(library) => assert!(!library.call(|| build(library)).unwrap().is_empty()),
            Err(reason) => crate::skip::skip(reason),
        }
    }
}
