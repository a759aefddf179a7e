//! The manifest as it is written: one struct per YAML mapping. Nothing here touches a file, a device or the network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{BackendKind, DeviceKind, Target};
use crate::graph::{PrecisionPolicy, Shape};
use crate::input::InputSource;
use crate::model::{Head, ModelSource};
use crate::stats::BOOTSTRAP_MIN_SAMPLES;

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
    pub noise_floor: Option<NoiseFloorTest>,
    /// How outputs are compared with the FP32 reference.
    pub numerics: Numerics,
    /// Limits a row's numerics must keep, by policy name.
    pub tolerances: BTreeMap<String, Tolerance>,
    /// Cells left out, with reasons.
    pub exclude: Vec<Exclusion>,
    /// Declared number of configurations after exclusions.
    pub expect_configurations: usize,
    /// What `mixprec search` looks for; no part of the configurations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<SearchEntry>,
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

/// A named source of token ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputEntry {
    /// Name used in rows and tables.
    pub name: String,
    /// What it draws from.
    pub source: InputSource,
}

/// Limits of the measurement of one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Untimed forward passes before the first sample.
    pub warmup: usize,
    /// Fewest samples, whatever their spread.
    pub min_samples: usize,
    /// Most samples, whatever their spread.
    pub max_samples: usize,
    /// Stop once the median's 95 % interval is within this fraction of it on either side.
    pub target_precision: f64,
    /// Stop sampling after this long, seconds.
    pub time_cap_s: f64,
    /// The worker is killed when one configuration takes longer than this in all, seconds.
    pub timeout_s: f64,
    /// CPU threads; `None` uses every core.
    pub threads: Option<usize>,
    /// On a device, forward passes run back to back for at least this long, seconds, for throughput and energy per pass.
    /// `None` means no such window. It is left out of the serialised form then, so that manifests without the key keep
    /// their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_window_s: Option<f64>,
    /// On a CPU, processes that take turns at the samples of a configuration, each with an engine of its own. `None` means one,
    /// and is left out of the serialised form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_processes: Option<usize>,
    /// On a CPU, each thread stays on a processor of its own, where the backend can ask for it. Left out of the serialised form
    /// where it is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin_threads: bool,
}

impl Measurement {
    /// Processes whose samples a row on this device is made of.
    pub fn processes(&self, device: DeviceKind) -> usize {
        match device {
            DeviceKind::Cpu => self.cpu_processes.unwrap_or(1),
            DeviceKind::Gpu => 1,
        }
    }

    /// The share of one of several processes: their samples and their time add up to the row's. No precision ends a share,
    /// because the spread of one process says nothing of the others.
    pub fn share_of(&self, processes: usize) -> Measurement {
        if processes <= 1 {
            return *self;
        }
        Measurement {
            min_samples: self.min_samples.div_ceil(processes),
            max_samples: self.max_samples.div_ceil(processes),
            target_precision: 0.0,
            time_cap_s: self.time_cap_s / processes as f64,
            ..*self
        }
    }
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
            cpu_processes: None,
            pin_threads: false,
        }
    }
}

/// An A/A test: the engine of a configuration is built a second time, and the samples of both are interleaved, so that any
/// difference between them is noise. It covers the configurations of these shapes and policies, for every model, backend
/// and input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloorTest {
    /// Batch sizes of the shapes, values of the axis.
    pub batch_sizes: Vec<usize>,
    /// Sequence lengths of the shapes, values of the axis.
    pub sequence_lengths: Vec<usize>,
    /// Policy names; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precisions: Vec<String>,
    /// Rounds of four blocks, two of each engine.
    pub rounds: usize,
    /// Timed forward passes of a block.
    pub samples: usize,
    /// Once there are enough rounds for an interval, none begins after this long, seconds.
    pub time_cap_s: f64,
}

impl NoiseFloorTest {
    /// Whether configurations of this shape and policy are tested.
    pub fn covers(&self, shape: Shape, policy: &PrecisionPolicy) -> bool {
        self.batch_sizes.contains(&shape.batch)
            && self.sequence_lengths.contains(&shape.sequence)
            && (self.precisions.is_empty() || self.precisions.contains(&policy.name))
    }

    /// A block where a forward takes this long, seconds: one untimed forward and `samples` timed ones, or so few that the rounds of
    /// an interval end in time. One timed forward is left at least. A round has four blocks.
    pub fn block(&self, forward_s: f64) -> TimedBlock {
        let fitting = (self.time_cap_s / (4.0 * BOOTSTRAP_MIN_SAMPLES as f64 * forward_s)) as usize;
        let untimed = usize::from(fitting > 1);
        TimedBlock { untimed, samples: (fitting - untimed.min(fitting)).clamp(1, self.samples.max(1)) }
    }
}

/// Forwards of one engine on end, between those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedBlock {
    /// Untimed, at the beginning: the device and the caches have just served the other engine.
    pub untimed: usize,
    /// Timed.
    pub samples: usize,
}

/// How outputs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Numerics {
    /// Sequences of the batch compared with the FP32 reference; non-finite values are counted over all of them.
    pub compare_sequences: usize,
    /// Windows of a text scored for perplexity (language models with a text input); 0 scores none.
    pub score_windows: usize,
    /// Forward passes over successive batches whose outputs are searched for NaN, infinity and silent failures; a text
    /// is not read twice. `None` means the one measured batch. It is left out of the serialised form then, so that
    /// manifests without the key keep their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards: Option<usize>,
    /// An output row with a smaller cosine to its FP32 reference is broken. Left out of the serialised form where it is
    /// the default, as the limit below is.
    #[serde(default = "default_broken_cosine", skip_serializing_if = "is_default_broken_cosine")]
    pub broken_cosine: f64,
    /// So is one with a larger relative L2 error.
    #[serde(default = "default_broken_relative_l2", skip_serializing_if = "is_default_broken_relative_l2")]
    pub broken_relative_l2: f64,
}

impl Numerics {
    /// The settings of a manifest that names none.
    pub const DEFAULT: Numerics = Numerics {
        compare_sequences: 2,
        score_windows: 0,
        forwards: None,
        broken_cosine: 0.99,
        broken_relative_l2: 0.1,
    };
}

impl Default for Numerics {
    fn default() -> Self {
        Numerics::DEFAULT
    }
}

fn default_broken_cosine() -> f64 {
    Numerics::DEFAULT.broken_cosine
}

fn is_default_broken_cosine(limit: &f64) -> bool {
    *limit == default_broken_cosine()
}

fn default_broken_relative_l2() -> f64 {
    Numerics::DEFAULT.broken_relative_l2
}

fn is_default_broken_relative_l2(limit: &f64) -> bool {
    *limit == default_broken_relative_l2()
}

/// Limits on a row's numerics. A broken limit marks the row, and the run exits with 1; an absent one is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tolerance {
    /// Smallest cosine over the output vectors of every examined forward.
    pub cosine_min: Option<f64>,
    /// Largest absolute error.
    pub max_abs: Option<f64>,
    /// Largest relative L2 error.
    pub relative_l2: Option<f64>,
    /// Smallest share of output vectors with the reference's argmax.
    pub argmax_agreement: Option<f64>,
    /// Most broken rows over all examined forwards. Left out of the serialised form where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_broken_rows: Option<u64>,
    /// Whether NaN and infinities are allowed.
    pub allow_nonfinite: bool,
}

impl Tolerance {
    /// Whether it limits values at all. A tolerance that only allows NaN holds for every output.
    pub fn limits_values(&self) -> bool {
        !self.allow_nonfinite
            || self.max_broken_rows.is_some()
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
    /// The reason, which the plan and the report show.
    pub reason: String,
}

/// A search for the operations that need FP32, once for each tolerance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchEntry {
    /// Model name.
    pub model: String,
    /// Input name.
    pub input: String,
    /// Policy to start from: a preset or a policy of the manifest.
    pub start: String,
    /// Batch size and sequence length.
    pub shape: Shape,
    /// Forwards to search on.
    pub forwards: usize,
    /// Further forwards that judge what was found.
    pub held_out: usize,
    /// Limits to keep.
    pub tolerances: Vec<SearchTolerance>,
    /// Further shapes at which a device times what was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub time: Vec<Shape>,
}

impl SearchEntry {
    /// Policy of a search that names none.
    pub const START: &str = "fp16";
    /// Shape of a search that names none.
    pub const SHAPE: Shape = Shape { batch: 1, sequence: 128 };
    /// Forwards of a search that names none.
    pub const FORWARDS: usize = 24;
    /// Held-out forwards of a search that names none.
    pub const HELD_OUT: usize = 64;
}

/// The limits that a policy has to keep, and besides them: no output may be NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SearchTolerance {
    /// Smallest cosine of an output row to the FP32 reference.
    pub cosine_min: Option<f64>,
    /// Most broken rows over all forwards.
    pub max_broken_rows: Option<u64>,
    /// Most rows with another argmax over all forwards.
    pub max_flips: Option<u64>,
    /// Largest perplexity over all forwards, as a multiple of FP32's.
    pub max_perplexity_ratio: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_forwards_a_block_where_each_takes_long() {
        let test = NoiseFloorTest {
            batch_sizes: vec![1],
            sequence_lengths: vec![128],
            precisions: Vec::new(),
            rounds: 20,
            samples: 5,
            time_cap_s: 5.0,
        };
        let block = |forward_s| test.block(forward_s);
        let blocks =
            [(1, 5), (1, 5), (1, 2), (0, 1), (0, 1), (1, 5)].map(|(untimed, samples)| TimedBlock { untimed, samples });
        assert_eq!([1e-4, 0.03, 0.06, 0.2, 30.0, 0.0].map(block), blocks);
        // The rounds of an interval end in time wherever one forward a block does.
        for step in 1..=208 {
            let TimedBlock { untimed, samples } = block(f64::from(step) / 1000.0);
            assert!(24 * (untimed + samples) as u32 * step <= 5000, "{step} ms: {untimed}, {samples}");
        }
    }

    /// Together the processes take what one would, rounded up, and one process has the limits of the manifest.
    #[test]
    fn shares_of_processes_add_up() {
        let limits = Measurement { min_samples: 6, max_samples: 1000, time_cap_s: 0.6, ..Measurement::default() };
        assert_eq!(limits.share_of(1), limits);
        for processes in 2..40 {
            let share = limits.share_of(processes);
            for (of_one, of_all) in [(share.min_samples, 6), (share.max_samples, 1000)] {
                assert!(of_one >= 1 && (of_all..of_all + processes).contains(&(of_one * processes)), "{processes}");
            }
            assert!((share.time_cap_s * processes as f64 - 0.6).abs() < 1e-12);
        }
    }

    #[test]
    fn several_processes_are_for_cpus() {
        let limits = Measurement { cpu_processes: Some(6), ..Measurement::default() };
        assert_eq!([DeviceKind::Cpu, DeviceKind::Gpu].map(|device| limits.processes(device)), [6, 1]);
        assert_eq!(Measurement::default().processes(DeviceKind::Cpu), 1);
    }
}
