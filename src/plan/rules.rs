//! Whether results of two plans may stand in one table: they must be of one experiment, measured under the same settings.

use thiserror::Error;

use super::Plan;
use crate::json_diff::in_words;

/// Why results of two plans do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OtherRules {
    /// They are of different experiments.
    #[error("results of the experiment `{found}`, not of `{wanted}`")]
    Experiment {
        /// Its experiment.
        found: String,
        /// The experiment of what it should go with.
        wanted: String,
    },
    /// They were measured by different rules.
    #[error("measured under other settings ({settings})")]
    Protocol {
        /// What differs: `measurement.warmup: 2, there 1`.
        settings: String,
    },
}

impl Plan {
    /// Holds this plan's experiment and settings against those of another, whose results its own should go with.
    ///
    /// # Errors
    /// [`OtherRules`] with what differs.
    pub fn check_same_rules(&self, wanted: &Plan) -> Result<(), OtherRules> {
        if self.name != wanted.name {
            return Err(OtherRules::Experiment { found: self.name.clone(), wanted: wanted.name.clone() });
        }
        match self.protocol_differences(wanted) {
            found if found.is_empty() => Ok(()),
            found => Err(OtherRules::Protocol { settings: in_words(&found) }),
        }
    }
}
