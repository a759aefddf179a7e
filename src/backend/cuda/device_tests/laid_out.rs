//! The fused kernels of `fp16` in the memory of an engine, where tensors share bytes and begin as NaN, against single operations
//! in tensors of their own: every kernel of attention, at the lengths and batch sizes where several tiles of keys follow each
//! other. A failure names the first tensor that differs, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::PoisonError;

use half::f16;

use super::forward::{Forward, TensorBytes, Values, inputs, loaded, same_calls};
use super::rounded::fp16;
use super::{DEVICE, gpu, model};
use crate::backend::cuda::arena::lay_out;
use crate::backend::cuda::calls::{Choice, DeviceCall, calls, choices, group_key, groups};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::examine::StepwiseForward;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::lower::{lower, lower_stepwise};
use crate::backend::cuda::stage::{Stage, TensorId};
use crate::backend::cuda::tune::{Timing, tune};
use crate::engine::ProgressSink;
use crate::graph::{ReductionOrder, Shape};
use crate::model::{Architecture, Model, build_graph};

/// Passes that follow each other before the output is compared once more: what depends on timing shows then.
const MORE_PASSES: usize = 8;

/// Where a tensor first differs.
struct FirstDifference {
    tensor: String,
    row: usize,
    column: usize,
    found: f16,
    expected: f16,
    /// Elements that differ, and those of them that are NaN.
    elements: (usize, usize),
}

impl fmt::Display for FirstDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FirstDifference { tensor, row, column, found, expected, elements: (all, nan) } = self;
        write!(f, "`{tensor}` row {row} column {column}: {found} instead of {expected}; {all} differ, {nan} are NaN")
    }
}

/// The difference between a tensor of FP16 and what single operations left in the one of that name. `None` if there is none.
fn difference(forward: &Forward<'_>, id: TensorId, expected: &TensorBytes) -> Option<FirstDifference> {
    let tensor = forward.stages.tensor(id);
    let expected = expected.get(&(tensor.name.clone(), tensor.bytes()))?;
    assert_eq!(tensor.element, ElementType::F16);
    let mut found = vec![0u8; tensor.bytes()];
    forward.arena.read(forward.offsets[id.0], &mut found).unwrap();
    let pairs = || found.chunks_exact(2).zip(expected.chunks_exact(2)).enumerate().filter(|(_, (a, b))| a != b);
    let value = |bytes: &[u8]| f16::from_ne_bytes([bytes[0], bytes[1]]);
    let (index, (a, b)) = pairs().next()?;
    Some(FirstDifference {
        tensor: tensor.name.clone(),
        row: index / tensor.stride,
        column: index % tensor.stride,
        found: value(a),
        expected: value(b),
        elements: (pairs().count(), pairs().filter(|(_, (a, _))| value(a).is_nan()).count()),
    })
}

/// The calls of every group of a forward, with a choice for each key.
fn by_group(forward: &Forward<'_>, chosen: &BTreeMap<String, Choice>) -> Vec<Vec<DeviceCall>> {
    let (placement, stages) = (forward.placement(), &forward.stages);
    let choice = |group| chosen.get(&group_key(stages, group)).copied();
    groups(stages).into_iter().map(|group| calls(&placement, group, choice(group)).unwrap()).collect()
}

/// The first tensor that differs when a forward ends after one group, two groups, and so on.
fn first_difference(forward: &Forward<'_>, by_group: &[Vec<DeviceCall>], expected: &TensorBytes) -> String {
    for (index, group) in groups(&forward.stages).into_iter().enumerate() {
        forward.run(&by_group[..=index].concat());
        let stages = &forward.stages.stages[group.first..group.first + group.count];
        let found = stages.iter().flat_map(Stage::writes).find_map(|id| difference(forward, id, expected));
        if let Some(found) = found {
            return format!("first {found}, in {}", group_key(&forward.stages, group));
        }
    }
    "no tensor differs where the forward ends after it".to_owned()
}

/// Every kernel of attention, once with the kernels that the tuner takes for the rest and once with those of no tuning.
fn candidates(gpu: &GpuRuntime, fused: &Forward<'_>) -> Vec<BTreeMap<String, Choice>> {
    let (placement, all) = (fused.placement(), groups(&fused.stages));
    let timing = Timing { arena: &fused.arena, progress: &ProgressSink::default() };
    let choices_of_tuner = tune(gpu, &placement, &all, timing).unwrap();
    let tuned: BTreeMap<String, Choice> = all
        .iter()
        .map(|&group| group_key(&fused.stages, group))
        .filter_map(|key| Some((key.clone(), choices_of_tuner.get(&key)?)))
        .collect();
    let attention = |group: &&_| matches!(choices(&placement, **group)[..], [Choice::RoundedAttention(_), ..]);
    let group = *all.iter().find(attention).unwrap();
    let key = group_key(&fused.stages, group);
    let mut found = vec![tuned.clone()];
    for choice in choices(&placement, group) {
        found.push([(key.clone(), choice)].into());
        found.push(tuned.clone().into_iter().chain([(key.clone(), choice)]).collect());
    }
    found
}

/// What differs with every candidate, one line each.
fn failures(gpu: &GpuRuntime, model: &Model, name: &str, shape: Shape) -> Vec<String> {
    let policy = fp16(ReductionOrder::SumThenDivide);
    let stages = lower(&model.graph, &policy, shape).unwrap();
    let stepwise = lower_stepwise(&model.graph, &policy, shape).unwrap();
    let (weights, inputs) = (loaded(gpu, model, &stages, Values::Ordinary), inputs(gpu, model, shape));
    let of = (weights.addresses(), &inputs, shape);
    let output = stages.output.unwrap();
    let layout = lay_out(&stages.tensors, &stages.stages, &[output]);
    let (fused, single) = (Forward::laid_out(gpu, stages, of, layout), Forward::new(gpu, stepwise, of));
    let mut last: Option<(Vec<DeviceCall>, TensorBytes)> = None;
    let (mut failures, mut ran) = (Vec::new(), 0);
    for chosen in candidates(gpu, &fused) {
        let mut oracle = StepwiseForward::new(single.stages.clone()).unwrap();
        for group in groups(&fused.stages) {
            oracle.choose(&fused.stages.stages[group.first], chosen.get(&group_key(&fused.stages, group)).copied());
        }
        let (steps, _) = oracle.calls(&single.placement()).unwrap();
        if last.as_ref().is_none_or(|(before, _)| !same_calls(before, &steps)) {
            assert!(single.run(&steps));
            last = Some((steps, single.bytes()));
        }
        let Some((_, expected)) = &last else { continue };
        assert!(expected.keys().any(|(name, _)| *name == fused.stages.tensor(output).name));
        let by_group = by_group(&fused, &chosen);
        let Ok(prepared) = gpu.prepare(&by_group.concat()) else { continue };
        fused.run(&by_group.concat());
        ran += 1;
        let mut found = difference(&fused, output, expected);
        if found.is_none() {
            (0..MORE_PASSES).for_each(|_| gpu.enqueue(&prepared).unwrap());
            gpu.stream.synchronize().unwrap();
            found = difference(&fused, output, expected);
        }
        if let Some(found) = found {
            let first = first_difference(&fused, &by_group, expected);
            failures.push(format!("{name} {shape:?} {chosen:?}: {found}; {first}"));
        }
    }
    println!("{name} {shape:?}: {ran} ran, {} differ", failures.len());
    assert!(ran > 0);
    failures
}

fn check(architecture: Architecture, shapes: &[(usize, usize)]) {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gpu) = gpu() else { return };
    let mut model = model(architecture);
    model.config.dimensions.layers = 2;
    model.graph = build_graph(&model.config);
    let name = format!("{architecture:?}");
    let of = |&(batch, sequence): &(usize, usize)| failures(&gpu, &model, &name, Shape { batch, sequence });
    let all: BTreeSet<String> = shapes.iter().flat_map(of).collect();
    assert!(all.is_empty(), "{}", all.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn fused_fp16_of_bert_has_the_bits_of_single_operations_in_an_engines_memory() {
    check(Architecture::BertBase, &[(1, 511), (1, 512), (32, 128), (8, 512)]);
}

#[test]
fn fused_fp16_of_gpt2_has_the_bits_of_single_operations_in_an_engines_memory() {
    check(Architecture::Gpt2, &[(1, 511), (4, 128), (1, 1024)]);
}
