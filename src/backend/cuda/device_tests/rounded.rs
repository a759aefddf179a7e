//! The fused kernels of a policy that rounds inside operations against the kernels of single operations: every bit of every
//! tensor that both forwards have. The single operations are compared with the reference backend in `tests/backends`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::reference::number;
use super::sizes::{WIDER_HEADS, of_sizes};
use super::{DEVICE, GAP, apart, gpu, model, put};
use crate::backend::cuda::arena::ArenaLayout;
use crate::backend::cuda::calls::{Choice, DeviceCall, Placement, calls, choices, group_key, groups};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::engine::placement;
use crate::backend::cuda::examine::StepwiseForward;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::lower::{lower, lower_stepwise};
use crate::backend::cuda::memory::DeviceMemory;
use crate::backend::cuda::stage::{DeviceTensor, LayerNorm, Norm, Outputs, Stage, Stages, TensorId, WeightKey};
use crate::backend::cuda::tune::library_algorithms;
use crate::backend::cuda::weights::DeviceWeights;
use crate::graph::{Format, ParamId, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use crate::model::{Architecture, Model};

/// What the parameters are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Values {
    /// Scores of a few units, so that a softmax is neither flat nor one key.
    Ordinary,
    /// Beside these, biases that overflow some sums of the second layer, so that infinities and NaN spread from there.
    Overflow,
    /// Beside these, outliers in the embeddings, whose squares overflow in the layer norms.
    Outliers,
}

impl Values {
    /// Element `index` of a parameter that is a vector or a matrix.
    fn element(self, model: &Model, param: usize, index: usize) -> f64 {
        let name = &model.graph.params[param].name;
        let vector = model.graph.params[param].dims.len() == 1;
        match self {
            Values::Overflow if vector && name.contains("layer.1") && index % 61 == 7 => 60000.0,
            Values::Outliers if name.contains("embeddings") && index % 257 == 5 => 3000.0 * number(param, index),
            _ if vector => number(param, index),
            _ => number(param, index) / 16.0,
        }
    }
}

/// The bytes of tensors, by name and size.
pub(super) type TensorBytes = BTreeMap<(String, usize), Vec<u8>>;

/// A forward on the device, in an arena of its own.
pub(super) struct Forward<'a> {
    pub gpu: &'a GpuRuntime,
    pub stages: Stages,
    weights: &'a BTreeMap<WeightKey, u64>,
    inputs: &'a DeviceMemory,
    shape: Shape,
    pub offsets: Vec<usize>,
    pub arena: DeviceMemory,
    tensors: Vec<u64>,
}

/// The parameters, the token ids and lengths, and the shape of a forward.
pub(super) type ForwardInputs<'a> = (&'a BTreeMap<WeightKey, u64>, &'a DeviceMemory, Shape);

impl<'a> Forward<'a> {
    /// No two tensors share bytes.
    pub fn new(gpu: &'a GpuRuntime, stages: Stages, of: ForwardInputs<'a>) -> Self {
        let offsets = apart(&stages.tensors);
        let bytes = offsets.last().copied().unwrap_or(0) + stages.tensors.last().map_or(0, DeviceTensor::bytes) + GAP;
        Forward::laid_out(gpu, stages, of, ArenaLayout { offsets, bytes })
    }

    pub fn laid_out(gpu: &'a GpuRuntime, stages: Stages, of: ForwardInputs<'a>, layout: ArenaLayout) -> Self {
        let (weights, inputs, shape) = of;
        let arena = DeviceMemory::take(&gpu.device.context, layout.bytes, "tensors").unwrap();
        let tensors = layout.addresses(arena.address());
        Forward { gpu, stages, weights, inputs, shape, offsets: layout.offsets, arena, tensors }
    }

    pub fn placement(&self) -> Placement<'_> {
        let but_tensors = placement(self.gpu, self.weights, &self.stages, self.inputs, self.shape);
        Placement { tensors: &self.tensors, ..but_tensors }
    }

    /// Runs calls over poisoned tensors. `false` if the device refuses one of them.
    pub fn run(&self, calls: &[DeviceCall]) -> bool {
        let Ok(prepared) = self.gpu.prepare(calls) else { return false };
        self.arena.poison().unwrap();
        self.gpu.library.workspace().poison().unwrap();
        self.gpu.enqueue(&prepared).unwrap();
        self.gpu.stream.synchronize().unwrap();
        true
    }

    /// The bytes of every tensor of a forward whose tensors share none, by name and size. A name that two tensors share is left
    /// out.
    pub fn bytes(&self) -> TensorBytes {
        let mut found = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for (tensor, &offset) in self.stages.tensors.iter().zip(&self.offsets) {
            let mut bytes = vec![0u8; tensor.bytes()];
            self.arena.read(offset, &mut bytes).unwrap();
            let mut gap = vec![0u8; GAP];
            self.arena.read(offset + tensor.bytes(), &mut gap).unwrap();
            assert!(gap.iter().all(|&byte| byte == 0xFF), "written beyond `{}`", tensor.name);
            let key = (tensor.name.clone(), bytes.len());
            if found.insert(key.clone(), bytes).is_some() {
                twice.insert(key);
            }
        }
        found.retain(|key, _| !twice.contains(key));
        found
    }
}

pub(super) fn fp16(order: ReductionOrder) -> PrecisionPolicy {
    PrecisionPolicy { layer_norm_reduction: order, ..PrecisionPolicy::preset(Preset::Fp16) }
}

/// Lengths from one token to all, the first sequence without padding.
fn lengths(shape: Shape) -> Vec<usize> {
    let sequence = shape.sequence;
    (0..shape.batch).map(|row| [sequence, 1, sequence - sequence / 3, sequence.div_ceil(2)][row % 4]).collect()
}

pub(super) fn loaded(gpu: &GpuRuntime, model: &Model, stages: &Stages, values: Values) -> DeviceWeights {
    let keys: BTreeSet<WeightKey> = stages.stages.iter().flat_map(Stage::weights).collect();
    let weights = DeviceWeights::load(&gpu.device.context, model, &keys).unwrap();
    for (key, offset) in weights.offsets() {
        let dims = &model.graph.params[key.param].dims;
        let count = key.rows * dims.get(1).copied().unwrap_or(1);
        put(weights.memory(), offset, key.element, count, |index| values.element(model, key.param, index));
    }
    weights
}

pub(super) fn inputs(gpu: &GpuRuntime, model: &Model, shape: Shape) -> DeviceMemory {
    let memory = DeviceMemory::take(&gpu.device.context, 4 * (shape.tokens() + shape.batch), "inputs").unwrap();
    let vocabulary = model.graph.dimensions.vocabulary;
    let ids = (0..shape.tokens()).map(|index| (index * 7919 + 13) % vocabulary);
    memory.fill(0, &ids.chain(lengths(shape)).map(|value| value as i32).collect::<Vec<i32>>()).unwrap();
    memory
}

/// How many bytes differ in the tensors of both, and in which tensor first.
fn difference(a: &TensorBytes, b: &TensorBytes) -> (usize, String) {
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

/// Every choice of every group, the others as the host would choose without timing.
fn candidates(gpu: &GpuRuntime, fused: &Forward<'_>, single: &Forward<'_>) -> Vec<Candidate> {
    let placement = fused.placement();
    let all = groups(&fused.stages);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for &group in all.iter().filter(|&&group| seen.insert(group_key(&fused.stages, group))) {
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
fn compare(name: &str, model: &Model, (shape, policy): (Shape, &PrecisionPolicy), values: Values) -> Option<usize> {
    let gpu = gpu()?;
    let PrecisionPolicy { layer_norm_reduction: order, overrides, .. } = policy;
    let what = format!("{name} {order:?} {:?} {shape:?} {values:?}", overrides.keys());
    let stages = lower(&model.graph, policy, shape).unwrap();
    let stepwise = lower_stepwise(&model.graph, policy, shape).unwrap();
    let (weights, inputs) = (loaded(&gpu, model, &stages, values), inputs(&gpu, model, shape));
    let of = (weights.addresses(), &inputs, shape);
    let (fused, single) = (Forward::new(&gpu, stages, of), Forward::new(&gpu, stepwise, of));
    let candidates = candidates(&gpu, &fused, &single);
    // All at once, on all processors. A kernel that is refused rules out its own choice, below.
    let _ = gpu.load_kernels(candidates.iter().flat_map(|candidate| candidate.timed.iter().chain(&candidate.steps)));
    let output = &fused.stages.tensor(fused.stages.output.unwrap()).name;
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
        let (bytes, first) = difference(&fused.bytes(), expected);
        assert!(bytes == 0, "{what} {}: {bytes} bytes differ, first in `{first}`", candidate.what);
        assert!(expected.keys().any(|(name, _)| name == output), "{what}: the output was not compared");
        ran += 1;
    }
    println!("{what}: {ran} of {} choices", candidates.len());
    Some(ran)
}

/// Whether two forwards enqueue the same work.
pub(super) fn same_calls(a: &[DeviceCall], b: &[DeviceCall]) -> bool {
    let same = |(a, b): (&DeviceCall, &DeviceCall)| match (a, b) {
        (DeviceCall::Kernel(a), DeviceCall::Kernel(b)) => a == b,
        (DeviceCall::Product(a), DeviceCall::Product(b)) => a.spec == b.spec && a.algorithm == b.algorithm,
        _ => false,
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
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
                let Some(ran) = compare(name, model, (Shape { batch, sequence }, policy), values) else { return };
                assert!(ran > 0);
            }
        }
    }
}

const KINDS: [Values; 3] = [Values::Ordinary, Values::Overflow, Values::Outliers];

const ORDERS: [ReductionOrder; 2] = [ReductionOrder::SumThenDivide, ReductionOrder::DivideFirst];

/// Few enough choices for compute-sanitizer: `tests/sanitizer.sh` runs it.
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
