//! `mixprec worker`: the process in which `mixprec run` measures.

use std::process::ExitCode;

use clap::Args;

use crate::runner;

/// None: requests come on standard input.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {}

pub(super) fn execute(_args: &WorkerArgs) -> ExitCode {
    runner::worker::main()
}
