//! Where weights came from, as columns of a table and, in files of schema 6 and earlier, as a label.

use serde::{Deserialize, Serialize};

use super::schema::ResultRow;
use crate::model::{Injection, LABEL_DIGITS, WeightsOrigin, WeightsProvenance};
use crate::record::{Outcome, Record};

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// The column `weights_kind`: which [`WeightsOrigin`] the columns after it describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsKind {
    /// A checkpoint folder.
    Folder,
    /// A checkpoint of a hub.
    Hub,
    /// Random weights.
    Random,
    /// Random weights in place of a checkpoint of a hub.
    StandIn,
    /// A checkpoint of which a label alone is left.
    Labelled,
}

impl WeightsKind {
    fn of(origin: &WeightsOrigin) -> Self {
        match origin {
            WeightsOrigin::Folder { .. } => WeightsKind::Folder,
            WeightsOrigin::Hub { .. } => WeightsKind::Hub,
            WeightsOrigin::Random { .. } => WeightsKind::Random,
            WeightsOrigin::StandIn { .. } => WeightsKind::StandIn,
            WeightsOrigin::Labelled { .. } => WeightsKind::Labelled,
        }
    }
}

/// Columns that schema 7 added, null in rows of an older table.
pub(super) const WEIGHTS_COLUMNS: [&str; 9] = [
    "weights_kind",
    "weights_sha256",
    "weights_repository",
    "weights_revision",
    "weights_seed",
    "weights_stand_in_for",
    "weights_outlier_layer",
    "weights_outlier_channel",
    "weights_outlier_magnitude",
];

impl ResultRow {
    /// Where the weights came from. `None` where nothing was measured or built.
    pub fn weights(&self) -> Option<WeightsProvenance> {
        let origin = match self.weights_kind? {
            WeightsKind::Folder => WeightsOrigin::Folder { sha256: self.weights_sha256.clone()? },
            WeightsKind::Hub => WeightsOrigin::Hub {
                repository: self.weights_repository.clone()?,
                revision: self.weights_revision.clone()?,
                sha256: self.weights_sha256.clone()?,
            },
            WeightsKind::Random => WeightsOrigin::Random { seed: self.weights_seed? },
            WeightsKind::StandIn => WeightsOrigin::StandIn {
                seed: self.weights_seed?,
                repository: self.weights_stand_in_for.clone()?,
                revision: self.weights_revision.clone(),
            },
            WeightsKind::Labelled => WeightsOrigin::Labelled { sha256_start: self.weights_sha256.clone()? },
        };
        let outlier = self.weights_outlier_layer.map(|layer| {
            let channel = self.weights_outlier_channel.and_then(|channel| channel.try_into().ok())?;
            Some(Injection { layer: layer.try_into().ok()?, channel, magnitude: self.weights_outlier_magnitude? })
        });
        Some(WeightsProvenance { origin, outlier: outlier.flatten() })
    }

    /// Sets the label and the columns after it.
    pub fn set_weights(&mut self, weights: &WeightsProvenance) {
        self.model_provenance = Some(weights.to_string());
        self.weights_kind = Some(WeightsKind::of(&weights.origin));
        (self.weights_sha256, self.weights_seed, self.weights_stand_in_for) = (None, None, None);
        (self.weights_repository, self.weights_revision) = (None, None);
        match weights.origin.clone() {
            WeightsOrigin::Folder { sha256 } | WeightsOrigin::Labelled { sha256_start: sha256 } => {
                self.weights_sha256 = Some(sha256);
            }
            WeightsOrigin::Hub { repository, revision, sha256 } => {
                (self.weights_repository, self.weights_revision) = (Some(repository), Some(revision));
                self.weights_sha256 = Some(sha256);
            }
            WeightsOrigin::Random { seed } => self.weights_seed = Some(seed),
            WeightsOrigin::StandIn { seed, repository, revision } => {
                (self.weights_seed, self.weights_revision) = (Some(seed), revision);
                self.weights_stand_in_for = Some(repository);
            }
        }
        self.weights_outlier_layer = weights.outlier.map(|outlier| outlier.layer as u64);
        self.weights_outlier_channel = weights.outlier.map(|outlier| outlier.channel as u64);
        self.weights_outlier_magnitude = weights.outlier.map(|outlier| outlier.magnitude);
    }

    /// Whether two rows of one model have the same weights. Rows without a measurement have none.
    pub fn shares_weights(&self, other: &ResultRow) -> bool {
        match (self.weights(), other.weights()) {
            (Some(own), Some(others)) => own.same_weights(&others),
            (own, others) => own.is_none() && others.is_none(),
        }
    }

    /// Whether any column of the weights but the label holds a value.
    fn has_weights(&self) -> bool {
        ResultRow::default().differing(self).iter().any(|name| WEIGHTS_COLUMNS.contains(name))
    }
}

/// Reads the label of a file of schema 6 or earlier, which holds nothing else about its weights. `None` for text that no
/// version wrote.
///
/// A label quotes 16 digits of a checkpoint's digest and no revision. Text after a repository that reads as an outlier is
/// one: names in manifests contain no comma and no space.
fn of_label(label: &str) -> Option<WeightsProvenance> {
    let (base, outlier) = match label.rsplit_once(", injected outlier of ").map(|(base, rest)| (base, outlier(rest))) {
        Some((base, Some(outlier))) => (base, Some(outlier)),
        _ => (label, None),
    };
    let origin = match base.strip_prefix("checkpoint sha256 ") {
        Some(digits) => WeightsOrigin::Labelled { sha256_start: digits.to_owned() },
        None => {
            let random = base.strip_prefix("random weights, seed ")?;
            let (seed, repository) = match random.split_once(", standing in for ") {
                Some((seed, repository)) => (seed, Some(repository.to_owned())),
                None => (random, None),
            };
            let seed = seed.parse().ok()?;
            match repository {
                Some(repository) => WeightsOrigin::StandIn { seed, repository, revision: None },
                None => WeightsOrigin::Random { seed },
            }
        }
    };
    Some(WeightsProvenance { origin, outlier }).filter(|weights| fit(label, weights))
}

/// `3000 in layer 2, channel 447`
fn outlier(text: &str) -> Option<Injection> {
    let (magnitude, place) = text.split_once(" in layer ")?;
    let (layer, channel) = place.split_once(", channel ")?;
    let (layer, channel) = (layer.parse().ok()?, channel.parse().ok()?);
    Some(Injection { layer, channel, magnitude: magnitude.parse().ok()? })
}

/// Whether the label is that of the weights, and their digest is whole.
fn fit(label: &str, weights: &WeightsProvenance) -> bool {
    let hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let whole = match &weights.origin {
        WeightsOrigin::Folder { sha256 } | WeightsOrigin::Hub { sha256, .. } => {
            sha256.len() == DIGITS && hexadecimal(sha256)
        }
        WeightsOrigin::Labelled { sha256_start } => sha256_start.len() == LABEL_DIGITS && hexadecimal(sha256_start),
        WeightsOrigin::Random { .. } | WeightsOrigin::StandIn { .. } => true,
    };
    whole && weights.to_string() == label
}

/// The weights of a row or record with this label. An older file has the label alone. `None` where the two contradict
/// each other.
fn checked(label: &str, weights: Option<WeightsProvenance>) -> Option<WeightsProvenance> {
    match weights {
        Some(weights) => Some(weights).filter(|weights| fit(label, weights)),
        None => of_label(label),
    }
}

/// Gives a record of a journal of any version its weights. `None` where its label is not theirs.
pub(super) fn complete_record(mut record: Record) -> Option<Record> {
    let (label, weights) = match &mut record.outcome {
        Outcome::Ok(measured) => (&measured.model_provenance, &mut measured.weights),
        Outcome::Built(built) => (&built.model_provenance, &mut built.weights),
        Outcome::Failed(_) => return Some(record),
    };
    *weights = Some(checked(label, weights.take())?);
    Some(record)
}

/// Gives a row of a table of any version its weights.
///
/// # Errors
/// A fragment that names the row, where its label and columns contradict each other.
pub(super) fn complete_row(row: ResultRow) -> Result<ResultRow, String> {
    let mut complete = row.clone();
    let known = match (&row.model_provenance, row.weights()) {
        (None, None) => !row.has_weights(),
        (None, Some(_)) => false,
        (Some(label), weights) => checked(label, weights).is_some_and(|weights| {
            complete.set_weights(&weights);
            complete == row || !row.has_weights()
        }),
    };
    if known { Ok(complete) } else { Err(format!("the weights of row {} are not those of its label", row.id)) }
}

/// The row as read from an older table: the weights are those of the label.
pub(crate) fn as_labelled(row: &ResultRow) -> ResultRow {
    let mut labelled = row.clone();
    if let Some(weights) = row.model_provenance.as_deref().and_then(of_label) {
        labelled.set_weights(&weights);
    }
    labelled
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "4e79316360bf9092a6bd9e1b9a2f8a8e1f6c2b1f0e8b4d3c7a5968778695a4b3";

    /// Every variant, with and without an outlier, and a repository that reads like the rest of a label.
    fn all() -> Vec<WeightsProvenance> {
        let (sha256, revision) = (SHA256.to_owned(), "cd".repeat(20));
        let stand_in = |repository: &str, revision: Option<&String>| WeightsOrigin::StandIn {
            seed: u64::MAX,
            repository: repository.to_owned(),
            revision: revision.cloned(),
        };
        let origins = [
            WeightsOrigin::Folder { sha256: sha256.clone() },
            WeightsOrigin::Hub { repository: "a/b".to_owned(), revision: revision.clone(), sha256 },
            WeightsOrigin::Random { seed: 0 },
            stand_in("a/b", Some(&revision)),
            stand_in("a/b, injected outlier of everything", None),
            stand_in("a, b, standing in for c", None),
            WeightsOrigin::Labelled { sha256_start: SHA256[..LABEL_DIGITS].to_owned() },
        ];
        let outliers = [None, Some(Injection { layer: 2, channel: 447, magnitude: -0.1 })];
        let with = |outlier| origins.iter().map(move |origin| WeightsProvenance { origin: origin.clone(), outlier });
        outliers.into_iter().flat_map(with).collect()
    }

    fn row_of(weights: &WeightsProvenance) -> ResultRow {
        let mut row = ResultRow { id: "a".to_owned(), ..ResultRow::default() };
        row.set_weights(weights);
        row
    }

    #[test]
    fn every_variant_survives_its_columns_whatever_the_row_had_before() {
        for (before, weights) in all().iter().flat_map(|before| all().into_iter().map(move |weights| (before, weights)))
        {
            let mut row = row_of(before);
            row.set_weights(&weights);
            assert_eq!((row.weights().as_ref(), &row), (Some(&weights), &row_of(&weights)));
            assert_eq!(complete_row(row.clone()), Ok(row));
        }
    }

    #[test]
    fn a_label_alone_tells_the_same_weights() {
        for weights in all() {
            let label = weights.to_string();
            let read = of_label(&label).unwrap();
            assert!(read.same_weights(&weights) && read.to_string() == label, "{label}: {read:?}");
            let old = ResultRow { model_provenance: Some(label), ..ResultRow::default() };
            assert_eq!(complete_row(old.clone()).unwrap().weights(), Some(read));
            assert_eq!(as_labelled(&row_of(&weights)).weights(), complete_row(old).unwrap().weights());
        }
    }

    #[test]
    fn a_label_that_no_version_wrote_is_refused() {
        for label in [
            "",
            "trained on the moon",
            "random weights, seed",
            "random weights, seed 01",
            "random weights, seed -1",
            "random weights, seed 1, injected outlier of 3.0 in layer 1, channel 2",
            "random weights, seed 1, injected outlier of 3 in layer 1",
            "checkpoint sha256 4e79",
            "checkpoint sha256 4E79316360BF9092",
            "checkpoint sha256 4e79316360bf9092a",
        ] {
            assert_eq!(of_label(label), None, "{label}");
        }
    }

    #[test]
    fn a_row_whose_columns_are_not_those_of_its_label_is_refused() {
        let edits: [fn(&mut ResultRow); 9] = [
            |row| row.model_provenance = None,
            |row| row.model_provenance = Some("random weights, seed 1".to_owned()),
            |row| row.weights_kind = None,
            |row| row.weights_kind = Some(WeightsKind::StandIn),
            |row| row.weights_sha256 = None,
            |row| row.weights_sha256 = Some(SHA256.replace("4e79", "4e78")),
            |row| row.weights_sha256 = Some(SHA256[..LABEL_DIGITS].to_owned()),
            |row| row.weights_seed = Some(1),
            |row| row.weights_outlier_channel = None,
        ];
        for (index, edit) in edits.iter().enumerate() {
            let outlier = Some(Injection { layer: 1, channel: 3, magnitude: 3000.0 });
            let origin = WeightsOrigin::Folder { sha256: SHA256.to_owned() };
            let mut row = row_of(&WeightsProvenance { origin, outlier });
            edit(&mut row);
            let error = complete_row(row).unwrap_err();
            assert_eq!(error, "the weights of row a are not those of its label", "{index}");
        }
        let stray = ResultRow { weights_seed: Some(1), ..ResultRow::default() };
        assert!(complete_row(stray).is_err());
        assert_eq!(complete_row(ResultRow::default()), Ok(ResultRow::default()));
    }
}
