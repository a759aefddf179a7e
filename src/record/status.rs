//! What became of a configuration.

use serde::{Deserialize, Serialize};

/// Where a configuration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Measured.
    Ok,
    /// Built, but not executed on the machine of the run, for the reason given.
    Built,
    /// Tried, and failed for the reason given.
    Failed,
    /// Planned, but not run so far.
    Pending,
}
