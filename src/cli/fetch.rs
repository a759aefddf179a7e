//! `mixprec fetch`: the checkpoints of a manifest, from their hub to this disk.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::output::{note, show};
use super::{INTERRUPTED, OK, SOME_FAILED};
use crate::fetch;
use crate::manifest::schema::Manifest;
use crate::signals::on_signal;

#[derive(Debug, Args)]
#[command(after_help = "A file that is already here with the right digest is not downloaded again.")]
pub(super) struct FetchArgs {
    /// Manifest, e.g. experiments/paper.yaml.
    manifest: PathBuf,
    /// Use no network; only check the files that are already here.
    #[arg(long)]
    offline: bool,
}

pub(super) fn execute(args: &FetchArgs) -> Result<u8> {
    let loaded = Manifest::load(&args.manifest)?;
    // What has arrived is on disk whenever the signal comes, as with a kill.
    on_signal(|| {
        note("interrupted: what has arrived is kept; run the same command again to go on");
        std::process::exit(i32::from(INTERRUPTED));
    })
    .context("cannot catch Ctrl-C")?;
    let summary = fetch::fetch(&loaded, args.offline)?;
    show(summary.to_text())?;
    for line in summary.failures() {
        note(format_args!("error: {line}"));
    }
    Ok(if summary.is_failure() { SOME_FAILED } else { OK })
}
