//! `mixprec worker`: the process in which `mixprec run` measures.

use std::process::ExitCode;

use clap::Args;

use crate::processors::CpuList;
use crate::runner;

/// Requests come on standard input.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Processors to stay on.
    #[arg(long)]
    cpus: Option<CpuList>,
}

pub(super) fn execute(args: &WorkerArgs) -> ExitCode {
    runner::worker::main(args.cpus.as_ref())
}
