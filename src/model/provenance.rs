//! Where weights came from. Verdicts and comparisons of rows ask the type; reports print its label.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Injection;

/// Hexadecimal digits of a SHA-256 that a label quotes.
pub const LABEL_DIGITS: usize = 16;

/// Where weights came from, and the outlier added to them. Its text is the label of a row:
/// `checkpoint sha256 4e79316360bf9092`, `random weights, seed 1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsProvenance {
    /// The weights before anything was added to them.
    pub origin: WeightsOrigin,
    /// The outlier added, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Injection>,
}

/// Where weights came from before anything was added to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsOrigin {
    /// Read from a folder of the machine.
    Folder {
        /// SHA-256 of the weights, 64 digits.
        sha256: String,
    },
    /// Read from a folder that was fetched from a hub.
    Hub {
        /// `owner/name`
        repository: String,
        /// 40 hexadecimal digits.
        revision: String,
        /// SHA-256 of the weights, 64 digits.
        sha256: String,
    },
    /// Random, as the manifest asks.
    Random {
        /// Seed of the generator.
        seed: u64,
    },
    /// Random, because no checkpoint that the manifest names was on the machine.
    StandIn {
        /// Seed of the generator.
        seed: u64,
        /// `owner/name` of the first one, or the name of its folder where that is no hub's.
        repository: String,
        /// Its revision; `None` for a folder, and where a label alone names the checkpoint.
        revision: Option<String>,
    },
    /// Read from a checkpoint of which a label alone is left.
    Labelled {
        /// The first [`LABEL_DIGITS`] digits of the SHA-256 of the weights.
        sha256_start: String,
    },
}

impl WeightsProvenance {
    /// Whether the weights are random, and so not trained.
    pub fn is_random(&self) -> bool {
        matches!(self.origin, WeightsOrigin::Random { .. } | WeightsOrigin::StandIn { .. })
    }

    /// The checkpoint that random weights stand in for: a hub repository, or the name of a folder.
    pub fn stands_in_for(&self) -> Option<&str> {
        match &self.origin {
            WeightsOrigin::StandIn { repository, .. } => Some(repository),
            _ => None,
        }
    }

    /// Whether both are the same weights of one model. Checkpoints are compared by digest, wherever they were read from. A
    /// labelled one is compared by the digits that its label quotes. Random weights are compared by seed and by the
    /// repository that they stand in for. The revision of a repository is not compared.
    pub fn same_weights(&self, other: &WeightsProvenance) -> bool {
        self.outlier == other.outlier && self.origin.same_weights(&other.origin)
    }
}

impl WeightsOrigin {
    fn same_weights(&self, other: &WeightsOrigin) -> bool {
        use WeightsOrigin::{Labelled, Random, StandIn};
        match (self, other) {
            (Random { seed: a }, Random { seed: b }) => a == b,
            (StandIn { seed: a, repository: first, .. }, StandIn { seed: b, repository: second, .. }) => {
                (a, first) == (b, second)
            }
            (Labelled { sha256_start: a }, Labelled { sha256_start: b }) => a == b,
            (Labelled { sha256_start }, whole) | (whole, Labelled { sha256_start }) => {
                whole.sha256().is_some_and(|sha256| start(sha256) == sha256_start)
            }
            _ => self.sha256().is_some_and(|sha256| other.sha256() == Some(sha256)),
        }
    }

    /// The whole digest of a checkpoint, where it is known.
    fn sha256(&self) -> Option<&str> {
        match self {
            WeightsOrigin::Folder { sha256 } | WeightsOrigin::Hub { sha256, .. } => Some(sha256),
            _ => None,
        }
    }
}

/// What a label quotes of a digest.
fn start(sha256: &str) -> &str {
    sha256.get(..LABEL_DIGITS).unwrap_or(sha256)
}

impl fmt::Display for WeightsProvenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            WeightsOrigin::Folder { sha256 }
            | WeightsOrigin::Hub { sha256, .. }
            | WeightsOrigin::Labelled { sha256_start: sha256 } => write!(f, "checkpoint sha256 {}", start(sha256))?,
            WeightsOrigin::Random { seed } => write!(f, "random weights, seed {seed}")?,
            WeightsOrigin::StandIn { seed, repository, .. } => {
                write!(f, "random weights, seed {seed}, standing in for {repository}")?;
            }
        }
        match &self.outlier {
            Some(outlier) => write!(f, ", {outlier}"),
            None => Ok(()),
        }
    }
}

impl From<WeightsOrigin> for WeightsProvenance {
    fn from(origin: WeightsOrigin) -> Self {
        WeightsProvenance { origin, outlier: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights no two of which are the same.
    fn different() -> Vec<WeightsProvenance> {
        let stand_in = |seed, repository: &str| WeightsOrigin::StandIn {
            seed,
            repository: repository.to_owned(),
            revision: Some("ab".repeat(20)),
        };
        let origins = [
            WeightsOrigin::Folder { sha256: "12".repeat(32) },
            // The labels of these two are equal, the weights are not.
            WeightsOrigin::Folder { sha256: format!("{}{}", "12".repeat(31), "13") },
            WeightsOrigin::Hub {
                repository: "a/b".to_owned(),
                revision: "cd".repeat(20),
                sha256: format!("3{}", "12".repeat(31)),
            },
            WeightsOrigin::Labelled { sha256_start: "21".repeat(8) },
            WeightsOrigin::Random { seed: 0 },
            WeightsOrigin::Random { seed: 1 },
            stand_in(0, "a/b"),
            stand_in(1, "a/b"),
            stand_in(0, "a/c"),
            stand_in(0, "a/b, injected outlier of 3 in layer 1, channel 2"),
        ];
        let outlier = |layer, channel, magnitude| Some(Injection { layer, channel, magnitude });
        let outliers =
            [None, outlier(1, 2, 3.0), outlier(1, 2, -3.0), outlier(1, 3, 3.0), outlier(2, 2, 3.0)].into_iter();
        outliers
            .flat_map(|outlier| origins.iter().map(move |origin| WeightsProvenance { origin: origin.clone(), outlier }))
            .collect()
    }

    #[test]
    fn weights_that_differ_in_anything_never_compare_equal() {
        let all = different();
        for (i, first) in all.iter().enumerate() {
            for (j, second) in all.iter().enumerate() {
                assert_eq!(first.same_weights(second), i == j, "{first} and {second}");
            }
        }
    }

    #[test]
    fn one_checkpoint_is_the_same_weights_wherever_it_was_read() {
        let sha256 = "12".repeat(32);
        let hub = |revision: &str| WeightsOrigin::Hub {
            repository: "a/b".to_owned(),
            revision: revision.repeat(20),
            sha256: sha256.clone(),
        };
        let labelled = WeightsOrigin::Labelled { sha256_start: sha256[..LABEL_DIGITS].to_owned() };
        let same: [WeightsProvenance; 4] =
            [WeightsOrigin::Folder { sha256: sha256.clone() }, hub("ab"), hub("cd"), labelled].map(Into::into);
        for (first, second) in same.iter().flat_map(|first| same.iter().map(move |second| (first, second))) {
            assert!(first.same_weights(second), "{first:?} and {second:?}");
            assert_eq!(first.to_string(), second.to_string());
        }
    }

    #[test]
    fn every_variant_survives_the_journal() {
        for weights in different() {
            let json = serde_json::to_string(&weights).unwrap();
            assert_eq!(serde_json::from_str::<WeightsProvenance>(&json).unwrap(), weights, "{json}");
        }
    }

    #[test]
    fn random_weights_say_what_they_stand_in_for_whatever_it_is_called() {
        let name = "a, b/c, injected outlier of 3 in layer 1, channel 2, standing in for d";
        let origin = WeightsOrigin::StandIn { seed: 0, repository: name.to_owned(), revision: None };
        let weights = WeightsProvenance::from(origin);
        assert_eq!((weights.is_random(), weights.stands_in_for(), weights.outlier), (true, Some(name), None));
        assert_eq!(weights.to_string(), format!("random weights, seed 0, standing in for {name}"));
    }
}
