//! Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::BuildProgress;
use crate::plan::Configuration;
use crate::record::{Built, EngineMeasurements, Outcome};
use crate::stats::{median, relative_half_width};
use crate::store::series::TimedSeries;
use crate::terminal::printable_line;

/// The progress of one run, as shown to the user.
#[derive(Debug)]
pub(super) struct ProgressDisplay {
    bar: Option<ProgressBar>,
    done: usize,
    total: usize,
}

impl ProgressDisplay {
    /// Progress through `total` configurations.
    pub fn new(total: usize) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            let template = "{bar:30} {pos}/{len} {elapsed} elapsed, {eta} left  {msg}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        ProgressDisplay { bar, done: 0, total }
    }

    /// Advances past configurations of earlier runs, which take no time.
    pub fn skip(&mut self, configurations: usize) {
        self.done += configurations;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
            bar.reset_eta();
        }
    }

    /// Goes back by configurations that are measured again.
    pub fn again(&mut self, configurations: usize) {
        self.done = self.done.saturating_sub(configurations);
    }

    /// Shows the current work next to the bar. Plain lines do not show it.
    pub fn working_on(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable_line(what).into_owned());
        }
    }

    /// Shows the progress of an engine's build next to the bar. Plain lines do not show it.
    pub fn building(&self, configuration: &Configuration, step: &BuildProgress) {
        let BuildProgress { phase, done, total } = step;
        let steps = if *total > 0 { format!(" {done}/{total}") } else { String::new() };
        self.working_on(&format!("{}: {phase}{steps}", configuration.label()));
    }

    /// Shows the outcome of a finished configuration.
    pub fn finished(&mut self, configuration: &Configuration, outcome: &Outcome) {
        self.done += 1;
        self.notice(&format!("[{}/{}] {}: {}", self.done, self.total, configuration.label(), result(outcome)));
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
        }
    }

    /// Prints a line that stays. Errors are ignored: a closed standard error must not stop a measurement.
    pub fn notice(&self, line: &str) {
        let line = printable_line(line);
        match &self.bar {
            Some(bar) => bar.println(line),
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }

    /// Removes the bar.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn result(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(measured) => time(measured),
        Outcome::Built(built) => {
            format!("built in {:.1} s{}; not executed: {}", built.build_s, size(built), built.reason)
        }
        Outcome::Failed(failure) => format!("FAILED ({}): {}", failure.kind.label(), failure.reason),
    }
}

/// `, 224.1 MB`
fn size(built: &Built) -> String {
    built.build.engine_bytes.map_or_else(String::new, |bytes| format!(", {:.1} MB", bytes as f64 / 1e6))
}

/// `41.2 ms (n=12, ±1.9 %)`, followed by the broken tolerance if there is one.
fn time(measured: &EngineMeasurements) -> String {
    let n = measured.samples_ms.len();
    let series = TimedSeries::of(measured);
    let observations = series.observations_ms();
    let median = median(&observations).map_or("no finite time".to_owned(), |ms| {
        if ms < 10.0 { format!("{ms:.3} ms") } else { format!("{ms:.1} ms") }
    });
    let width = relative_half_width(&observations).map_or(String::new(), |w| format!(", ±{:.1} %", w * 100.0));
    let broken = match (measured.numerics.within_tolerance, &measured.numerics.remark) {
        (Some(false), remark) => format!(", OUT OF TOLERANCE: {}", remark.as_deref().unwrap_or("no remark")),
        (_, Some(remark)) => format!(", {remark}"),
        (_, None) => String::new(),
    };
    format!("{median} (n={n}{width}){broken}")
}
