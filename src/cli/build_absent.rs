//! `mixprec build` in a build without TensorRT: the command is there and says why it cannot.

use anyhow::Result;
use clap::Args;

use super::OK;
use crate::backend::tensorrt;

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Whatever is typed.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<String>,
}

/// Fails with the reason.
pub(super) fn execute(_args: &BuildArgs) -> Result<u8> {
    tensorrt::backend()?;
    Ok(OK)
}
