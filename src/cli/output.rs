//! What a command prints: results on standard output, notes on standard error, an error as one line. All of it goes through
//! [`crate::terminal`], so that no text of a file writes to the terminal what it likes.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

use crate::manifest::ManifestError;
use crate::terminal::{printable, printable_json, printable_line};

/// Writes a result to standard output.
pub(super) fn show(text: impl Display) -> Result<()> {
    write(&printable(&text.to_string()))
}

/// Writes JSON to standard output.
pub(super) fn show_json(json: &str) -> Result<()> {
    write(&printable_json(json))
}

/// A reader that has seen enough (`| head`) is no error.
fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// Writes a line to standard error. A closed or full standard error loses the line and nothing else.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", printable(&line.to_string()));
}

/// The error and its causes in one line; the mistakes of a manifest have a line each. A cause that the message already quotes is
/// not repeated.
pub fn one_line(error: &anyhow::Error) -> String {
    let line = error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |line, cause| {
        match line.contains(&cause) {
            true => line,
            false => format!("{line}: {cause}"),
        }
    });
    match error.downcast_ref() {
        Some(ManifestError::Invalid(_)) => printable(&line).into_owned(),
        _ => printable_line(&line).into_owned(),
    }
}
