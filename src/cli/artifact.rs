//! `mixprec artifact`: runs as one folder that others can render the paper from.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::OK;
use super::output::note;
use crate::artifact::{self, ArtifactRequest};

#[derive(Debug, Args)]
#[command(after_help = "`make replay` renders the tables and figures of the paper from an artifact.")]
pub(super) struct ArtifactArgs {
    /// Folders of the main experiment: one run, or several that are merged.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Folder for the artifact, e.g. artifacts/h200; an earlier artifact there is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of another run of the main experiment; repeatable.
    #[arg(long = "repeat", value_name = "DIR")]
    repeats: Vec<PathBuf>,
    /// Folder of a run of another experiment that the paper quotes; repeatable.
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Folder of `mixprec search`, whose certificates the paper quotes; repeatable.
    #[arg(long = "search", value_name = "DIR")]
    searches: Vec<PathBuf>,
    /// Publish even rows of a build that had uncommitted changes or whose commit is unknown.
    #[arg(long)]
    allow_dirty: bool,
}

pub(super) fn execute(args: ArtifactArgs) -> Result<u8> {
    let ArtifactArgs { dirs, out, repeats, with, searches, allow_dirty } = args;
    let summary = artifact::publish(&ArtifactRequest { dirs, out: out.clone(), repeats, with, searches, allow_dirty })?;
    for line in &summary.notes {
        note(format_args!("note: {line}"));
    }
    note(format_args!(
        "{}: {} files, {} bytes; next: make replay ARTIFACT={0}",
        out.display(),
        summary.files,
        summary.bytes
    ));
    Ok(OK)
}
