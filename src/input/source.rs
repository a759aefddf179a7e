//! Where token ids come from: the form in manifests and plans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::labels::ClassName;

/// Where token ids come from. Row `i` of a batch does not depend on the batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputSource {
    /// Uniform ids of the vocabulary, full length.
    Random {
        /// Seed of the generator.
        seed: u64,
    },
    /// The same between the tokens that the model's tokenizer puts before and after a sentence, BERT's `[CLS]` and `[SEP]`, in
    /// place of the last two ids.
    RandomWithSeparators {
        /// Seed of the generator.
        seed: u64,
    },
    /// Consecutive windows of a tokenised text file, full length.
    Text {
        /// UTF-8 text.
        path: PathBuf,
        /// Expected digest, if pinned.
        sha256: Option<String>,
    },
    /// Sentences with labels as in SST-2's file, padded to the sequence length; also scores accuracy over the whole file.
    Sst2 {
        /// `sentence<TAB>label` with a header line.
        path: PathBuf,
        /// Expected digest, if pinned.
        sha256: Option<String>,
        /// Class of each label, where the names of the classes do not say it. Left out of the serialised form where empty,
        /// so that plans without it keep their ids.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, ClassName>,
    },
    /// Texts, pairs of texts or ids with what is right, padded to the sequence length; the whole file is scored.
    Examples {
        /// One JSON object a line.
        path: PathBuf,
        /// Expected digest, if pinned.
        sha256: Option<String>,
        /// Class of each label, as of `Sst2`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, ClassName>,
    },
}

impl InputSource {
    /// Class of each label, of a file with labels.
    pub fn labels(&self) -> Option<&BTreeMap<String, ClassName>> {
        match self {
            InputSource::Sst2 { labels, .. } | InputSource::Examples { labels, .. } => Some(labels),
            _ => None,
        }
    }

    /// Whether rows may be shorter than the sequence length, and are padded to it.
    pub fn is_padded(&self) -> bool {
        match self {
            InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } | InputSource::Text { .. } => false,
            InputSource::Sst2 { .. } | InputSource::Examples { .. } => true,
        }
    }

    /// Whether tokens may be of other types than 0; its file says whether they are.
    pub fn may_have_token_types(&self) -> bool {
        matches!(self, InputSource::Examples { .. })
    }

    /// The file that rows are read from, as the manifest names it; `None` for random ids.
    pub fn path(&self) -> Option<&Path> {
        match self {
            InputSource::Text { path, .. } | InputSource::Sst2 { path, .. } | InputSource::Examples { path, .. } => {
                Some(path)
            }
            InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } => None,
        }
    }

    /// Digest that the manifest pins of its file; `None` without a pin or a file.
    pub fn pin(&self) -> Option<&str> {
        match self {
            InputSource::Text { sha256, .. }
            | InputSource::Sst2 { sha256, .. }
            | InputSource::Examples { sha256, .. } => sha256.as_deref(),
            InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } => None,
        }
    }
}
