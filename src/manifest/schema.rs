//! The manifest as it is written: one struct per YAML mapping. Nothing here touches a file, a device or the network.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendKind, Target};
use crate::graph::{PrecisionPolicy, Shape};
use crate::model::Head;

/// The manifest format this program reads.
pub const MANIFEST_VERSION: u64 = 1;

/// A validated manifest: every name resolved, every policy complete, paths as written
/// (relative to the manifest's folder).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// Short name, also the run's default folder.
    pub name: String,
    /// What the experiment asks, in one sentence.
    pub question: String,
    /// Models in the order written.
    pub models: Vec<ModelEntry>,
    /// Backends in the order written.
    pub backends: Vec<BackendKind>,
    /// Precision policies in the order written.
    pub precisions: Vec<PrecisionPolicy>,
    /// GPU generations engines are built for; empty means the device of this machine.
    pub targets: Vec<Target>,
    /// Batch sizes.
    pub batch_sizes: Vec<usize>,
    /// Padded sequence lengths, tokens.
    pub sequence_lengths: Vec<usize>,
    /// Where token ids come from.
    pub inputs: Vec<InputEntry>,
    /// How long and how precisely to measure.
    pub measurement: Measurement,
    /// Which engines are timed against themselves.
    pub noise_floor: Option<NoiseFloor>,
    /// How outputs are compared with the FP32 reference.
    pub numerics: Numerics,
    /// Limits a row's numerics must keep, by policy name.
    pub tolerances: BTreeMap<String, Tolerance>,
    /// Cells left out, with reasons.
    pub exclude: Vec<Exclusion>,
    /// Declared number of configurations after exclusions.
    pub expect_configurations: usize,
}

/// A named model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelEntry {
    /// Name used in rows and tables.
    pub name: String,
    /// Where it comes from.
    pub source: ModelSource,
    /// What its output is.
    #[serde(skip_serializing_if = "is_natural")]
    pub head: Head,
}

fn is_natural(head: &Head) -> bool {
    *head == Head::Natural
}

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
        /// Digests of its other files by name. Those that no model is read from are fetched as well. Left out of the
        /// serialised form where there are none.
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

/// An outlier added to a model: a constant on one channel of the residual stream, by the bias of one layer's second
/// feed-forward product. It stands for the massive activations of trained language models, which are of this size and
/// keep to one or two channels (Sun et al., arXiv 2402.17762); unlike those it is on every token, not on the first alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// Layer, from 0.
    pub layer: usize,
    /// Channel of the residual stream, from 0.
    pub channel: usize,
    /// What is added, of either sign.
    pub magnitude: f64,
}

/// What the name of a model with an [`Injection`] ends in, so that every table says so.
pub const INJECTED_SUFFIX: &str = "-injected";

impl std::fmt::Display for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "injected outlier of {} in layer {}, channel {}", self.magnitude, self.layer, self.channel)
    }
}

/// Architecture sizes random weights can be drawn for.
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

/// A named source of token ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputEntry {
    /// Name used in rows and tables.
    pub name: String,
    /// What it draws from.
    pub source: InputSource,
}

/// Where token ids come from. Row `i` of a batch does not depend on the batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputSource {
    /// Uniform ids of the vocabulary, full length.
    Random {
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
    /// SST-2 sentences with labels, padded to the sequence length; also scores accuracy over the whole file.
    Sst2 {
        /// `sentence<TAB>label` with a header line.
        path: PathBuf,
        /// Expected digest, if pinned.
        sha256: Option<String>,
    },
}

/// Limits of the measurement of one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Untimed passes before the first sample.
    pub warmup: usize,
    /// Samples taken whatever their spread.
    pub min_samples: usize,
    /// Samples after which measuring ends whatever the spread.
    pub max_samples: usize,
    /// Stop once the median's 95 % interval is within this fraction of it on either side.
    pub target_precision: f64,
    /// Stop sampling after this long, seconds.
    pub time_cap_s: f64,
    /// The worker is killed when one configuration takes longer than this in all, seconds.
    pub timeout_s: f64,
    /// CPU threads; `None` uses every core.
    pub threads: Option<usize>,
    /// On a device, passes back to back for at least this long, for throughput and energy per pass, seconds. `None` is no
    /// such block. Left out of the serialised form then: manifests without the key keep their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_window_s: Option<f64>,
}

impl Default for Measurement {
    fn default() -> Self {
        Measurement {
            warmup: 3,
            min_samples: 10,
            max_samples: 1000,
            target_precision: 0.01,
            time_cap_s: 10.0,
            timeout_s: 600.0,
            threads: None,
            energy_window_s: None,
        }
    }
}

/// An A/A test: the engine of a configuration is built a second time, and both are timed by turns, so that whatever sets
/// them apart is noise. Of the configurations of these shapes and policies, whatever their model, backend and input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Batch sizes of the shapes; of the axis.
    pub batch_sizes: Vec<usize>,
    /// Sequence lengths of the shapes; of the axis.
    pub sequence_lengths: Vec<usize>,
    /// Policy names; empty takes all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precisions: Vec<String>,
    /// Rounds of four blocks, two of each engine.
    pub rounds: usize,
    /// Timed passes of a block.
    pub samples: usize,
    /// No round begins after this long, seconds, once there are enough for an interval.
    pub time_cap_s: f64,
}

impl NoiseFloor {
    /// Whether configurations of this shape and policy are tested.
    pub fn covers(&self, shape: Shape, policy: &PrecisionPolicy) -> bool {
        self.batch_sizes.contains(&shape.batch)
            && self.sequence_lengths.contains(&shape.sequence)
            && (self.precisions.is_empty() || self.precisions.contains(&policy.name))
    }
}

/// How outputs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numerics {
    /// Sequences of the batch compared with the FP32 reference; non-finite values are counted over all of them.
    pub compare_sequences: usize,
    /// Windows of a text scored for perplexity (language models with a text input); 0 scores none.
    pub score_windows: usize,
    /// Forward passes over successive batches whose outputs are searched for NaN, infinity and silent failures; a text
    /// is not read twice. `None` is the one measured batch. Left out of the serialised form then: manifests without the
    /// key keep their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards: Option<usize>,
}

impl Default for Numerics {
    fn default() -> Self {
        Numerics { compare_sequences: 2, score_windows: 0, forwards: None }
    }
}

/// Limits on a row's numerics. A broken limit marks the row, and the run exits with 1; an absent one is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tolerance {
    /// Smallest cosine over output vectors.
    pub cosine_min: Option<f64>,
    /// Largest absolute error.
    pub max_abs: Option<f64>,
    /// Largest relative L2 error.
    pub relative_l2: Option<f64>,
    /// Smallest share of output vectors with the reference's argmax.
    pub argmax_agreement: Option<f64>,
    /// Whether NaN and infinities are allowed.
    pub allow_nonfinite: bool,
}

impl Tolerance {
    /// Whether it limits values at all: one that only allows NaN is kept by whatever comes out.
    pub fn limits_values(&self) -> bool {
        !self.allow_nonfinite
            || [self.cosine_min, self.max_abs, self.relative_l2, self.argmax_agreement].iter().any(Option::is_some)
    }
}

/// Cells left out of the product: those that match every given axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exclusion {
    /// Model names; empty matches all.
    pub models: Vec<String>,
    /// Backends; empty matches all.
    pub backends: Vec<BackendKind>,
    /// Policy names; empty matches all.
    pub precisions: Vec<String>,
    /// Targets; empty matches all.
    pub targets: Vec<Target>,
    /// Batch sizes; empty matches all.
    pub batch_sizes: Vec<usize>,
    /// Sequence lengths; empty matches all.
    pub sequence_lengths: Vec<usize>,
    /// Input names; empty matches all.
    pub inputs: Vec<String>,
    /// Why; ends up in the plan and the report.
    pub reason: String,
}
