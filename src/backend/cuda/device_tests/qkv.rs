//! The kernel of a QKV projection and its attention against the pair of kernels, in the memory of an engine: the context of the
//! second layer, which depends on everything before it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use half::{bf16, f16};

use super::forward::{Forward, Values, inputs, loaded};
use super::reference::{gate, number};
use super::{Bench, DEVICE, gpu, model, put};
use crate::backend::cuda::arena::lay_out;
use crate::backend::cuda::calls::{
    AttentionTile, Choice, DeviceCall, ProductChoice, ProductTile, StageGroup, calls, choices, groups, groups_together,
};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::lower::lower;
use crate::backend::cuda::stage::{Attention, Linear, Stage, Stages, TensorId};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::model::{Architecture, Model, build_graph};

/// From one token to a whole unit, with units that hold sequences of an odd number of tokens.
const SEQUENCES: [usize; 9] = [1, 7, 31, 32, 33, 64, 100, 127, 128];

const BATCHES: [usize; 6] = [1, 2, 3, 5, 8, 32];

/// Passes that follow each other: what depends on timing shows then.
const MORE_PASSES: usize = 4;

/// The attention kernel that takes all keys in one step, as the kernel under test does.
const ONE_STEP: Choice =
    Choice::Attention(AttentionTile::Wgmma { row_groups: 1, key_groups: 1, keys: 128, slots: 2, blocks: 2 });

fn last_attention(forward: &Forward<'_>) -> Attention {
    let attention = |stage: &Stage| if let Stage::Attention(stage) = stage { Some(*stage) } else { None };
    forward.stages.stages.iter().rev().find_map(attention).unwrap()
}

/// The calls of some groups up to the last attention. Other groups than those of attention are as without tuning.
fn calls_of(
    forward: &Forward<'_>,
    groups: &[StageGroup],
    choice: impl Fn(&[Stage]) -> Option<Choice>,
) -> Vec<DeviceCall> {
    let (placement, stages) = (forward.placement(), &forward.stages.stages);
    let last = stages.iter().rposition(|stage| matches!(stage, Stage::Attention(_))).unwrap();
    let up_to = groups.iter().filter(|group| group.first <= last);
    up_to.flat_map(|&group| calls(&placement, group, choice(&stages[group.first..][..group.count])).unwrap()).collect()
}

/// The first projection that one kernel computes with its attention.
pub(super) fn first_projection(stages: &Stages) -> (StageGroup, Linear, Attention) {
    let found = groups_together(stages, |_| true).into_iter().find_map(|group| {
        match stages.stages[group.first..][..group.count] {
            [Stage::Linear(linear), Stage::Attention(attention)] => Some((group, linear, attention)),
            _ => None,
        }
    });
    found.unwrap()
}

/// A product of the projection by `wgmma` with a whole depth.
fn product(forward: &Forward<'_>) -> Choice {
    let (group, ..) = first_projection(&forward.stages);
    let by_wgmma = |choice: &Choice| matches!(choice, Choice::Product(ProductChoice::Kernel(ProductTile::Wgmma(_), 1)));
    choices(&forward.placement(), StageGroup { count: 1, ..group }).into_iter().find(by_wgmma).unwrap()
}

/// The pair: a product by `wgmma`, and the attention of one step.
fn pair(forward: &Forward<'_>) -> Vec<DeviceCall> {
    let (product, projection) = (product(forward), first_projection(&forward.stages).1);
    calls_of(forward, &groups(&forward.stages), |stages| match stages {
        [Stage::Attention(_)] => Some(ONE_STEP),
        [Stage::Linear(linear)] if linear.width == projection.width => Some(product),
        _ => None,
    })
}

/// One kernel for both, in every tile that is offered.
fn together(forward: &Forward<'_>) -> Vec<(Choice, Vec<DeviceCall>)> {
    let (group, ..) = first_projection(&forward.stages);
    let of = |choice| {
        calls_of(forward, &groups_together(&forward.stages, |_| true), |stages| {
            matches!(stages, [Stage::Linear(_), Stage::Attention(_)]).then_some(choice)
        })
    };
    choices(&forward.placement(), group).into_iter().map(|choice| (choice, of(choice))).collect()
}

/// A tensor's elements as they are stored, and as numbers.
pub(super) fn read(forward: &Forward<'_>, id: TensorId) -> (Vec<u16>, Vec<f64>) {
    let tensor = forward.stages.tensor(id);
    let count = tensor.rows * tensor.stride;
    let mut stored = vec![0u16; count];
    forward.arena.read(forward.offsets[id.0], &mut stored).unwrap();
    (stored, super::get(&forward.arena, forward.offsets[id.0], tensor.element, count))
}

pub(super) fn two_layers(architecture: Architecture) -> Model {
    let mut model = model(architecture);
    model.config.dimensions.layers = 2;
    model.graph = build_graph(&model.config);
    model
}

/// What differs between the pair and every tile, one line each; how many tiles ran, and how many of them had to agree in bits.
fn compare(gpu: &GpuRuntime, forward: &Forward<'_>, shape: Shape) -> (Vec<String>, usize, usize) {
    let (mut failures, mut ran, mut exact) = (Vec::new(), 0, 0);
    let context = last_attention(forward).context;
    assert!(forward.run(&pair(forward)), "the pair does not run");
    let (bits, expected) = read(forward, context);
    assert!(expected.iter().all(|x| x.is_finite()), "the pair's numbers are not finite");
    for (choice, calls) in together(forward) {
        if !forward.run(&calls) {
            failures.push(format!("{shape:?} {choice:?} does not run"));
            continue;
        }
        let (found_bits, found) = read(forward, context);
        let same_order = match choice {
            // There every key is in the lane and in the step of the product where the pair has it.
            Choice::QkvAttention(tile) => shape.sequence.is_multiple_of(16) || tile.keys / shape.sequence == 1,
            // The products of attention are by mma.sync.
            Choice::QkvCluster(_) => false,
            _ => continue,
        };
        let differing = found_bits.iter().zip(&bits).filter(|(a, b)| a != b).count();
        let error: f64 = found.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum();
        let relative = (error / expected.iter().map(|b| b * b).sum::<f64>()).sqrt();
        let within = relative < gate(forward.stages.tensor(context).element);
        let agrees = if same_order { differing == 0 } else { within };
        if !agrees {
            let at = found_bits.iter().zip(&bits).position(|(a, b)| a != b).unwrap_or(0);
            let nan = found.iter().filter(|x| !x.is_finite()).count();
            let heads = forward.stages.tensor(context).stride;
            failures.push(format!(
                "{shape:?} {choice:?}: {differing} of {} differ, {nan} not finite, relative {relative:e}, first in row {} column \
                 {}: {} instead of {}",
                bits.len(),
                at / heads,
                at % heads,
                found[at],
                expected[at]
            ));
        }
        let prepared = gpu.prepare(&calls).unwrap();
        for pass in 0..MORE_PASSES {
            gpu.enqueue(&prepared).unwrap();
            gpu.stream.synchronize().unwrap();
            if read(forward, context).0 != found_bits {
                failures.push(format!("{shape:?} {choice:?}: pass {pass} differs from the first"));
                break;
            }
        }
        ran += 1;
        exact += usize::from(same_order);
    }
    (failures, ran, exact)
}

/// Compares at every one of the shapes.
pub(super) fn check(model: &Model, preset: Preset, sequences: &[usize], batches: &[usize]) {
    let Some(gpu) = hopper() else { return };
    let stages = |shape| lower(&model.graph, &PrecisionPolicy::preset(preset), shape).unwrap();
    let weights = loaded(&gpu, model, &stages(Shape { batch: 1, sequence: 1 }), Values::Ordinary);
    let (mut failures, mut ran, mut exact) = (Vec::new(), 0, 0);
    for (&sequence, &batch) in sequences.iter().flat_map(|sequence| batches.iter().map(move |batch| (sequence, batch)))
    {
        let shape = Shape { batch, sequence };
        let (stages, inputs) = (stages(shape), inputs(&gpu, model, shape));
        let layout = lay_out(&stages.tensors, &stages.stages, &[stages.output.unwrap()]);
        let forward = Forward::laid_out(&gpu, stages, (weights.addresses(), &inputs, shape), layout);
        let (found, tiles, of_bits) = compare(&gpu, &forward, shape);
        (ran, exact) = (ran + tiles, exact + of_bits);
        failures.extend(found);
    }
    println!("{preset}: {ran} choices, {exact} of them compared in bits, {} failures", failures.len());
    assert!(exact > 0 && ran > exact);
    assert!(failures.is_empty(), "{preset}\n{}", failures.join("\n"));
}

/// A device that has the kernel.
pub(super) fn hopper() -> Option<GpuRuntime> {
    let gpu = gpu()?;
    if !gpu.architecture.has_warpgroup_products() {
        crate::skip::skip("the device has no warpgroup products");
        return None;
    }
    Some(gpu)
}

#[test]
fn a_projection_with_its_attention_has_the_bits_of_the_pair() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let model = two_layers(architecture);
        println!("{architecture:?}");
        check(&model, Preset::Hybrid, &SEQUENCES, &BATCHES);
        check(&model, Preset::Bf16, &[1, 33, 64, 100, 128], &[1, 5, 32]);
    }
}

/// A number as an element holds it.
fn rounded(element: ElementType, value: f64) -> f64 {
    match element {
        ElementType::F32 => value,
        ElementType::F16 => f16::from_f64(value).to_f64(),
        ElementType::Bf16 => bf16::from_f64(value).to_f64(),
    }
}

#[test]
fn a_projection_with_its_attention_agrees_with_float64() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let model = two_layers(architecture);
        for preset in [Preset::Hybrid, Preset::Bf16] {
            for (batch, sequence) in [(3, 33), (2, 100), (5, 7), (1, 128)] {
                let Some(gpu) = hopper() else { return };
                let bench = Bench::new(gpu, &model, preset, Shape { batch, sequence });
                let (group, linear, attention) = first_projection(&bench.stages);
                bench.set(linear.x);
                let (x, reference) = (bench.tensor(linear.x), bench.reference());
                let element = bench.stages.tensor(linear.output).element;
                let row = |row| reference.linear_row(&linear, &x, &[], row);
                let packed: Vec<f64> = (0..linear.tokens).flat_map(row).map(|value| rounded(element, value)).collect();
                let row = |row| (row, reference.attention_row(&attention, &packed, row));
                let expected: BTreeMap<usize, Vec<f64>> = (0..linear.tokens).map(row).collect();
                let ran = bench.each(group, &[linear.x], |what| bench.compare(what, attention.context, &expected));
                println!("{architecture:?} {preset} {batch}x{sequence}: {ran} choices");
                assert!(ran > 1);
            }
        }
    }
}

/// Zero times infinity is NaN, so a masked probability alone does not keep the sequences of a unit apart.
/// `tests/sanitizer.sh` runs this test as well.
#[test]
fn a_sequence_that_overflows_leaves_the_others_of_its_unit_alone() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gpu) = hopper() else { return };
    let model = two_layers(Architecture::BertBase);
    for (batch, sequence) in [(4, 32), (3, 64), (5, 48)] {
        let shape = Shape { batch, sequence };
        let stages = lower(&model.graph, &PrecisionPolicy::preset(Preset::Hybrid), shape).unwrap();
        let (weights, inputs) = (loaded(&gpu, &model, &stages, Values::Ordinary), inputs(&gpu, &model, shape));
        let forward = Forward::new(&gpu, stages, (weights.addresses(), &inputs, shape));
        let (group, linear, attention) = first_projection(&forward.stages);
        let run = |calls: &[DeviceCall]| {
            let prepared = gpu.prepare(calls).unwrap();
            forward.arena.poison().unwrap();
            let tensor = forward.stages.tensor(linear.x);
            put(&forward.arena, forward.offsets[linear.x.0], tensor.element, tensor.rows * tensor.stride, |index| {
                number(7, index) * if index / tensor.stride / sequence == 1 { 60000.0 } else { 1.0 }
            });
            gpu.enqueue(&prepared).unwrap();
            gpu.stream.synchronize().unwrap();
            read(&forward, attention.context)
        };
        let placement = forward.placement();
        let single = |first, choice| calls(&placement, StageGroup { first, count: 1 }, choice).unwrap();
        let pair = [single(group.first, Some(product(&forward))), single(group.first + 1, Some(ONE_STEP))].concat();
        let (expected, _) = run(&pair);
        let elements = sequence * linear.depth;
        // Clusters: `qkv_cluster.rs`.
        let of_blocks =
            choices(&placement, group).into_iter().filter(|choice| matches!(choice, Choice::QkvAttention(_)));
        for choice in of_blocks {
            let (found, numbers) = run(&calls(&placement, group, Some(choice)).unwrap());
            let differs = |row: &usize| found[row * elements..][..elements] != expected[row * elements..][..elements];
            let others: Vec<usize> = (0..batch).filter(|&row| row != 1).filter(differs).collect();
            assert!(others.is_empty(), "{shape:?} {choice:?}: sequences {others:?} differ");
            let overflowed = &numbers[elements..][..elements];
            assert!(overflowed.iter().any(|x| !x.is_finite()), "{shape:?}: nothing has overflowed");
        }
    }
}
