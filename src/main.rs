//! The program `mixprec`; its commands are in [`mixprec::cli`].

use std::io::{self, Write};
use std::process::ExitCode;

use mixprec::cli::{BAD_INPUT, Cli, one_line};

fn main() -> ExitCode {
    match Cli::from_command_line().execute() {
        Ok(code) => code,
        Err(error) => {
            // Nobody may be listening, and the exit code says it too.
            let _ = writeln!(io::stderr(), "error: {}", one_line(&error));
            ExitCode::from(BAD_INPUT)
        }
    }
}
