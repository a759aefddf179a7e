//! What a command prints: results on standard output, notes on standard error, an error as one line.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no error.
pub(super) fn show(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// Writes a line to standard error. A closed or full standard error loses the line and nothing else.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The error and its causes in one line. A cause that the message already quotes is not repeated.
pub fn one_line(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |line, cause| match line.contains(&cause) {
        true => line,
        false => format!("{line}: {cause}"),
    })
}
