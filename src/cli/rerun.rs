//! `mixprec rerun`: one recorded row, measured again on this machine.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::output::{show, show_json};
use super::{INTERRUPTED, OK, SOME_FAILED};
use crate::rerun::{self, RerunRequest};

#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 1 when the 95 % intervals of the two medians do not overlap, or when the row is made from \
                        other weights, files or settings here."
)]
pub(super) struct RerunArgs {
    /// Folder of a run, merge or artifact; it is not changed.
    dir: PathBuf,
    /// Configuration id, or its first digits, four or more.
    #[arg(long)]
    id: String,
    /// Environment id of the recorded row, or its first digits [default: this machine's, or the only one].
    #[arg(long, value_name = "ID")]
    environment: Option<String>,
    /// Folder that relative paths of checkpoints and inputs start from [default: that of the run].
    #[arg(long, value_name = "DIR")]
    base_dir: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: RerunArgs) -> Result<u8> {
    let RerunArgs { dir, id, environment, base_dir, json } = args;
    let Some(found) = rerun::rerun(&RerunRequest { dir, id, environment, base_dir })? else { return Ok(INTERRUPTED) };
    if json {
        show_json(&found.to_json()?)?
    } else {
        show(found.to_text())?
    }
    Ok(if found.is_failure() { SOME_FAILED } else { OK })
}
