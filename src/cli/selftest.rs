//! `mixprec selftest`: known faults, which the program's own checks must catch.

use anyhow::Result;
use clap::Args;

use super::output::{show, show_json};
use super::{OK, SOME_FAILED};
use crate::selftest;

#[derive(Debug, Args)]
#[command(after_help = "Needs no GPU, no network and no results of a run. Exits with 1 when a fault is missed.")]
pub(super) struct SelftestArgs {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &SelftestArgs) -> Result<u8> {
    let verdicts = selftest::run(&selftest::mutations())?;
    if args.json {
        show_json(&selftest::json(&verdicts))?
    } else {
        show(selftest::text(&verdicts))?
    }
    Ok(if verdicts.iter().all(selftest::MutationResult::is_caught) { OK } else { SOME_FAILED })
}
