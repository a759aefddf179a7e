//! `mixprec infer`: one text through one engine.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;

use super::OK;
use super::output::{note, show, show_json};
use crate::engine::BackendKind;
use crate::files::read_text_or_pipe;
use crate::graph::Preset;
use crate::infer::{self, InferInput, InferRequest, RequestedOutput};
use crate::model::Head;

#[derive(Debug, Args)]
#[command(
    override_usage = "mixprec infer --model <DIR> (--text <TEXT> [--text-pair <TEXT>] | --ids <ID,...> | --file <FILE>) [OPTIONS]"
)]
pub(super) struct InferArgs {
    /// Checkpoint folder with config.json, model.safetensors and tokenizer.json.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Backend.
    #[arg(long, default_value = "reference")]
    backend: BackendKind,
    /// Precision policy.
    #[arg(long, default_value = "fp32", value_name = "POLICY")]
    precision: Preset,
    /// Text to run.
    #[arg(long, conflicts_with = "file", required_unless_present_any = ["file", "ids"])]
    text: Option<String>,
    /// Second text of a pair.
    #[arg(long, value_name = "TEXT")]
    text_pair: Option<String>,
    /// Token ids in place of a text, separated by commas, special tokens included.
    #[arg(long, value_delimiter = ',', value_name = "ID", conflicts_with_all = ["text", "file", "text_pair"])]
    ids: Option<Vec<u32>>,
    /// File that holds the text.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The head whose logits are asked for: that of the checkpoint's class unless another is named.
    #[arg(long, value_enum, default_value_t = Head::Natural)]
    head: Head,
    /// What to print: logits, negative log-likelihood of each token (nll) or last hidden state (hidden).
    #[arg(long, default_value = "logits")]
    output: RequestedOutput,
    /// Print JSON with every value.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: InferArgs) -> Result<u8> {
    let pair = args.text_pair;
    let input = match (args.ids, args.text, args.file) {
        (Some(ids), ..) => InferInput::Ids(ids),
        (_, Some(text), _) => InferInput::Text { text, pair },
        (.., Some(path)) => {
            InferInput::Text { text: read_text_or_pipe(&path).map_err(|error| anyhow!("--file {error}"))?, pair }
        }
        (None, None, None) => InferInput::Text { text: String::new(), pair },
    };
    let InferArgs { model, backend, precision, head, output, .. } = args;
    let request = InferRequest { model, backend, precision, input, head, output };
    let answer = infer::infer(&request)?;
    for line in &answer.notes {
        note(format_args!("note: {line}"));
    }
    if args.json {
        show_json(&answer.to_json()?)?
    } else {
        show(answer.to_text())?
    }
    Ok(OK)
}
