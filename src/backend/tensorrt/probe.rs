//! Whether the library executes on this machine's device: asked of the library, by building and loading a network of one
//! layer, since it alone knows which GPUs it takes.

use std::sync::OnceLock;

use trtx::{Builder, DataType, Runtime};

use super::library::Library;
use super::target;
use crate::backend::cuda::device::Device;
use crate::backend::{BackendError, Target};

/// The library's answer for the device.
///
/// # Errors
/// The reason, the library's own sentence.
pub(super) fn executes(library: &'static Library, device: &Device) -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(|| ask(library, device)).clone()
}

fn ask(library: &'static Library, device: &Device) -> Result<(), String> {
    target::buildable(Target::Current, Some(device.capability))?;
    library.call(|| build_and_load(library)).map_err(|error| match error {
        BackendError::Unavailable { reason, .. } => reason,
        BackendError::Execution { message, .. } => message,
        error => error.to_string(),
    })
}

fn build_and_load(library: &'static Library) -> trtx::Result<()> {
    let mut builder = Builder::new(library.logger())?;
    let mut network = builder.create_network(1)?;
    let input = network.add_input("input", DataType::kFLOAT, &[1])?;
    let layer = network.add_identity(&input)?;
    let output = layer.output(&network, 0)?;
    network.mark_output(&output);
    let mut config = builder.create_config()?;
    target::set(&mut config, Target::Current)?;
    let engine = builder.build_serialized_network(&mut network, &mut config)?;
    let mut runtime = Runtime::new(library.logger())?;
    runtime.deserialize_cuda_engine(&engine)?;
    Ok(())
}
