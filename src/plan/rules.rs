//! Whether results of two plans may stand in one table: they must belong to one experiment and be measured under the same
//! settings.

use thiserror::Error;

use super::Plan;
use crate::json_diff::in_words;

/// Why results of two plans do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum OtherRules {
    /// They belong to different experiments.
    #[error("results of the experiment `{found}`, not of `{expected}`")]
    Experiment { found: String, expected: String },
    /// They were measured under different settings, like `measurement.warmup: 2, there 1`.
    #[error("measured under other settings ({settings})")]
    Protocol { settings: String },
    /// One name stands for two things, like `labels of sst2`.
    #[error("measured under another definition of one name in the manifest ({parts})")]
    Definition { parts: String },
}

impl Plan {
    /// Compares this plan's experiment and settings with those of another plan, whose results its own results join.
    ///
    /// # Errors
    /// [`OtherRules`] with what differs.
    pub fn check_same_rules(&self, other: &Plan) -> Result<(), OtherRules> {
        if self.name != other.name {
            return Err(OtherRules::Experiment { found: self.name.clone(), expected: other.name.clone() });
        }
        match self.protocol_differences(other) {
            found if found.is_empty() => self.check_same_definitions(other),
            found => Err(OtherRules::Protocol { settings: in_words(&found) }),
        }
    }
}
