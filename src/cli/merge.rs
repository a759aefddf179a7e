//! `mixprec merge`: results of several machines or shards in one folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::OK;
use super::output::note;
use crate::merge;
use crate::terminal::shell_word;

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// Folders of runs, artifacts or earlier merges, in any order.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Folder for the merged results; an earlier merge there is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn execute(args: &MergeArgs) -> Result<u8> {
    let summary = merge::merge(&args.dirs, &args.out)?;
    for line in &summary.notes {
        note(format_args!("note: {line}"));
    }
    note(&summary);
    let out = shell_word(&args.out);
    note(format_args!("results: {}; next: mixprec report {out}", args.out.join("results.parquet").display()));
    Ok(OK)
}
