//! `mixprec splice`: the generated sections of Markdown pages, written from an artifact or checked.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::output::note;
use super::{OK, SOME_FAILED};
use crate::splice::{SpliceRequest, stale};

/// What brings the pages of this repository up to date.
const CURE: &str = "make readme";

#[derive(Debug, Args)]
#[command(after_help = "A section stands between `<!-- generated: NAME -->` and `<!-- /generated -->`. \
                        With --check the exit code is 1 where a section is stale.")]
pub(super) struct SpliceArgs {
    /// Folder of the artifact, e.g. artifacts/h200.
    artifact: PathBuf,
    /// Markdown pages with generated sections.
    #[arg(required = true, value_name = "PAGE")]
    pages: Vec<PathBuf>,
    /// Folder of a comparison with peers, for pages that show one, e.g. artifacts/h200-peers.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Folder of an earlier edition of the artifact, for pages that show what changed since.
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Write nothing; name each stale section and exit with 1 if there is one.
    #[arg(long)]
    check: bool,
}

pub(super) fn execute(args: SpliceArgs) -> Result<u8> {
    let SpliceArgs { artifact, pages, peers, before, check } = args;
    let count = pages.len();
    let found = stale(&SpliceRequest { artifact, peers, before, pages })?;
    for file in &found {
        if !check {
            file.mend()?;
        }
        note(format_args!("{} {}", if check { "stale:" } else { "wrote" }, file.label()));
    }
    match (found.is_empty(), check) {
        (true, _) => note(format_args!("pages up to date: {count}")),
        (false, true) => note(format_args!("cure: {CURE}")),
        (false, false) => {}
    }
    Ok(if check && !found.is_empty() { SOME_FAILED } else { OK })
}
