//! The fused kernels of a policy that rounds inside operations against the kernels of single operations: every bit of every
//! tensor that both forwards have. The single operations are compared with the reference backend in `tests/backends`.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::forward::{Forward, TensorBytes, Values, inputs, loaded, same_calls};
use super::reference::number;
use super::sizes::{WIDER_HEADS, of_sizes};
use super::{DEVICE, gpu, is_attention, model, put, stages_of};
use crate::backend::cuda::calls::{Choice, DeviceCall, calls, choices, group_key, groups};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::examine::StepwiseForward;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::lower::{lower, lower_stepwise};
use crate::backend::cuda::memory::DeviceMemory;
use crate::backend::cuda::stage::{DeviceTensor, LayerNorm, Norm, Outputs, Stage, Stages, TensorId, WeightKey};
use crate::backend::cuda::tune::library_algorithms;
use crate::graph::{Format, ParamId, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use crate::model::{Architecture, Model};

pub(super) fn fp16(order: ReductionOrder) -> PrecisionPolicy {
    PrecisionPolicy { layer_norm_reduction: order, ..PrecisionPolicy::preset(Preset::Fp16) }
}

/// How many bytes differ in the tensors of both, and in which tensor first.
pub(super) fn difference(a: &TensorBytes, b: &TensorBytes) -> (usize, String) {
    let mut all = (0, String::new());
    for ((name, bytes), a) in a {
        let Some(b) = b.get(&(name.clone(), *bytes)) else { continue };
        let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
        if differing > 0 && all.0 == 0 {
            all.1 = name.clone();
        }
        all.0 += differing;
    }
    all
}

/// One comparison: a choice for the groups of a key, and the calls of both forwards with it.
struct Candidate {
    what: String,
    timed: Vec<DeviceCall>,
    steps: Vec<DeviceCall>,
}

/// Which groups of stages a test is about.
type Wanted = fn(&[Stage]) -> bool;

const EVERY_GROUP: Wanted = |_| true;

/// Every choice of every group that is wanted, the others as the host would choose without timing.
fn candidates(gpu: &GpuRuntime, fused: &Forward<'_>, single: &Forward<'_>, wanted: Wanted) -> Vec<Candidate> {
    let placement = fused.placement();
    let all = groups(&fused.stages);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let of_interest = all.iter().filter(|group| wanted(stages_of(&fused.stages, **group)));
    for &group in of_interest.filter(|&&group| seen.insert(group_key(&fused.stages, group))) {
        let key = group_key(&fused.stages, group);
        let library = library_algorithms(gpu, &placement, group).unwrap();
        for choice in std::iter::once(None).chain(choices(&placement, group).into_iter().chain(library).map(Some)) {
            let mut oracle = StepwiseForward::new(single.stages.clone()).unwrap();
            let mut timed = Vec::new();
            for &group in &all {
                let choice = choice.filter(|_| group_key(&fused.stages, group) == key);
                oracle.choose(&fused.stages.stages[group.first], choice);
                timed.extend(calls(&placement, group, choice).unwrap());
            }
            let (steps, _) = oracle.calls(&single.placement()).unwrap();
            found.push(Candidate { what: format!("{key} {choice:?}"), timed, steps });
        }
    }
    found
}

/// Runs both forwards with every choice and compares them. Returns the number of choices that ran, `None` without a device.
fn compare(
    name: &str,
    model: &Model,
    (shape, policy): (Shape, &PrecisionPolicy),
    values: Values,
    wanted: Wanted,
) -> Option<usize> {
    let gpu = gpu()?;
    let PrecisionPolicy { layer_norm_reduction: order, overrides, .. } = policy;
    let what = format!("{name} {order:?} {:?} {shape:?} {values:?}", overrides.keys());
    let stages = lower(&model.graph, policy, shape).unwrap();
    let stepwise = lower_stepwise(&model.graph, policy, shape).unwrap();
    let (weights, inputs) = (loaded(&gpu, model, &stages, values), inputs(&gpu, model, shape));
    let of = (weights.addresses(), &inputs, shape);
    let (fused, single) = (Forward::new(&gpu, stages, of), Forward::new(&gpu, stepwise, of));
    let candidates = candidates(&gpu, &fused, &single, wanted);
    // All at once, on all processors. A kernel that is refused rules out its own choice, below.
    let _ = gpu.load_kernels(candidates.iter().flat_map(|candidate| candidate.timed.iter().chain(&candidate.steps)));
    let output = &fused.stages.tensor(fused.stages.output.unwrap()).name;
    let [once, twice] = [&fused, &single].map(|forward| overwritten(&forward.stages));
    let unlike: BTreeSet<_> = once.symmetric_difference(&twice).collect();
    let mut last: Option<(&[DeviceCall], TensorBytes)> = None;
    let mut ran = 0;
    for candidate in &candidates {
        // Where only attention differs, the single operations are the same.
        if last.as_ref().is_none_or(|(steps, _)| !same_calls(steps, &candidate.steps)) {
            last = single.run(&candidate.steps).then(|| (&candidate.steps[..], single.bytes()));
        }
        let Some((_, expected)) = &last else { continue };
        if !fused.run(&candidate.timed) {
            continue;
        }
        let mut found = fused.bytes();
        found.retain(|(name, _), _| !unlike.contains(name));
        let (bytes, first) = difference(&found, expected);
        assert!(bytes == 0, "{what} {}: {bytes} bytes differ, first in `{first}`", candidate.what);
        assert!(expected.keys().any(|(name, _)| name == output), "{what}: the output was not compared");
        ran += 1;
    }
    println!("{what}: {ran} of {} choices", candidates.len());
    Some(ran)
}

/// The tensors that a stage reads and overwrites: in the end they hold another value than that of their name.
fn overwritten(stages: &Stages) -> BTreeSet<String> {
    let of = |stage: &Stage| {
        let reads = stage.reads();
        stage.writes().into_iter().filter(move |tensor| reads.contains(tensor))
    };
    stages.stages.iter().flat_map(of).map(|tensor| stages.tensor(tensor).name.clone()).collect()
}

fn check(architecture: Architecture, shapes: &[(usize, usize)], orders: &[ReductionOrder], kinds: &[Values]) {
    check_model(&format!("{architecture:?}"), &model(architecture), shapes, orders, kinds);
}

fn check_model(name: &str, model: &Model, shapes: &[(usize, usize)], orders: &[ReductionOrder], kinds: &[Values]) {
    let policies: Vec<PrecisionPolicy> = orders.iter().map(|&order| fp16(order)).collect();
    check_policies(name, model, (shapes, &policies), kinds);
}

/// The same of policies, with the parameters of each kind.
pub(super) fn check_policies(
    name: &str,
    model: &Model,
    (shapes, policies): (&[(usize, usize)], &[PrecisionPolicy]),
    kinds: &[Values],
) {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for &(batch, sequence) in shapes {
        for policy in policies {
            for &values in kinds {
                let Some(ran) = compare(name, model, (Shape { batch, sequence }, policy), values, EVERY_GROUP) else {
                    return;
                };
                assert!(ran > 0);
            }
        }
    }
}

const KINDS: [Values; 3] = [Values::Ordinary, Values::Overflow, Values::Outliers];

const ORDERS: [ReductionOrder; 2] = [ReductionOrder::SumThenDivide, ReductionOrder::DivideFirst];

/// One layer's attention at one shape, with heads of 32, 64 and 80: few enough choices for compute-sanitizer, and every kind of
/// kernel. `tests/sanitizer.sh` runs it.
#[test]
fn attention_under_fp16_has_the_bits_of_single_operations_at_one_shape() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = Shape { batch: 2, sequence: 33 };
    for size in [32, 64, 80] {
        let model = of_sizes(Architecture::BertTiny, size, 1);
        let policy = fp16(ReductionOrder::SumThenDivide);
        let ran = compare(&format!("heads of {size}"), &model, (shape, &policy), Values::Ordinary, is_attention);
        assert!(ran.is_none_or(|ran| ran > 1), "{ran:?}");
    }
}

#[test]
fn fused_fp16_of_heads_of_32_has_the_bits_of_single_operations() {
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        check(architecture, &[(1, 1), (4, 33)], &ORDERS, &KINDS);
        check(architecture, &[(3, 31), (2, 128)], &ORDERS[..1], &KINDS[..1]);
    }
}

/// Rows of 80 elements, too, are neither whole warps nor a power of two.
#[test]
fn fused_fp16_of_wider_heads_has_the_bits_of_single_operations() {
    for size in WIDER_HEADS {
        for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
            let (name, model) = (format!("{architecture:?} of {size}"), of_sizes(architecture, size, 1));
            check_model(&name, &model, &[(4, 33)], &ORDERS[..1], &KINDS);
            check_model(&name, &model, &[(1, 1), (2, 127)], &ORDERS[..1], &KINDS[..1]);
        }
    }
}

#[test]
fn fused_fp16_of_bert_has_the_bits_of_single_operations() {
    check(Architecture::BertBase, &[(1, 32), (4, 127)], &ORDERS[..1], &KINDS);
    check(Architecture::BertBase, &[(3, 33)], &ORDERS[1..], &KINDS[..1]);
    check(Architecture::BertBase, &[(1, 511), (2, 512)], &ORDERS[..1], &KINDS[..1]);
}

#[test]
fn fused_fp16_of_gpt2_has_the_bits_of_single_operations() {
    check(Architecture::Gpt2, &[(1, 32), (4, 127)], &ORDERS[..1], &KINDS);
    check(Architecture::Gpt2, &[(1, 511), (1, 1024)], &ORDERS[..1], &KINDS[..1]);
}

/// Says how far cuBLASLt's products over materialised scores are from those in order. Nothing promises that they agree.
#[test]
fn the_products_of_attention_heads_are_those_of_the_library_or_a_rounding_away() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for (architecture, batch, sequence) in
        [(Architecture::BertBase, 1, 32), (Architecture::BertBase, 4, 128), (Architecture::Gpt2, 3, 511)]
    {
        let Some(gpu) = gpu() else { return };
        let (model, shape) = (model(architecture), Shape { batch, sequence });
        let stages = lower_stepwise(&model.graph, &fp16(ReductionOrder::SumThenDivide), shape).unwrap();
        let (weights, inputs) = (loaded(&gpu, &model, &stages, Values::Ordinary), inputs(&gpu, &model, shape));
        let of = (weights.addresses(), &inputs, shape);
        let mut by_library = stages.clone();
        for stage in &mut by_library.stages {
            if let Stage::HeadProduct(product) = stage {
                assert!(product.in_order);
                product.in_order = false;
            }
        }
        let outputs: Vec<_> = [stages, by_library]
            .into_iter()
            .map(|stages| {
                let steps = StepwiseForward::new(stages.clone()).unwrap();
                let forward = Forward::new(&gpu, stages, of);
                assert!(forward.run(&steps.calls(&forward.placement()).unwrap().0));
                (forward.bytes(), forward.stages.output.unwrap(), forward)
            })
            .collect();
        let (bytes, first) = difference(&outputs[0].0, &outputs[1].0);
        let values = |index: usize| {
            let (_, output, forward) = &outputs[index];
            let tensor = forward.stages.tensor(*output);
            super::get(&forward.arena, forward.offsets[output.0], tensor.element, tensor.rows * tensor.stride)
        };
        let (a, b) = (values(0), values(1));
        let error: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
        let relative = (error / b.iter().map(|b| b * b).sum::<f64>()).sqrt();
        println!("{architecture:?} {batch}x{sequence}: {bytes} bytes differ, first in `{first}`; output {relative:e}");
        assert!(relative < 1e-2, "{architecture:?} {batch}x{sequence}: {relative:e}");
    }
}

/// A layer norm on its own, with rows of other widths than the models have.
#[test]
fn a_layer_norm_of_any_width_has_the_bits_of_single_steps() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for (width, rows) in [
        (8, 3),
        (20, 3),
        (20, 300),
        (44, 70),
        (300, 7),
        (128, 5),
        (312, 300),
        (384, 70),
        (768, 1),
        (768, 300),
        (1600, 9),
        (2048, 300),
        (4096, 5),
    ] {
        for order in [ReductionOrder::SumThenDivide, ReductionOrder::DivideFirst] {
            for factor in [1.0, 300.0] {
                let Some(gpu) = gpu() else { return };
                let tensor =
                    |name: &str| DeviceTensor { name: name.to_owned(), element: ElementType::F16, rows, stride: width };
                let [gamma, beta] = [0, 1].map(|param| WeightKey::new(ParamId(param), Format::Fp16, width));
                let norm = Norm { gamma, beta, epsilon: 1e-12, order, rounding: Rounding::uniform(Format::Fp16) };
                let outputs = Outputs { main: TensorId(1), copy: None };
                let stage = Stage::LayerNorm(LayerNorm { input: TensorId(0), norm, outputs });
                let memory = DeviceMemory::take(&gpu.device.context, 4 * width + 16, "a test").unwrap();
                put(&memory, 0, ElementType::F16, 2 * width, |index| number(3, index));
                let weights = [(gamma, memory.address()), (beta, memory.address() + 2 * width as u64)].into();
                let shape = Shape { batch: 1, sequence: rows };
                let results: Vec<_> = [false, true]
                    .into_iter()
                    .map(|stepwise| {
                        let tensors = vec![tensor("rows"), tensor("normalised")];
                        let stages = Stages { stages: vec![stage.clone()], tensors, stepwise, ..Stages::default() };
                        let forward = Forward::new(&gpu, stages, (&weights, &memory, shape));
                        let all = groups(&forward.stages);
                        let calls = calls(&forward.placement(), all[0], None::<Choice>).unwrap();
                        let prepared = gpu.prepare(&calls).unwrap();
                        forward.arena.poison().unwrap();
                        // One row is constant, its variance is 0.
                        let value =
                            |index: usize| if index / width == 2 { 2.5 } else { factor * number(9, index) + 1.0 };
                        put(&forward.arena, 0, ElementType::F16, rows * width, value);
                        gpu.enqueue(&prepared).unwrap();
                        gpu.stream.synchronize().unwrap();
                        forward.bytes()
                    })
                    .collect();
                assert_eq!(difference(&results[0], &results[1]).0, 0, "{rows}x{width} {order:?} {factor}");
            }
        }
    }
}
