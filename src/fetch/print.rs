//! The outcome of a fetch as text.

use std::fmt::Write as _;

use super::{FetchOutcome, FetchSummary};

impl FetchSummary {
    /// Whether a checkpoint is missing.
    pub fn is_failure(&self) -> bool {
        self.checkpoints
            .iter()
            .any(|(_, outcome)| matches!(outcome, FetchOutcome::Absent { .. } | FetchOutcome::Failed(_)))
    }

    /// A line for every checkpoint that is present now.
    pub fn to_text(&self) -> String {
        if self.checkpoints.is_empty() {
            return "nothing to fetch: the manifest names no model of a hub\n".to_owned();
        }
        let mut text = String::new();
        for (request, outcome) in &self.checkpoints {
            let label = request.label();
            let folder = request.folder.display();
            let _ = match outcome {
                FetchOutcome::Present { files } => {
                    writeln!(text, "{label}: {files} files, all there and right: {folder}")
                }
                FetchOutcome::Fetched { files, bytes: 0 } => {
                    writeln!(text, "{label}: {files} files, nothing to fetch: {folder}")
                }
                FetchOutcome::Fetched { files, bytes: count } => {
                    writeln!(text, "{label}: {files} files, {} fetched: {folder}", bytes(*count))
                }
                FetchOutcome::Absent { .. } | FetchOutcome::Failed(_) => Ok(()),
            };
        }
        text
    }

    /// A line for every checkpoint that a hub did not deliver, and one line for all those that no hub was asked for.
    pub fn failures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let (mut absent, mut drawn) = (Vec::new(), Vec::new());
        for (request, outcome) in &self.checkpoints {
            match outcome {
                FetchOutcome::Failed(error) => lines.push(error.to_string()),
                FetchOutcome::Absent { missing } => {
                    absent.push(format!("{} into {}", missing.join(", "), request.folder.display()));
                    if request.fallback && !request.folder.exists() {
                        drawn.push(request.repository.as_str());
                    }
                }
                FetchOutcome::Present { .. } | FetchOutcome::Fetched { .. } => {}
            }
        }
        if let Some(why) = self.no_network.as_ref().filter(|_| !absent.is_empty()) {
            let until = match drawn.is_empty() {
                true => String::new(),
                false => format!("; until then random weights stand in for {}", drawn.join(" and ")),
            };
            let files = absent.join(", and ");
            lines.push(format!("{why}; run this again where a hub can be reached, or put {files} by hand{until}"));
        }
        lines
    }
}

/// `440.4 MB`
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_decimal_units() {
        assert_eq!([570, 1_042_301, 9_999].map(bytes), ["570 bytes", "1.0 MB", "10.0 kB"]);
    }
}
