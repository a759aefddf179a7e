//! `mixprec time`: an engine that another program asks for samples, block by block.

use std::io;

use anyhow::Result;
use clap::Args;

use super::OK;
use crate::engine::BackendKind;
use crate::graph::{Preset, Shape};
use crate::model::{Head, ModelArgument};
use crate::timing::{self, TimingRequest};

#[derive(Debug, Args)]
pub(super) struct TimeArgs {
    /// Checkpoint folder, or an architecture for random weights, with a seed as in bert-base:7: bert-base, bert-large,
    /// roberta-base, distilbert-base, electra-small, albert-base, gpt2, gpt2-medium, gpt2-large, gpt2-xl, opt-125m, bert-tiny or
    /// gpt2-tiny.
    #[arg(long)]
    model: ModelArgument,
    /// Backend.
    #[arg(long)]
    backend: BackendKind,
    /// Precision policy.
    #[arg(long, value_name = "POLICY")]
    precision: Preset,
    /// Output: that of the checkpoint's class (natural), or of another head.
    #[arg(long, value_enum, default_value_t = Head::Natural)]
    head: Head,
    /// Batch size.
    #[arg(long, value_name = "N")]
    batch: usize,
    /// Sequence length in tokens.
    #[arg(long, value_name = "N")]
    seq: usize,
}

pub(super) fn execute(args: TimeArgs) -> Result<u8> {
    let TimeArgs { model, backend, precision, head, batch, seq } = args;
    let request = TimingRequest { model, head, backend, precision, shape: Shape { batch, sequence: seq } };
    timing::serve(&request, io::stdin().lock(), io::stdout().lock())?;
    Ok(OK)
}
