//! `mixprec merge`, `compare`, `artifact` and `rerun`: results of other machines, or of this one at another time.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{INTERRUPTED, OK, SOME_FAILED, note, show};
use crate::analysis::agreement;
use crate::analysis::agreement::{Limits, SHARE, TOLERANCE};
use crate::artifact::{self, ArtifactRequest};
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
pub(super) struct CompareArgs {
    /// Folder of the run that is compared with.
    first: PathBuf,
    /// Folder of the second run of the same manifest.
    second: PathBuf,
    /// How far a median may be from the first run's, as a fraction of it.
    #[arg(long, default_value_t = TOLERANCE, value_parser = fraction)]
    tolerance: f64,
    /// The share of rows that must be so near.
    #[arg(long, default_value_t = SHARE, value_parser = fraction)]
    share: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ArtifactArgs {
    /// Folders of the main experiment: a run, or several that are merged.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Folder of the artifact, e.g. artifacts/h200; an earlier artifact there is replaced.
    #[arg(long)]
    out: PathBuf,
    /// A second run of the main experiment; may be given several times.
    #[arg(long = "repeat", value_name = "DIR")]
    repeats: Vec<PathBuf>,
    /// Another experiment that the paper quotes; may be given several times.
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Publish rows of a build whose files differed from its commit, or whose commit is not known.
    #[arg(long)]
    allow_dirty: bool,
}

fn fraction(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no fraction from 0 to 1, like 0.03");
    text.parse().ok().filter(|value| (0.0..=1.0).contains(value)).ok_or_else(wrong)
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

pub(super) fn compare(args: &CompareArgs) -> Result<u8> {
    let limits = Limits { tolerance: args.tolerance, share: args.share };
    let found = agreement::compare(&args.first, &args.second, limits)?;
    show(if args.json { found.to_json()? } else { found.to_text() })?;
    Ok(if found.agrees() { OK } else { SOME_FAILED })
}

pub(super) fn artifact(args: ArtifactArgs) -> Result<u8> {
    let ArtifactArgs { dirs, out, repeats, with, allow_dirty } = args;
    let summary = artifact::publish(&ArtifactRequest { dirs, out: out.clone(), repeats, with, allow_dirty })?;
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

pub(super) fn rerun(args: RerunArgs) -> Result<u8> {
    let RerunArgs { dir, id, environment, base_dir, json } = args;
    let Some(found) = rerun::rerun(&RerunRequest { dir, id, environment, base_dir })? else { return Ok(INTERRUPTED) };
    show(if json { found.to_json()? } else { found.to_text() })?;
    Ok(if found.is_failure() { SOME_FAILED } else { OK })
}
