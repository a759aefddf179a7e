//! `mixprec time`: an engine that another program asks for samples, block by block.

use std::io;

use anyhow::Result;
use clap::Args;

use super::OK;
use crate::engine::BackendKind;
use crate::graph::{Preset, Shape};
use crate::model::ModelArgument;
use crate::timing::{self, TimingRequest};

#[derive(Debug, Args)]
pub(super) struct TimeArgs {
    /// Checkpoint folder, or an architecture for random weights: bert-base, gpt2, bert-tiny or gpt2-tiny, with a seed
    /// as in bert-base:7.
    #[arg(long)]
    model: ModelArgument,
    /// Backend.
    #[arg(long)]
    backend: BackendKind,
    /// Precision policy.
    #[arg(long, value_name = "POLICY")]
    precision: Preset,
    /// Batch size.
    #[arg(long, value_name = "N")]
    batch: usize,
    /// Sequence length in tokens.
    #[arg(long, value_name = "N")]
    seq: usize,
}

pub(super) fn execute(args: TimeArgs) -> Result<u8> {
    let TimeArgs { model, backend, precision, batch, seq } = args;
    let request = TimingRequest { model, backend, precision, shape: Shape { batch, sequence: seq } };
    timing::serve(&request, io::stdin().lock(), io::stdout().lock())?;
    Ok(OK)
}
