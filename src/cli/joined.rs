//! `mixprec merge` and `mixprec rerun`: results of other machines, or of this one at another time.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{INTERRUPTED, OK, SOME_FAILED, note, show};
use crate::merge;
use crate::rerun::{self, RerunRequest};

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// Folders of runs, artifacts or earlier merges; their order does not matter.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Folder of the joined results; an earlier merge there is replaced.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RerunArgs {
    /// Folder of a run, an artifact or a merge; it is not changed.
    dir: PathBuf,
    /// Configuration id, or its first digits.
    #[arg(long)]
    id: String,
    /// Environment of the row to compare with, where several machines have one.
    #[arg(long)]
    environment: Option<String>,
    /// Folder that relative paths of checkpoints and inputs start from: that of the manifest.
    #[arg(long, value_name = "DIR")]
    base_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn merge(args: &MergeArgs) -> Result<u8> {
    let summary = merge::merge(&args.dirs, &args.out)?;
    for line in &summary.notes {
        note(format_args!("note: {line}"));
    }
    note(&summary);
    let out = args.out.display();
    note(format_args!("results: {}; next: mixprec report {out}", args.out.join("results.parquet").display()));
    Ok(OK)
}

pub(super) fn rerun(args: RerunArgs) -> Result<u8> {
    let RerunArgs { dir, id, environment, base_dir, json } = args;
    let Some(found) = rerun::rerun(&RerunRequest { dir, id, environment, base_dir })? else { return Ok(INTERRUPTED) };
    show(if json { found.to_json()? } else { found.to_text() })?;
    Ok(if found.is_failure() { SOME_FAILED } else { OK })
}
