//! Turns an error or a dead process into the reason of a row.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use crate::engine::BackendError;
use crate::input::InputError;
use crate::model::ModelError;
use crate::record::{Failure, FailureKind, Outcome};

/// Longest reason, in characters. A reason becomes a footnote of a table, so the rest is cut.
const REASON_LIMIT: usize = 400;

/// Last lines of a dead worker's output that the reason quotes.
const LAST_WORDS: usize = 3;

impl Failure {
    /// A failure whose reason is shortened to one line of at most 400 characters.
    pub(super) fn new(kind: FailureKind, reason: &str) -> Self {
        let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut reason: String = line.chars().take(REASON_LIMIT).collect();
        if reason.len() < line.len() {
            reason.push('…');
        }
        Failure { kind, reason, files: None, libraries: None }
    }
}

/// Names files in the reasons of `outcome` as the manifest does: relative to its folder, where that is an absolute path.
pub(super) fn name_files_as_the_manifest(outcome: &mut Outcome, base_dir: &Path) {
    if !base_dir.is_absolute() {
        return;
    }
    let folder = format!("{}/", base_dir.display());
    let texts = match outcome {
        Outcome::Ok(measured) => {
            [measured.numerics.remark.as_mut(), measured.aa_test.as_mut().and_then(|test| test.as_mut().err())]
        }
        Outcome::Built(built) => [Some(&mut built.reason), None],
        Outcome::Failed(failure) => [Some(&mut failure.reason), None],
    };
    for text in texts.into_iter().flatten() {
        *text = text.replace(&folder, "");
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        let kind = match error {
            BackendError::Unavailable { .. } => FailureKind::Unavailable,
            BackendError::OutOfMemory { .. } => FailureKind::OutOfMemory,
            _ => FailureKind::Error,
        };
        Failure::new(kind, &error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Failure::new(FailureKind::Error, &error.to_string())
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Failure::new(FailureKind::Error, &error.to_string())
    }
}

/// What is known about a worker that died unexpectedly.
pub(super) struct Death<'a> {
    /// Its exit status.
    pub status: ExitStatus,
    /// The last lines it wrote.
    pub last_words: &'a [String],
    /// Whether the kernel's OOM killer killed a process during the worker's life.
    pub kernel_oom_kill: bool,
}

impl Death<'_> {
    /// The failure to record in the row.
    pub fn failure(&self) -> Failure {
        let words = self.last_words;
        // std::alloc::handle_alloc_error prints this text before it aborts.
        let allocation =
            words.iter().rev().find(|line| line.contains("memory allocation of") && line.contains("failed"));
        if let Some(line) = allocation {
            return Failure::new(FailureKind::OutOfMemory, &format!("out of memory: {line}"));
        }
        const SIGKILL: i32 = 9;
        if self.status.signal() == Some(SIGKILL) && self.kernel_oom_kill {
            let reason = "out of memory: the kernel killed the worker (SIGKILL)";
            return Failure::new(FailureKind::OutOfMemory, reason);
        }
        let end = match (self.status.signal(), self.status.code()) {
            (Some(signal), _) => format!("the worker was killed by signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("the worker ended with exit code {code}"),
            (None, None) => "the worker ended".to_owned(),
        };
        let tail = &words[words.len().saturating_sub(LAST_WORDS)..];
        let said = if tail.is_empty() { String::new() } else { format!(": {}", tail.join("; ")) };
        Failure::new(FailureKind::Crash, &format!("{end}{said}"))
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// Number of processes that the OOM killer has killed since boot, over all control groups. `None` where the kernel does
/// not report it.
pub(super) fn kernel_oom_kills() -> Option<u64> {
    let vmstat = std::fs::read_to_string("/proc/vmstat").ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(raw_status: i32, words: &[&str], kernel_oom_kill: bool) -> Failure {
        let last_words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Death { status: ExitStatus::from_raw(raw_status), last_words: &last_words, kernel_oom_kill }.failure()
    }

    #[test]
    fn deaths_are_told_apart() {
        let crash = failure(11, &["a", "b", "c", "d"], false);
        assert_eq!(crash.kind, FailureKind::Crash);
        assert_eq!(crash.reason, "the worker was killed by signal 11 (SIGSEGV): b; c; d");
        assert_eq!(failure(3 << 8, &[], false).reason, "the worker ended with exit code 3");
        assert_eq!(failure(9, &[], false).kind, FailureKind::Crash);
        assert_eq!(failure(9, &[], true).kind, FailureKind::OutOfMemory);
        assert_eq!(failure(11, &[], true).kind, FailureKind::Crash);
        let abort = failure(6, &["memory allocation of 1024 bytes failed"], false);
        assert_eq!(abort.kind, FailureKind::OutOfMemory);
        assert_eq!(abort.reason, "out of memory: memory allocation of 1024 bytes failed");
    }

    #[test]
    fn reasons_are_one_line_of_bearable_length() {
        let failure = Failure::new(FailureKind::Error, &format!("a\n  b{}", "é".repeat(1000)));
        assert!(failure.reason.starts_with("a bé") && failure.reason.ends_with('…'));
        assert_eq!(failure.reason.chars().count(), REASON_LIMIT + 1);
    }
}
