//! Where a model comes from: the form in manifests and plans.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::{ModelConfig, TaskHead};
use super::{Architecture, Head, hub_folder};
use crate::files::joined;

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSource {
    /// A Hugging Face folder on this machine.
    Checkpoint {
        /// Folder with config.json, model.safetensors and tokenizer.json.
        path: PathBuf,
        /// Expected digest of the weights, if pinned: of model.safetensors, or of the files that stand in its place.
        sha256: Option<String>,
    },
    /// A hub repository at a pinned revision, fetched beforehand.
    Hub {
        /// `owner/name`
        repository: String,
        /// 40 hexadecimal digits.
        revision: String,
        /// Digest of the weights, as of a checkpoint.
        sha256: String,
        /// Architecture whose random weights stand in where the checkpoint has not been fetched, if any.
        fallback: Option<Architecture>,
        /// Digests of its other files by name. Files that no model is read from are fetched as well. Left out of the
        /// serialised form if there are none.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        files: BTreeMap<String, String>,
    },
    /// Random weights at a named architecture size.
    Random {
        /// Seed of the generator.
        seed: u64,
        /// Sizes.
        architecture: Architecture,
    },
    /// One model in several places: the first source that is on the machine is used.
    FirstOf {
        /// Two or more. Random weights, if any, are the last; a hub source names no fallback.
        sources: Vec<ModelSource>,
    },
    /// Any of the others with an outlier added to its weights.
    Injected {
        /// What the outlier is added to; not itself injected.
        source: Box<ModelSource>,
        /// The outlier.
        inject: Injection,
    },
}

impl ModelSource {
    /// Where the weights come from before anything is added to them.
    pub fn base(&self) -> &ModelSource {
        match self {
            ModelSource::Injected { source, .. } => source.base(),
            other => other,
        }
    }

    /// The sources of the model in the order in which they are looked for: one, unless it is `first_of` several.
    pub fn candidates(&self) -> &[ModelSource] {
        match self.base() {
            ModelSource::FirstOf { sources } => sources,
            one => std::slice::from_ref(one),
        }
    }

    /// Seed and architecture of the random weights that stand in where no checkpoint is on the machine, if any may.
    pub fn stand_in(&self) -> Option<(u64, Architecture)> {
        match self.base() {
            ModelSource::Hub { fallback: Some(architecture), .. } => Some((0, *architecture)),
            ModelSource::FirstOf { sources } => match sources.last()? {
                ModelSource::Random { seed, architecture } => Some((*seed, *architecture)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The head of a model of a manifest in `base_dir` that asks for `head`. Where the weights of a trunk may stand in for a
    /// masked language model, the natural output is the trunk's with either, so that a configuration has one.
    pub(super) fn head(&self, base_dir: &Path, head: Head) -> Head {
        let is_trunk = self.stand_in().is_some_and(|(_, stand_in)| ModelConfig::of(stand_in).head == TaskHead::None);
        let is_masked = || {
            let folder = self.checkpoint_here(base_dir)?.folder(base_dir)?;
            Some(ModelConfig::read(&folder.join("config.json")).ok()?.head == TaskHead::MaskedLanguageModel)
        };
        let gives_way = head == Head::Natural && is_trunk && is_masked() == Some(true);
        if gives_way { Head::Hidden } else { head }
    }

    /// The architecture, where it is known without reading a checkpoint.
    pub fn architecture(&self) -> Option<Architecture> {
        match self.base() {
            ModelSource::Random { architecture, .. } => Some(*architecture),
            other => other.stand_in().map(|(_, architecture)| architecture),
        }
    }

    /// The first source that is a checkpoint whose folder exists, whole or not, for a manifest in `base_dir`.
    pub fn checkpoint_here(&self, base_dir: &Path) -> Option<&ModelSource> {
        self.candidates().iter().find(|one| one.folder(base_dir).is_some_and(|folder| folder.exists()))
    }

    /// The folder of a checkpoint for a manifest in `base_dir`.
    pub fn folder(&self, base_dir: &Path) -> Option<PathBuf> {
        match self {
            ModelSource::Checkpoint { path, .. } => Some(joined(base_dir, path)),
            ModelSource::Hub { repository, revision, .. } => Some(hub_folder(base_dir, repository, revision)),
            _ => None,
        }
    }

    /// Whether both are read from the same place, whatever their pins are.
    pub(crate) fn same_place(&self, other: &ModelSource) -> bool {
        self.folder(Path::new("")).is_some_and(|folder| other.folder(Path::new("")) == Some(folder))
    }

    /// The sentence that `plan` and `run` print where random weights stand in for this source.
    pub fn stand_in_notice(&self, model: &str) -> String {
        match self.base() {
            ModelSource::Hub { repository, .. } => format!(
                "{model}: random weights stand in for {repository}, which has not been fetched (`mixprec fetch` on this \
                 manifest)"
            ),
            other => format!("{model}: random weights stand in, for no other source is here: {}", other.places()),
        }
    }

    /// The checkpoints among the sources, for messages.
    pub fn places(&self) -> String {
        let checkpoints = self.candidates().iter().filter(|one| !matches!(one, ModelSource::Random { .. }));
        checkpoints.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The outlier added, if any.
    pub fn injection(&self) -> Option<Injection> {
        match self {
            ModelSource::Injected { inject, .. } => Some(*inject),
            _ => None,
        }
    }
}

/// `google-bert/bert-base-uncased at 86b5e0934494`, `../models/minilm`, `random weights of gpt2, seed 0`; several are joined
/// by `, else `.
impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelSource::Checkpoint { path, .. } => write!(f, "{}", path.display()),
            ModelSource::Hub { repository, revision, .. } => {
                write!(f, "{repository} at {}", revision.get(..REVISION_DIGITS).unwrap_or(revision))
            }
            ModelSource::Random { seed, architecture } => {
                write!(f, "random weights of {}, seed {seed}", architecture.name())
            }
            ModelSource::FirstOf { sources } => {
                f.write_str(&sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", else "))
            }
            ModelSource::Injected { source, inject } => write!(f, "{source}, {inject}"),
        }
    }
}

/// Digits of a revision that a message quotes.
const REVISION_DIGITS: usize = 12;

/// An outlier added to a model: the bias of one layer's second feed-forward product adds a constant to one channel of the
/// residual stream. It stands for the massive activations of trained language models, which have this size and occur in one
/// or two channels (Sun et al., arXiv 2402.17762). Unlike those it is on every token, not only on the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// Layer, from 0.
    pub layer: usize,
    /// Channel of the residual stream, from 0.
    pub channel: usize,
    /// The constant that is added, of either sign.
    pub magnitude: f64,
}

/// Suffix of the name of a model with an [`Injection`], so that every table shows it.
pub const INJECTED_SUFFIX: &str = "-injected";

impl std::fmt::Display for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "injected outlier of {} in layer {}, channel {}", self.magnitude, self.layer, self.channel)
    }
}
