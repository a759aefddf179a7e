//! The manifest expanded: an ordered list of configurations, each with a stable id.

mod changes;
mod definitions;
mod estimate;
mod identity;
mod notes;
mod pace;
mod print;
mod rules;
mod shard;

use serde::{Deserialize, Serialize};

use crate::engine::{BackendKind, Target};
use crate::graph::{PrecisionPolicy, Shape};
use crate::input::InputSource;
use crate::manifest::schema::{Manifest, Measurement, NoiseFloorTest, Numerics, Tolerance};
use crate::manifest::{GridPoint, Index, LoadedManifest, product_indices};
use crate::model::{Head, ModelSource};

pub use estimate::{DurationEstimate, NOMINAL_THREADS, SizeSource};
pub use pace::Pace;
pub use print::duration;
pub use rules::OtherRules;
pub use shard::Shard;

/// File name of the plan that the last run of a folder executed.
pub const PLAN_FILE: &str = "plan.json";

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
    /// What the model's output is.
    #[serde(default)]
    pub head: Head,
    /// Precision policy.
    pub policy: PrecisionPolicy,
    /// Target of the engine, if the manifest names one; otherwise the device of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
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
    /// Backends; a policy that one cannot execute is among the exclusions, with a reason.
    pub backends: usize,
    /// Precision policies.
    pub precisions: usize,
    /// Targets engines are built for; 1 when the manifest names none.
    #[serde(default = "one")]
    pub targets: usize,
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
    /// Which configurations are timed against themselves. Left out of the serialised form if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<NoiseFloorTest>,
    /// Comparison settings.
    pub numerics: Numerics,
    /// Limits by policy name.
    pub tolerances: std::collections::BTreeMap<String, Tolerance>,
}

impl Axes {
    /// The axes' sizes in the order of the product, slowest first.
    pub fn sizes(self) -> Index {
        let Axes { models, backends, precisions, targets, batch_sizes, sequence_lengths, inputs } = self;
        [models, backends, precisions, targets, sequence_lengths, batch_sizes, inputs]
    }
}

/// Number of targets in plans that are older than targets.
fn one() -> usize {
    1
}

impl Plan {
    /// Expands a validated manifest: models, then backends, precisions, targets, sequence lengths, batch sizes and inputs, the
    /// last varying fastest. A cell takes the reason of the first exclusion that names it.
    pub fn expand(loaded: &LoadedManifest) -> Plan {
        let manifest = &loaded.manifest;
        let axes = Axes {
            models: manifest.models.len(),
            backends: manifest.backends.len(),
            precisions: manifest.precisions.len(),
            targets: manifest.targets.len().max(1),
            batch_sizes: manifest.batch_sizes.len(),
            sequence_lengths: manifest.sequence_lengths.len(),
            inputs: manifest.inputs.len(),
        };
        let (mut configurations, mut excluded) = (Vec::new(), Vec::new());
        for index in product_indices(axes.sizes()) {
            let configuration = configuration(manifest, index);
            let cell = configuration.cell();
            match manifest.exclude.iter().find(|exclusion| exclusion.matches(&cell)) {
                Some(exclusion) => excluded.push(Excluded { reason: exclusion.reason.clone(), configuration }),
                None => configurations.push(configuration),
            }
        }
        Plan {
            name: manifest.name.clone(),
            question: manifest.question.clone(),
            manifest_sha256: loaded.sha256.clone(),
            base_dir: loaded.base_dir.clone(),
            axes,
            configurations,
            excluded,
            measurement: manifest.measurement,
            noise_floor: manifest.noise_floor.clone(),
            numerics: manifest.numerics,
            tolerances: manifest.tolerances.clone(),
        }
    }
}

fn configuration(
    manifest: &Manifest,
    [model, backend, precision, target, sequence, batch, input]: Index,
) -> Configuration {
    let (model, input) = (&manifest.models[model], &manifest.inputs[input]);
    let shape = Shape { batch: manifest.batch_sizes[batch], sequence: manifest.sequence_lengths[sequence] };
    let mut configuration = Configuration {
        id: ConfigurationId(String::new()),
        backend: manifest.backends[backend],
        model: model.name.clone(),
        model_source: model.source.clone(),
        head: model.head,
        policy: manifest.precisions[precision].clone(),
        target: manifest.targets.get(target).copied(),
        shape,
        input: input.name.clone(),
        input_source: input.source.clone(),
    };
    configuration.id = identity::id(&configuration);
    configuration
}

impl Configuration {
    /// The backend and, where the manifest names one, the target: `tensorrt sm80`.
    pub fn builder(&self) -> String {
        match self.target {
            Some(target) => format!("{} {target}", self.backend),
            None => self.backend.to_string(),
        }
    }

    /// `reference gpt2 hybrid 1x32 random`
    pub fn label(&self) -> String {
        let Configuration { model, policy, shape, input, .. } = self;
        format!("{} {model} {} {}x{} {input}", self.builder(), policy.name, shape.batch, shape.sequence)
    }

    fn cell(&self) -> GridPoint<'_> {
        GridPoint {
            model: &self.model,
            backend: self.backend,
            precision: &self.policy.name,
            target: self.target,
            sequence_length: self.shape.sequence,
            batch_size: self.shape.batch,
            input: &self.input,
        }
    }
}
