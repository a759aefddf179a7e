//! From an error or a dead process to the row's reason.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::engine::BackendError;
use crate::input::InputError;
use crate::model::ModelError;
use crate::record::{Failure, FailureKind};

/// Characters of a reason; the rest is cut, since a reason is a footnote of a table.
const REASON_LIMIT: usize = 400;

/// Lines of a dead worker's standard error that enter the reason.
const LAST_WORDS: usize = 3;

impl Failure {
    /// A failure whose reason is made one line of bearable length.
    pub(super) fn new(kind: FailureKind, reason: &str) -> Self {
        let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut reason: String = line.chars().take(REASON_LIMIT).collect();
        if reason.len() < line.len() {
            reason.push('…');
        }
        Failure { kind, reason }
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

/// What is known of a worker that died without being told to.
pub(super) struct Death<'a> {
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines it wrote to standard error.
    pub last_words: &'a [String],
    /// The kernel killed a process for want of memory while the worker lived.
    pub kernel_oom_kill: bool,
}

impl Death<'_> {
    /// The row's failure.
    pub fn failure(&self) -> Failure {
        let words = self.last_words;
        // The text std::alloc::handle_alloc_error prints before it aborts.
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

/// How often the kernel has killed a process for want of memory since it booted, in any control group; `None` where it
/// does not say.
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
