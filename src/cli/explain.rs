//! `mixprec explain`: from a number to its rows, samples, environment, manifest and command.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::OK;
use super::output::{show, show_json};
use crate::claims::Claims;
use crate::explain::{Explainer, to_text};

#[derive(Debug, Args)]
#[command(
    after_help = "A table is called as its file in the report, or as the beginning of it; words of a model, backend, precision, \
                  shape, input or heading choose the cell."
)]
pub(super) struct ExplainArgs {
    /// Folder of a run, merge or artifact.
    dir: PathBuf,
    /// A claim (C3, F1), a macro of the paper, a configuration's id, a number as it is printed (8.96×), or a cell:
    /// `speedup.tex: bert-base 8x128 hybrid`.
    #[arg(allow_negative_numbers = true)]
    what: String,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &ExplainArgs) -> Result<u8> {
    let found = Explainer::read(&args.dir, &Claims::builtin()?)?.explain(&args.what)?;
    if args.json {
        show_json(&(serde_json::to_string_pretty(&found)? + "\n"))?
    } else {
        show(to_text(&found))?
    }
    Ok(OK)
}
