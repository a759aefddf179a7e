//! The status of a configuration.

use serde::{Deserialize, Serialize};

/// The status of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Measured.
    Ok,
    /// Built, but not executed on the machine of the run; the row has the reason.
    Built,
    /// Failed; the row has the reason.
    Failed,
    /// Planned, but not run yet.
    Pending,
}
