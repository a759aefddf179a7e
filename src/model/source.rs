//! Where a model comes from: the form in manifests and plans.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSource {
    /// A Hugging Face folder on this machine.
    Checkpoint {
        /// Folder with config.json, model.safetensors and tokenizer.json.
        path: PathBuf,
        /// Expected digest of model.safetensors, if pinned.
        sha256: Option<String>,
    },
    /// A hub repository at a pinned revision, fetched beforehand.
    Hub {
        /// `owner/name`
        repository: String,
        /// 40 hexadecimal digits.
        revision: String,
        /// Digest of model.safetensors.
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

    /// The outlier added, if any.
    pub fn injection(&self) -> Option<Injection> {
        match self {
            ModelSource::Injected { inject, .. } => Some(*inject),
            _ => None,
        }
    }
}

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

/// Architectures that random weights can be drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 12 layers, 768 wide, 110M parameters.
    BertBase,
    /// 12 layers, 768 wide, 124M parameters.
    Gpt2,
    /// 2 layers, 64 wide, vocabulary 1000: for tests.
    BertTiny,
    /// 2 layers, 64 wide, vocabulary 1000: for tests.
    Gpt2Tiny,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Architecture; 4] =
        [Architecture::BertBase, Architecture::Gpt2, Architecture::BertTiny, Architecture::Gpt2Tiny];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::BertBase => "bert-base",
            Architecture::Gpt2 => "gpt2",
            Architecture::BertTiny => "bert-tiny",
            Architecture::Gpt2Tiny => "gpt2-tiny",
        }
    }

    /// Longest sequence the architecture has position embeddings for.
    pub fn positions(self) -> usize {
        match self {
            Architecture::BertBase => 512,
            Architecture::Gpt2 => 1024,
            Architecture::BertTiny | Architecture::Gpt2Tiny => 128,
        }
    }
}
