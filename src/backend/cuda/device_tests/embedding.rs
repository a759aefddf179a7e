//! The embedding and the layer norm after it in one kernel, against float64 and against two kernels.

use std::sync::PoisonError;

use super::forward::{Forward, TensorBytes, Values, inputs, loaded};
use super::rounded::{check_policies, difference};
use super::sizes::of_sizes;
use super::{Bench, DEVICE, gpu, model};
use crate::backend::cuda::calls::tests::with_in_fp32;
use crate::backend::cuda::calls::{DeviceCall, calls, groups};
use crate::backend::cuda::lower::{lower, lower_stepwise};
use crate::backend::cuda::stage::{Stage, Stages};
use crate::engine::BackendError;
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::model::{Architecture, Model, build_graph};

/// Six warps, two and one for a row, one row to four a block, and blocks with spare rows.
const SHAPES: [(usize, usize); 5] = [(1, 1), (1, 32), (3, 33), (3, 101), (8, 128)];

/// `tf32` has the kernels of `fp32`.
const PRESETS: [Preset; 3] = [Preset::Hybrid, Preset::Bf16, Preset::Fp32];

/// A model of one layer and a small vocabulary.
fn small(architecture: Architecture) -> Model {
    let mut model = model(architecture);
    (model.config.dimensions.layers, model.config.dimensions.vocabulary) = (1, 1000);
    model.graph = build_graph(&model.config);
    model
}

/// A pre-norm model of other rows: some are no whole warps.
fn pre_norm(hidden: usize, heads: usize) -> Model {
    of_sizes(Architecture::Gpt2Tiny, hidden, heads)
}

#[test]
fn an_embedding_and_its_norm_agree_with_float64() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for model in [small(Architecture::Gpt2), pre_norm(312, 12), small(Architecture::BertBase)] {
        for preset in PRESETS {
            for (batch, sequence) in SHAPES {
                let Some(gpu) = gpu() else { return };
                let bench = Bench::new(gpu, &model, preset, Shape { batch, sequence });
                let ran = bench.check_groups(|stages| matches!(stages, [Stage::Embedding(of)] if of.norm.is_some()));
                assert_eq!(ran, 1, "{} {preset} {batch}x{sequence}", model.config.dimensions.hidden);
            }
        }
    }
}

/// The stages before the first product.
fn before_the_first_product(stages: Stages) -> Stages {
    let count = stages.stages.iter().position(|stage| matches!(stage, Stage::Linear(_))).unwrap();
    Stages { stages: stages.stages[..count].to_vec(), ..stages }
}

/// What so many kernels leave in the tensors of some stages, and the names of those that they write.
fn run(forward: &Forward<'_>, kernels: usize) -> (TensorBytes, Vec<String>) {
    let placement = forward.placement();
    let of = |group| calls(&placement, group, None).unwrap();
    let all: Vec<DeviceCall> = groups(&forward.stages).into_iter().flat_map(of).collect();
    assert_eq!(all.len(), kernels);
    assert!(forward.run(&all));
    let written = forward.stages.stages.iter().flat_map(Stage::writes);
    (forward.bytes(), written.map(|id| forward.stages.tensor(id).name.clone()).collect())
}

/// Compares one kernel with two at all shapes. `false` without a device.
fn has_the_bits_of_two_kernels(model: &Model, preset: Preset) -> bool {
    let Some(gpu) = gpu() else { return false };
    let policy = PrecisionPolicy::preset(preset);
    for values in [Values::Ordinary, Values::Outliers] {
        let any = lower(&model.graph, &policy, Shape { batch: 1, sequence: 1 }).unwrap();
        let weights = loaded(&gpu, model, &any, values);
        for (batch, sequence) in SHAPES {
            let shape = Shape { batch, sequence };
            let what = format!("{} wide, {preset} {shape:?} {values:?}", model.config.dimensions.hidden);
            let inputs = inputs(&gpu, model, shape);
            let forward = |stages: Result<Stages, BackendError>| {
                let stages = before_the_first_product(stages.unwrap());
                Forward::new(&gpu, stages, (weights.addresses(), &inputs, shape))
            };
            let (found, written) = run(&forward(lower(&model.graph, &policy, shape)), 1);
            let (expected, _) = run(&forward(lower_stepwise(&model.graph, &policy, shape)), 2);
            let compared = |name: &String| found.keys().any(|key| key.0 == *name && expected.contains_key(key));
            assert!(written.iter().all(compared), "{what}: {written:?}");
            let (bytes, first) = difference(&found, &expected);
            assert!(bytes == 0, "{what}: {bytes} bytes differ, first in `{first}`");
        }
        println!("{} wide, {preset} {values:?}: the same bits", model.config.dimensions.hidden);
    }
    true
}

#[test]
fn an_embedding_and_its_norm_have_the_bits_of_two_kernels() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for model in [small(Architecture::Gpt2), pre_norm(128, 4), pre_norm(312, 12), pre_norm(2560, 32)] {
        if !PRESETS.iter().all(|&preset| has_the_bits_of_two_kernels(&model, preset)) {
            return;
        }
    }
    // BERT's sum in 16 bits is rounded, and not stored.
    has_the_bits_of_two_kernels(&small(Architecture::BertBase), Preset::Bf16);
}

/// A search may leave the embedding and what reads it in FP32: one kernel then computes both among those of FP16, and an examined
/// forward has them apart.
#[test]
fn an_embedding_and_its_norm_in_fp32_before_fp16_have_the_bits_of_single_operations() {
    let model = model(Architecture::Gpt2Tiny);
    let policy = with_in_fp32(&["embeddings/sum", "layer.0/attention/layer_norm", "layer.0/attention/residual"]);
    check_policies("Gpt2Tiny", &model, (&[(4, 33)], &[policy]), &[Values::Ordinary, Values::Outliers]);
}
