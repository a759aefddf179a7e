//! The kind of input of a row.

use serde::{Deserialize, Serialize};

use crate::input::InputSource;

/// The kind of token ids that a configuration read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Token ids drawn uniformly from the vocabulary.
    Random,
    /// The same between a tokenizer's first and last token of a sentence.
    RandomWithSeparators,
    /// Windows of a text.
    Text,
    /// Labelled SST-2 sentences.
    Sst2,
    /// Texts, pairs of texts or ids of an examples file.
    Examples,
}

impl InputKind {
    /// Whether its file may say what is right for each of its rows.
    pub fn has_labels(self) -> bool {
        matches!(self, InputKind::Sst2 | InputKind::Examples)
    }
}

impl From<&InputSource> for InputKind {
    fn from(source: &InputSource) -> Self {
        match source {
            InputSource::Random { .. } => InputKind::Random,
            InputSource::RandomWithSeparators { .. } => InputKind::RandomWithSeparators,
            InputSource::Text { .. } => InputKind::Text,
            InputSource::Sst2 { .. } => InputKind::Sst2,
            InputSource::Examples { .. } => InputKind::Examples,
        }
    }
}
