//! `mixprec report`: the tables, figures and page of a run.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::OK;
use super::output::show;
use crate::claims::Claims;
use crate::report::sentences::claims::summary;
use crate::report::{self, Files};
use crate::results::study::Study;
use crate::results::{peers, searches};

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folder of a run, merge or artifact; the repeats and other experiments of an artifact are included.
    dir: PathBuf,
    /// Folder for the files [default: DIR/report].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of another run of the same experiment, to report how well the two agree; repeatable. The repeats of an
    /// artifact come first.
    #[arg(long = "repeat", value_name = "DIR")]
    repeats: Vec<PathBuf>,
    /// Folder of a run of another experiment, to include its outputs, task quality and engines; repeatable.
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Folder of `mixprec search`, to show the operations that need FP32; repeatable. In the place of those of an artifact.
    #[arg(long = "search", value_name = "DIR")]
    searches: Vec<PathBuf>,
    /// Folder of a comparison with peers (`make peers`), to show their times over mixprec's; without it, DIR-peers beside an
    /// artifact.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Write only the files that LaTeX includes: no HTML page, no SVG, no JSON.
    #[arg(long)]
    latex: bool,
}

pub(super) fn execute(args: ReportArgs) -> Result<u8> {
    let out = args.out.unwrap_or_else(|| args.dir.join("report"));
    let mut study = Study::read_with(&args.dir, &args.repeats, &args.with)?;
    if !args.searches.is_empty() {
        study.searches = searches::certificates(&args.searches)?;
    }
    if let Some(folder) = &args.peers {
        study.peers = peers::read(folder)?;
    }
    let wanted = if args.latex { Files::Latex } else { Files::All };
    let written = report::report_with(&study, &Claims::builtin()?, &out, wanted)?;
    let files = written.files.len();
    let next = if args.latex { String::new() } else { format!("; open {}", written.html.display()) };
    show(format_args!("{files} files in {}{next}\n", out.display()))?;
    show(format_args!("claims: {}\n", summary(&written.verdicts)))?;
    Ok(OK)
}
