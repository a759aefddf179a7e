//! Benchmarks of heads of 80 and 128 elements and of rows 312 wide: fused kernels and single operations in one process.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::bench::{Pass, fastest};
use super::sizes::of_sizes;
use super::{DEVICE, gpu};
use crate::backend::cuda::calls::{DeviceCall, StageGroup, calls, choices, group_key};
use crate::backend::cuda::lower::lower;
use crate::backend::cuda::stage::Stage;
use crate::graph::{Format, OpClass, PrecisionPolicy, Preset, Shape};
use crate::model::{Architecture, Model};

/// Hybrid, and hybrid by single operations: where sums are in TF32, which to products and norms is FP32, no fused kernel claims
/// the operation.
fn policies() -> [PrecisionPolicy; 2] {
    let fused = PrecisionPolicy::preset(Preset::Hybrid);
    let mut single = fused.clone();
    for class in [OpClass::AttentionContext, OpClass::LayerNorm] {
        if let Some(rounding) = single.classes.get_mut(&class) {
            rounding.accumulate = Format::Tf32;
        }
    }
    [fused, single]
}

/// Time of the stages of all layers that are `wanted`, each alone and by its fastest kernel, in microseconds, and the number of
/// their kernels.
fn time_us(model: &Model, policy: &PrecisionPolicy, shape: Shape, wanted: fn(&Stage) -> bool) -> Option<(f64, usize)> {
    let gpu = gpu()?;
    let mut stages = lower(&model.graph, policy, shape).unwrap();
    // Without the products, which read large weights.
    stages.stages.retain(|stage| wanted(stage) || is_a_norm(stage));
    let pass = Pass::new(gpu, model, stages, shape);
    pass.arena.fill_with_small_numbers().unwrap();
    let placement = pass.placement(pass.weights.addresses());
    let mut all: Vec<DeviceCall> = Vec::new();
    let mut fastest_of_key = BTreeMap::new();
    for (first, _) in pass.stages.stages.iter().enumerate().filter(|(_, stage)| wanted(stage)) {
        let group = StageGroup { first, count: 1 };
        let choice = *fastest_of_key.entry(group_key(&pass.stages, group)).or_insert_with(|| {
            let choice = fastest(&pass, &[group], choices(&placement, group)).map(|(choice, _)| choice);
            choice.inspect(|choice| println!("  {} {choice:?}", group_key(&pass.stages, group)))
        });
        all.extend(calls(&placement, group, choice).unwrap());
    }
    Some((pass.time_ms(&all).unwrap() * 1e3, all.len()))
}

fn is_of_attention(stage: &Stage) -> bool {
    let single = matches!(stage, Stage::HeadProduct(_) | Stage::Softmax(_));
    single || matches!(stage, Stage::Attention(_) | Stage::SplitHeads { .. } | Stage::MergeHeads { .. })
}

#[test]
#[ignore = "a benchmark"]
fn bench_attention_of_wider_heads_fused_and_by_single_operations() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    println!("| hybrid | single kernels | us a layer | fused kernels | us a layer |");
    for (architecture, hidden, heads) in
        [(Architecture::Gpt2Tiny, 2560, 32), (Architecture::BertTiny, 768, 8), (Architecture::Gpt2Tiny, 4096, 32)]
    {
        let model = of_sizes(architecture, hidden, heads);
        for (batch, sequence) in [(1, 128), (1, 512), (8, 128), (8, 512)] {
            let shape = Shape { batch, sequence };
            let [fused, single] = policies().map(|policy| time_us(&model, &policy, shape, is_of_attention));
            let (Some((fused_us, fused)), Some((single_us, single))) = (fused, single) else { return };
            assert!(fused < single);
            let layers = model.graph.dimensions.layers;
            let [fused_us, single_us] = [fused_us, single_us].map(|us| us / layers as f64);
            let what = format!("{heads} heads of {} {batch}x{sequence}", hidden / heads);
            println!("| {what} | {} | {single_us:.2} | {} | {fused_us:.2} |", single / layers, fused / layers);
        }
    }
}

fn is_a_norm(stage: &Stage) -> bool {
    matches!(stage, Stage::LayerNorm(_))
}

#[test]
#[ignore = "a benchmark"]
fn bench_layer_norms_of_any_width_fused_and_by_single_operations() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    println!("| hybrid, a layer norm of GPT-2 | single, us | fused, us |");
    for (hidden, heads) in [(312, 12), (4096, 32)] {
        let model = of_sizes(Architecture::Gpt2Tiny, hidden, heads);
        for (batch, sequence) in [(1, 128), (8, 128), (32, 512)] {
            let shape = Shape { batch, sequence };
            let [fused, single] = policies().map(|policy| time_us(&model, &policy, shape, is_a_norm));
            let (Some(fused), Some(single)) = (fused, single) else { return };
            let [fused, single] = [fused, single].map(|(us, norms)| us / norms as f64);
            println!("| {hidden} wide {batch}x{sequence} | {single:.2} | {fused:.2} |");
        }
    }
}
