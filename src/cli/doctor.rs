//! `mixprec doctor`: this machine, and what on it differs from the pins.

use anyhow::Result;
use clap::Args;

use super::output::{show, show_json};
use super::{OK, SOME_FAILED};
use crate::doctor;

#[derive(Debug, Args)]
#[command(after_help = "Exits with 1 when a file or library differs from its pin.")]
pub(super) struct DoctorArgs {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &DoctorArgs) -> Result<u8> {
    let findings = doctor::report();
    if args.json {
        show_json(&doctor::json(&findings))?
    } else {
        show(doctor::text(&findings))?
    }
    Ok(if doctor::has_drift(&findings) { SOME_FAILED } else { OK })
}
