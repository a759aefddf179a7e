//! `mixprec`: dispatch and exit codes; see `cli.rs` for the commands.

use std::process::ExitCode;

use clap::Parser;
use mixprec::cli::{BAD_INPUT, Cli};

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(BAD_INPUT)
        }
    }
}
