//! What the person at the terminal sees: a bar of bytes, or plain lines where standard error is no terminal.

use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::terminal::printable_line;

/// Lines and bars on standard error; without a terminal there are no bars.
#[derive(Debug, Default)]
pub(super) struct FetchProgress(MultiProgress);

/// The bar of one file; removed when dropped.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl FetchProgress {
    /// A bar for a file.
    pub fn file(&self, label: &str) -> Bar {
        let bar = self.0.add(ProgressBar::no_length());
        let template = "{bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(printable_line(label).into_owned());
        Bar(bar)
    }

    /// A line that stays. A closed or full standard error is no reason to stop.
    pub fn notice(&self, line: &str) {
        self.0.suspend(|| drop(writeln!(io::stderr(), "{}", printable_line(line))));
    }
}

impl Bar {
    /// Begins a response: sets the bytes that are present, and those of the whole file if known.
    pub fn begin(&self, bytes: u64, total: Option<u64>) {
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
        self.0.set_position(bytes);
        self.0.reset_eta();
    }

    /// Sets the bytes that are present.
    pub fn advance(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
