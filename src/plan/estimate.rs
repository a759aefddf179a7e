//! How long a plan takes, roughly: closed-form work divided by nominal rates. Only for a person who decides whether to
//! start now or tonight; no table uses it.

use serde::Serialize;

use super::{Configuration, Plan};
use crate::engine::{BackendKind, DeviceKind, Target};
use crate::graph::{Dimensions, Format, OpClass, PrecisionPolicy, Preset, Rounding, Shape};
use crate::input::InputSource;
use crate::manifest::schema::{Measurement, Numerics};
use crate::model::{Architecture, ModelSource};
use crate::stats::BOOTSTRAP_MIN_SAMPLES;

/// Threads assumed where the manifest names none: an estimate must not depend on the machine that prints it.
pub const NOMINAL_THREADS: usize = 2;
/// SST-2's development set, sentences.
const SST2_SENTENCES: usize = 872;

/// Where the model's size was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeSource {
    /// The manifest names the architecture.
    Manifest,
    /// Unknown without reading the checkpoint, so BERT-base's size was assumed.
    AssumedBertBase,
}

/// The estimated duration of one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DurationEstimate {
    /// One forward pass, seconds.
    pub pass_s: f64,
    /// Loading, building, warm-up, samples, energy window, comparison and scoring, seconds. It assumes that sampling ends
    /// at the largest number of samples or at the time cap, not at the target precision, so it is too long rather than
    /// too short.
    pub total_s: f64,
    /// Where the model's size was taken from.
    pub size: SizeSource,
}

/// The model's sizes in the closed form.
#[derive(Debug, Clone, Copy)]
struct ModelSizes {
    layers: f64,
    hidden: f64,
    /// Rows of the vocabulary projection; 0 without one.
    projection: f64,
}

/// Assumed performance of a backend.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// Floating-point operations per second.
    flops_per_s: f64,
    /// Least duration of a pass, seconds.
    floor_s: f64,
    /// Loading weights and building, seconds per configuration.
    build_s: f64,
}

impl Configuration {
    fn rate(&self, measurement: &Measurement) -> Rate {
        rate(self.backend, &self.policy, self.target.unwrap_or_default(), measurement.threads)
    }

    /// Rough duration of this configuration without its A/A test.
    fn estimate(&self, measurement: &Measurement, numerics: &Numerics) -> DurationEstimate {
        let (sizes, size) = sizes(&self.model_source);
        let rate = self.rate(measurement);
        let pass_s = rate.pass_s(sizes, self.shape);
        let passes_s = |count: usize| pass_s * count as f64;
        let processes = measurement.processes(self.backend.device());
        let share = measurement.share_of(processes);
        let sampling_s = passes_s(share.min_samples).max(passes_s(share.max_samples).min(share.time_cap_s));
        let warm_up_s = match processes {
            1 => passes_s(share.warmup),
            _ => passes_s(share.warmup).min(share.time_cap_s.max(passes_s(share.warmup.min(1)))),
        };
        let scored = match self.input_source {
            InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } => 0,
            InputSource::Text { .. } => numerics.score_windows,
            InputSource::Sst2 { .. } | InputSource::Examples { .. } => SST2_SENTENCES,
        };
        let comparison_s = passes_s(1 + scored.div_ceil(self.shape.batch) + numerics.forwards.unwrap_or(0));
        let window_s = match self.backend.device() {
            DeviceKind::Cpu => 0.0,
            DeviceKind::Gpu => measurement.energy_window_s.unwrap_or(0.0),
        };
        // The first builds, then all others at once.
        let builds_s = processes.min(2) as f64 * rate.build_s;
        let total_s = builds_s + processes as f64 * (warm_up_s + sampling_s) + window_s + comparison_s;
        DurationEstimate { pass_s, total_s: total_s.min(measurement.timeout_s), size }
    }
}

impl Plan {
    /// Estimates in the order of the configurations.
    pub fn estimates(&self) -> Vec<DurationEstimate> {
        self.configurations.iter().map(|one| self.estimate(one)).collect()
    }

    /// How long one of the configurations takes, with its A/A test where it has one.
    pub fn estimate(&self, one: &Configuration) -> DurationEstimate {
        let estimate = one.estimate(&self.measurement, &self.numerics);
        let Some(test) = self.noise_floor.as_ref().filter(|test| test.covers(one.shape, &one.policy)) else {
            return estimate;
        };
        let block = test.block(estimate.pass_s);
        let round_s = 4.0 * (block.untimed + block.samples) as f64 * estimate.pass_s;
        let most_s = test.time_cap_s.max(BOOTSTRAP_MIN_SAMPLES as f64 * round_s);
        let build_s = one.rate(&self.measurement).build_s;
        let total_s = estimate.total_s + build_s + (test.rounds as f64 * round_s).min(most_s);
        DurationEstimate { total_s: total_s.min(self.measurement.timeout_s), ..estimate }
    }

    /// How long the FP32 reference of one of the configurations takes, seconds: every compared sequence once, on the CPU.
    pub fn reference_s(&self, one: &Configuration) -> f64 {
        let rate = rate(
            BackendKind::Reference,
            &PrecisionPolicy::preset(Preset::Fp32),
            Target::Current,
            self.measurement.threads,
        );
        let sequences = self.numerics.compare_sequences + self.numerics.forwards.unwrap_or(0) * one.shape.batch;
        let (sizes, _) = sizes(&one.model_source);
        rate.build_s + sequences as f64 * rate.pass_s(sizes, Shape { batch: 1, ..one.shape })
    }
}

impl Rate {
    fn pass_s(self, sizes: ModelSizes, shape: Shape) -> f64 {
        (flops(sizes, shape) / self.flops_per_s).max(self.floor_s)
    }
}

/// `L (24 T d² + 4 B S² d) + 2 T d V`: projections and feed-forward, attention products, vocabulary projection
/// (Kaplan et al., arXiv 2001.08361, table 1, with the quadratic term kept).
fn flops(sizes: ModelSizes, shape: Shape) -> f64 {
    let (batch, sequence) = (shape.batch as f64, shape.sequence as f64);
    let (tokens, hidden) = (batch * sequence, sizes.hidden);
    let layer = 24.0 * tokens * hidden * hidden + 4.0 * batch * sequence * sequence * hidden;
    sizes.layers * layer + 2.0 * tokens * hidden * sizes.projection
}

fn sizes(source: &ModelSource) -> (ModelSizes, SizeSource) {
    let (architecture, known) = match source.architecture() {
        Some(architecture) => (architecture, SizeSource::Manifest),
        None => (Architecture::BertBase, SizeSource::AssumedBertBase),
    };
    let (family, Dimensions { layers, hidden, vocabulary, .. }) = architecture.sizes();
    let projection = if family.is_encoder() { 0.0 } else { vocabulary as f64 };
    (ModelSizes { layers: layers as f64, hidden: hidden as f64, projection }, known)
}

/// Nominal rates, rounded. CPU backends: per thread with AVX-512. For BERT-base at 1x32 (5.5 GFLOP) and 1x128 (22 GFLOP),
/// ONNX Runtime took this much processor time of one thread: 64 and 185 ms in FP32, 68 and 205 ms in FP16, 64 and 195 ms in
/// hybrid (`make bench`). Rounding costs it little, since it computes in FP32 in any case. GPU backends: an H200 (BERT-base
/// 32x512 in 7 ms, in FP32 in 82 ms), whose peak no small batch reaches. Building for this machine's GPU: TensorRT 8.6.1
/// times kernels, 18 to 57 s on 16 cores for BERT-base; for a named one TensorRT-RTX takes 3 to 4 s on 2 cores. CUDA chooses
/// its kernels the first time.
fn rate(backend: BackendKind, policy: &PrecisionPolicy, target: Target, threads: Option<usize>) -> Rate {
    let threads = threads.unwrap_or(NOMINAL_THREADS) as f64;
    let rounds = policy.classes.values().any(|rounding| *rounding != Rounding::uniform(Format::Fp32));
    let narrow = policy.rounding("", OpClass::Linear).compute.bytes() < Format::Fp32.bytes();
    match backend {
        // Narrow formats are emulated: the same products, and rounding of every intermediate.
        BackendKind::Reference => {
            Rate { flops_per_s: threads * if narrow { 25e9 } else { 50e9 }, floor_s: 1e-4, build_s: 0.5 }
        }
        BackendKind::OnnxRuntime => {
            Rate { flops_per_s: threads * if rounds { 95e9 } else { 100e9 }, floor_s: 1e-4, build_s: 2.0 }
        }
        BackendKind::Cuda => Rate { flops_per_s: if narrow { 300e12 } else { 30e12 }, floor_s: 2e-4, build_s: 2.0 },
        BackendKind::TensorRt => {
            let build_s = if target == Target::Current { 60.0 } else { 4.0 };
            Rate { flops_per_s: if narrow { 200e12 } else { 30e12 }, floor_s: 5e-4, build_s }
        }
        BackendKind::Mock => Rate { flops_per_s: f64::INFINITY, floor_s: 1e-3, build_s: 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_gives_bert_base_its_known_work() {
        let (bert, known) = sizes(&ModelSource::Random { seed: 1, architecture: Architecture::BertBase });
        // 12 * (24 * 128 * 768^2 + 4 * 128^2 * 768)
        assert_eq!(flops(bert, Shape { batch: 1, sequence: 128 }), 22_347_251_712.0);
        assert_eq!(known, SizeSource::Manifest);
    }

    #[test]
    fn rounding_costs_onnx_runtime_time_and_tensorrt_none() {
        let pass_s = |backend, preset| {
            let (bert, _) = sizes(&ModelSource::Random { seed: 1, architecture: Architecture::BertBase });
            rate(backend, &PrecisionPolicy::preset(preset), Target::Current, Some(1))
                .pass_s(bert, Shape { batch: 8, sequence: 512 })
        };
        for preset in [Preset::Fp16, Preset::Hybrid] {
            assert!(pass_s(BackendKind::OnnxRuntime, preset) > pass_s(BackendKind::OnnxRuntime, Preset::Fp32));
            assert!(pass_s(BackendKind::TensorRt, preset) < pass_s(BackendKind::TensorRt, Preset::Fp32));
        }
    }

    /// A library that times kernels on the GPU it builds for takes a minute; one that builds without a GPU, seconds.
    #[test]
    fn a_build_for_this_machines_gpu_takes_a_minute() {
        let build_s =
            |target| rate(BackendKind::TensorRt, &PrecisionPolicy::preset(Preset::Fp16), target, None).build_s;
        assert_eq!((build_s(Target::Current), build_s(Target::Sm89)), (60.0, 4.0));
    }

    #[test]
    fn a_vocabulary_projection_is_counted_and_batches_scale_linearly() {
        let (gpt2, _) = sizes(&ModelSource::Random { seed: 1, architecture: Architecture::Gpt2 });
        let one = flops(gpt2, Shape { batch: 1, sequence: 64 });
        assert_eq!(flops(gpt2, Shape { batch: 8, sequence: 64 }), 8.0 * one);
        let (bert, _) = sizes(&ModelSource::Random { seed: 1, architecture: Architecture::BertBase });
        assert_eq!(one - flops(bert, Shape { batch: 1, sequence: 64 }), 2.0 * 64.0 * 768.0 * 50_257.0);
    }
}
