//! The manifest expanded: an ordered list of configurations, each with a stable id.

use serde::{Deserialize, Serialize};

use crate::backend::BackendKind;
use crate::graph::{PrecisionPolicy, Shape};
use crate::manifest::schema::{InputSource, Measurement, ModelSource, Numerics, Tolerance};

/// Hash of a configuration's canonical form: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigurationId(pub String);

impl std::fmt::Display for ConfigurationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One cell of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Stable id.
    pub id: ConfigurationId,
    /// Backend.
    pub backend: BackendKind,
    /// Model name.
    pub model: String,
    /// Model source.
    pub model_source: ModelSource,
    /// Precision policy.
    pub policy: PrecisionPolicy,
    /// Batch size and sequence length.
    pub shape: Shape,
    /// Input name.
    pub input: String,
    /// Input source.
    pub input_source: InputSource,
}

/// A cell left out, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    /// The cell.
    pub configuration: Configuration,
    /// The manifest's reason.
    pub reason: String,
}

/// The number of values on each axis; their product less the exclusions is the configuration count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axes {
    /// Models.
    pub models: usize,
    /// Backend and policy pairs; pairs a backend cannot execute must be excluded with a reason.
    pub backends: usize,
    /// Precision policies.
    pub precisions: usize,
    /// Batch sizes.
    pub batch_sizes: usize,
    /// Sequence lengths.
    pub sequence_lengths: usize,
    /// Inputs.
    pub inputs: usize,
}

/// An expanded manifest. Only a plan reaches the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Manifest name.
    pub name: String,
    /// The manifest's question.
    pub question: String,
    /// SHA-256 of the manifest file's bytes, hexadecimal.
    pub manifest_sha256: String,
    /// Folder that relative paths of models and inputs start from: the manifest's. Not part of any id.
    pub base_dir: std::path::PathBuf,
    /// Axis sizes.
    pub axes: Axes,
    /// Configurations in execution order.
    pub configurations: Vec<Configuration>,
    /// Cells left out.
    pub excluded: Vec<Excluded>,
    /// Measurement limits, the same for every configuration.
    pub measurement: Measurement,
    /// Comparison settings.
    pub numerics: Numerics,
    /// Limits by policy name.
    pub tolerances: std::collections::BTreeMap<String, Tolerance>,
}
