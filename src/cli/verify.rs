//! `mixprec verify`: a verdict on each of the paper's claims, on its second reading, and on our findings.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::output::{show, show_json};
use super::{OK, SOME_FAILED};
use crate::claims::{self, Claims, Verdict};
use crate::report::sentences;

#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 1 when a claim of the paper fails by its literal reading; second readings (C5*) and findings (F1) do not count."
)]
pub(super) struct VerifyArgs {
    /// Folder of a run, merge or artifact.
    dir: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Claims to judge [default: the built-in experiments/claims.yaml].
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
}

pub(super) fn execute(args: &VerifyArgs) -> Result<u8> {
    let claims = match &args.claims {
        Some(path) => Claims::load(path)?,
        None => Claims::builtin()?,
    };
    let verdicts = claims::verify(&args.dir, &claims)?;
    if args.json {
        show_json(&sentences::claims::to_json(&verdicts)?)?
    } else {
        show(sentences::claims::to_text(&verdicts))?
    }
    Ok(if verdicts.iter().any(Verdict::is_failure) { SOME_FAILED } else { OK })
}
