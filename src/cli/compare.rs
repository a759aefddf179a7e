//! `mixprec compare`: two runs of one experiment.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::output::{show, show_json};
use super::{OK, SOME_FAILED};
use crate::analysis::agreement::{self, Limits, SHARE, TOLERANCE};

#[derive(Debug, Args)]
#[command(after_help = "Exits with 1 when too few rows agree.")]
pub(super) struct CompareArgs {
    /// Folder of the first run.
    first: PathBuf,
    /// Folder of the second run, of the same manifest.
    second: PathBuf,
    /// Largest difference of two medians that agree, as a fraction of the first.
    #[arg(long, value_name = "FRACTION", default_value_t = TOLERANCE, value_parser = fraction)]
    tolerance: f64,
    /// Fraction of the rows that must agree.
    #[arg(long, value_name = "FRACTION", default_value_t = SHARE, value_parser = fraction)]
    share: f64,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &CompareArgs) -> Result<u8> {
    let limits = Limits { tolerance: args.tolerance, share: args.share };
    let found = agreement::compare(&args.first, &args.second, limits)?;
    if args.json {
        show_json(&found.to_json()?)?
    } else {
        show(found.to_text())?
    }
    Ok(if found.agrees() { OK } else { SOME_FAILED })
}

fn fraction(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no fraction from 0 to 1, like 0.03");
    text.parse().ok().filter(|value| (0.0..=1.0).contains(value)).ok_or_else(wrong)
}
