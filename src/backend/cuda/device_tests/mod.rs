//! Compares every choice of every kernel, and cuBLASLt's algorithms, with float64 on a device. Inputs are exact in
//! every format, so that only the kernel's own error counts. Outputs are NaN before the kernel runs. Without a device
//! the tests are skipped.

mod activations;
mod bench;
mod bench_sizes;
mod embedding;
mod forward;
mod laid_out;
mod memory;
mod mixed;
mod qkv;
mod qkv_cluster;
mod reference;
mod rounded;
mod sizes;
mod tally;
mod walks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use rayon::prelude::*;

use super::calls::{Placement, StageGroup, calls, choices, group_key, groups};
use super::element::ElementType;
use super::gpu::GpuRuntime;
use super::lower::lower;
use super::matmul::WORKSPACE_BYTES;
use super::memory::DeviceMemory;
use super::stage::{
    Accumulator, Attention, DeviceTensor, Embedding, Epilogue, LayerNorm, Linear, Stage, Stages, TensorId, WeightKey,
};
use super::tune::library_algorithms;
use super::weights::DeviceWeights;
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::model::{Architecture, Head, Model, ModelSource};
use reference::{Float64Reference, WEIGHT_SCALE, gate, number};

/// Only one test at a time uses the device.
static DEVICE: Mutex<()> = Mutex::new(());

fn gpu() -> Option<GpuRuntime> {
    GpuRuntime::open().map_err(|reason| crate::skip::skip(reason)).ok()
}

/// Writes `value(index)` to `count` elements of a span.
fn put(
    memory: &DeviceMemory,
    offset: usize,
    element: ElementType,
    count: usize,
    value: impl Fn(usize) -> f64 + Sync + Send,
) {
    let values: Vec<f64> = (0..count).into_par_iter().map(value).collect();
    match element {
        ElementType::F32 => memory.fill(offset, &values.iter().map(|&x| x as f32).collect::<Vec<f32>>()),
        ElementType::F16 => memory.fill(offset, &values.iter().map(|&x| f16::from_f64(x)).collect::<Vec<f16>>()),
        ElementType::Bf16 => memory.fill(offset, &values.iter().map(|&x| bf16::from_f64(x)).collect::<Vec<bf16>>()),
    }
    .unwrap();
}

fn get(memory: &DeviceMemory, offset: usize, element: ElementType, count: usize) -> Vec<f64> {
    match element {
        ElementType::F32 => {
            let mut values = vec![0f32; count];
            memory.read(offset, &mut values).unwrap();
            values.into_iter().map(f64::from).collect()
        }
        ElementType::F16 => {
            let mut values = vec![f16::ZERO; count];
            memory.read(offset, &mut values).unwrap();
            values.into_iter().map(f64::from).collect()
        }
        ElementType::Bf16 => {
            let mut values = vec![bf16::ZERO; count];
            memory.read(offset, &mut values).unwrap();
            values.into_iter().map(f64::from).collect()
        }
    }
}

/// The stages of a forward pass on the device, with known numbers in tensors and weights.
struct Bench {
    gpu: GpuRuntime,
    stages: Stages,
    weights: DeviceWeights,
    offsets: Vec<usize>,
    arena: DeviceMemory,
    /// The token ids and, after them, the lengths.
    inputs: DeviceMemory,
    ids: Vec<usize>,
    lengths: Vec<usize>,
    shape: Shape,
    /// Compares every row, not a sample.
    every_row: bool,
    /// Multiprocessors that kernels are launched for: where these are few, a block walks over many tiles.
    multiprocessors: usize,
}

impl Bench {
    fn new(gpu: GpuRuntime, model: &Model, preset: Preset, shape: Shape) -> Bench {
        let stages = lower(&model.graph, &PrecisionPolicy::preset(preset), shape).unwrap();
        let keys: BTreeSet<WeightKey> = stages.stages.iter().flat_map(|stage| stage.weights()).collect();
        let context = &gpu.device.context;
        let weights = DeviceWeights::load(context, model, &keys).unwrap();
        for (key, offset) in weights.offsets() {
            let dims = &model.graph.params[key.param].dims;
            let count = key.rows * dims.get(1).copied().unwrap_or(1);
            put(weights.memory(), offset, key.element, count, |index| WEIGHT_SCALE * number(key.param, index));
        }
        // No two tensors share bytes here, so that every tensor can be inspected.
        let offsets = apart(&stages.tensors);
        let bytes = offsets.last().copied().unwrap_or(0) + stages.tensors.last().map_or(0, DeviceTensor::bytes);
        let arena = DeviceMemory::take(context, bytes, "tensors").unwrap();
        let lengths = forward::lengths(shape);
        let inputs = forward::inputs(&gpu, model, shape);
        let multiprocessors = gpu.multiprocessors;
        let ids = forward::ids(model, shape);
        Bench { gpu, stages, weights, offsets, arena, inputs, ids, lengths, shape, every_row: false, multiprocessors }
    }

    fn tensor(&self, id: TensorId) -> Vec<f64> {
        let tensor = self.stages.tensor(id);
        get(&self.arena, self.offsets[id.0], tensor.element, tensor.rows * tensor.stride)
    }

    fn set(&self, id: TensorId) {
        self.put(id, |index| number(1000 + id.0, index));
    }

    fn put(&self, id: TensorId, value: impl Fn(usize) -> f64 + Sync + Send) {
        let tensor = self.stages.tensor(id);
        put(&self.arena, self.offsets[id.0], tensor.element, tensor.rows * tensor.stride, value);
    }

    /// Runs every choice of a group and calls `check` after each. Returns the number of choices that ran.
    fn each(&self, group: StageGroup, inputs: &[TensorId], check: impl Fn(&str)) -> usize {
        self.each_with(group, || inputs.iter().for_each(|&id| self.set(id)), check)
    }

    /// The same with inputs that `set` sets before each choice.
    fn each_with(&self, group: StageGroup, set: impl Fn(), check: impl Fn(&str)) -> usize {
        let tensors: Vec<u64> = self.offsets.iter().map(|&offset| self.arena.address() + offset as u64).collect();
        let placement = Placement {
            stages: &self.stages,
            weights: self.weights.addresses(),
            tensors: &tensors,
            ids: self.inputs.address(),
            lengths: self.inputs.address() + 4 * self.shape.tokens() as u64,
            types: None,
            sequence: self.shape.sequence,
            scratch: self.gpu.library.workspace().address(),
            scratch_bytes: WORKSPACE_BYTES,
            architecture: self.gpu.architecture,
            multiprocessors: self.multiprocessors,
        };
        let library = library_algorithms(&self.gpu, &placement, group).unwrap();
        let choices: Vec<_> =
            std::iter::once(None).chain(choices(&placement, group).into_iter().chain(library).map(Some)).collect();
        let all: Vec<_> = choices.iter().map(|&choice| calls(&placement, group, choice).unwrap()).collect();
        self.gpu.load_kernels(all.iter().flatten()).unwrap();
        let mut ran = 0;
        for (choice, calls) in choices.iter().zip(all) {
            self.arena.poison().unwrap();
            self.gpu.library.workspace().poison().unwrap();
            set();
            // A tile that is too large for the shared memory of another generation is refused before it runs.
            let prepared = match self.gpu.prepare(&calls) {
                Ok(prepared) => prepared,
                Err(error) if self.gpu.architecture.has_warpgroup_products() => panic!("{choice:?}: {error}"),
                Err(_) => continue,
            };
            self.gpu.enqueue(&prepared).unwrap();
            self.gpu.stream.synchronize().unwrap();
            let what = format!("{:?} {choice:?}", group_key(&self.stages, group));
            self.check_gaps(&what);
            check(&what);
            ran += 1;
        }
        ran
    }

    /// Checks that the bytes between the tensors are unchanged: no kernel writes beyond its output.
    fn check_gaps(&self, what: &str) {
        for (tensor, offset) in self.stages.tensors.iter().zip(&self.offsets) {
            let end = offset + tensor.bytes();
            let mut gap = vec![0u8; GAP.min(self.arena.bytes().saturating_sub(end))];
            self.arena.read(end, &mut gap).unwrap();
            assert!(gap.iter().all(|&byte| byte == 0xFF), "{what}: written beyond `{}`", tensor.name);
        }
    }

    /// Compares some rows of a tensor with `expected`, float64 values by row.
    fn compare(&self, what: &str, id: TensorId, expected: &BTreeMap<usize, Vec<f64>>) {
        self.compare_within(gate(self.stages.tensor(id).element), what, id, expected);
    }

    fn compare_within(&self, gate: f64, what: &str, id: TensorId, expected: &BTreeMap<usize, Vec<f64>>) {
        let tensor = self.stages.tensor(id);
        let found = self.tensor(id);
        let (mut error, mut norm) = (0.0, 0.0);
        for (row, expected) in expected {
            for (column, expected) in expected.iter().enumerate() {
                let difference = found[row * tensor.stride + column] - expected;
                error += difference * difference;
                norm += expected * expected;
            }
        }
        let relative = (error / norm).sqrt();
        assert!(relative < gate, "{what}: relative error {relative:e} in {:?}", tensor.element);
        assert!(found.iter().all(|x| x.is_finite()), "{what}: something was not written");
    }

    /// The rows that are checked: all if there are few, else a sample.
    fn rows(&self, count: usize) -> Vec<usize> {
        (0..count).filter(|row| self.every_row || count <= 48 || row % (count / 24) == 0 || row + 3 > count).collect()
    }

    fn reference(&self) -> Float64Reference<'_> {
        Float64Reference { stages: &self.stages, lengths: &self.lengths }
    }

    /// Checks every choice for the first group of each key. Skips groups whose stages are not `wanted`.
    fn check_groups(&self, wanted: fn(&[Stage]) -> bool) -> usize {
        let mut seen = BTreeSet::new();
        let mut ran = 0;
        for group in groups(&self.stages) {
            let stages = stages_of(&self.stages, group);
            if !wanted(stages) || !seen.insert(group_key(&self.stages, group)) {
                continue;
            }
            ran += match stages {
                [Stage::Linear(stage)] => self.check_linear(group, stage, None),
                [Stage::Linear(stage), Stage::LayerNorm(norm)] => self.check_linear(group, stage, Some(norm)),
                [Stage::Attention(stage)] => self.check_attention(group, stage),
                [Stage::LayerNorm(stage)] => self.check_norm(group, stage),
                [Stage::Embedding(stage)] => self.check_embedding(group, stage),
                _ => 0,
            };
        }
        ran
    }

    fn check_linear(&self, group: StageGroup, stage: &Linear, norm: Option<&LayerNorm>) -> usize {
        let inputs = [stage.x, stage.output];
        inputs.iter().for_each(|&id| self.set(id));
        let (x, before) = (self.tensor(stage.x), self.tensor(stage.output));
        let (rows, reference) = (self.rows(stage.tokens), self.reference());
        let sums: BTreeMap<usize, Vec<f64>> =
            rows.iter().map(|&row| (row, reference.linear_row(stage, &x, &before, row))).collect();
        let normed: Option<BTreeMap<usize, Vec<f64>>> =
            norm.map(|norm| sums.iter().map(|(&row, sum)| (row, reference.norm_row(&norm.norm, sum))).collect());
        let inputs = if stage.epilogue == Epilogue::Residual { &inputs[..] } else { &inputs[..1] };
        self.each(group, inputs, |what| match (norm, &normed) {
            (Some(norm), Some(normed)) => {
                for id in [Some(norm.outputs.main), norm.outputs.copy].into_iter().flatten() {
                    self.compare(what, id, normed);
                }
                if norm.outputs.main != stage.output {
                    self.compare(what, stage.output, &sums);
                }
            }
            _ => self.compare(what, stage.output, &sums),
        })
    }

    fn check_norm(&self, group: StageGroup, stage: &LayerNorm) -> usize {
        self.set(stage.input);
        let before = self.tensor(stage.input);
        let (tensor, reference) = (self.stages.tensor(stage.input), self.reference());
        let row = |row: usize| reference.norm_row(&stage.norm, &before[row * tensor.stride..][..tensor.stride]);
        let expected: BTreeMap<usize, Vec<f64>> = self.rows(tensor.rows).into_iter().map(|r| (r, row(r))).collect();
        self.each(group, &[stage.input], |what| {
            for id in [Some(stage.outputs.main), stage.outputs.copy].into_iter().flatten() {
                self.compare(what, id, &expected);
            }
        })
    }

    fn check_embedding(&self, group: StageGroup, stage: &Embedding) -> usize {
        let reference = self.reference();
        let sum = |row: usize| reference.embedding_row(stage, self.ids[row], row % self.shape.sequence);
        let rows = self.rows(self.shape.tokens()).into_iter();
        let sums: BTreeMap<usize, Vec<f64>> = rows.map(|row| (row, sum(row))).collect();
        let normed = stage.norm.map(|of_sum| {
            sums.iter().map(|(&row, sum)| (row, reference.norm_row(&of_sum.norm, sum))).collect::<BTreeMap<_, _>>()
        });
        self.each(group, &[], |what| {
            for id in [Some(stage.outputs.main), stage.outputs.copy].into_iter().flatten() {
                self.compare(what, id, normed.as_ref().unwrap_or(&sums));
            }
            if let Some(id) = stage.norm.and_then(|of_sum| of_sum.sum) {
                self.compare(what, id, &sums);
            }
        })
    }

    fn check_attention(&self, group: StageGroup, stage: &Attention) -> usize {
        self.set(stage.packed);
        let packed = self.tensor(stage.packed);
        let (rows, reference) = (self.rows(stage.shape.batch * stage.shape.sequence), self.reference());
        let expected: BTreeMap<usize, Vec<f64>> =
            rows.into_par_iter().map(|row| (row, reference.attention_row(stage, &packed, row))).collect();
        // The probabilities of a TF32 product are rounded to 11 bits, as those of FP16.
        let tf32 = stage.accumulator == Accumulator::Tf32;
        let gate = gate(if tf32 { ElementType::F16 } else { self.stages.tensor(stage.context).element });
        self.each(group, &[stage.packed], |what| self.compare_within(gate, what, stage.context, &expected))
    }
}

/// Bytes between two tensors, at least.
const GAP: usize = 256;

/// Offsets of tensors that follow each other with gaps between them.
fn apart(tensors: &[DeviceTensor]) -> Vec<usize> {
    let mut next = 0;
    tensors
        .iter()
        .map(|tensor| {
            let offset = next;
            next += tensor.bytes().next_multiple_of(GAP) + GAP;
            offset
        })
        .collect()
}

fn model(architecture: Architecture) -> Model {
    let source = ModelSource::Random { seed: 5, architecture };
    Model::open("random", &source, Path::new("."), Head::Natural).unwrap()
}

fn check(architecture: Architecture, presets: &[Preset], shapes: &[(usize, usize)]) {
    check_groups(architecture, presets, shapes, |_| true);
}

fn check_groups(
    architecture: Architecture,
    presets: &[Preset],
    shapes: &[(usize, usize)],
    wanted: fn(&[Stage]) -> bool,
) {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let model = model(architecture);
    for &preset in presets {
        for &(batch, sequence) in shapes {
            let Some(gpu) = gpu() else { return };
            let ran = Bench::new(gpu, &model, preset, Shape { batch, sequence }).check_groups(wanted);
            println!("{architecture:?} {preset} {batch}x{sequence}: {ran} choices");
            assert!(ran > 0);
        }
    }
}

const SHAPES: [(usize, usize); 8] = [(1, 1), (1, 7), (3, 31), (1, 33), (1, 127), (3, 128), (1, 200), (1, 511)];

#[test]
fn every_choice_for_bert_agrees_with_float64() {
    check(Architecture::BertBase, &[Preset::Hybrid, Preset::Bf16], &SHAPES);
}

#[test]
fn every_choice_for_gpt2_agrees_with_float64() {
    check(Architecture::Gpt2, &[Preset::Hybrid, Preset::Bf16], &SHAPES);
}

/// This test and the next two have few enough choices for compute-sanitizer: `tests/sanitizer.sh` runs them.
#[test]
fn attention_of_bert_agrees_with_float64() {
    check_attention_of_heads_of_64(Architecture::BertBase);
}

#[test]
fn causal_attention_of_gpt2_agrees_with_float64() {
    check_attention_of_heads_of_64(Architecture::Gpt2);
}

fn check_attention_of_heads_of_64(architecture: Architecture) {
    check_groups(architecture, &[Preset::Hybrid, Preset::Bf16], &[(4, 127), (2, 128), (4, 511)], is_attention);
}

fn stages_of(stages: &Stages, group: StageGroup) -> &[Stage] {
    &stages.stages[group.first..group.first + group.count]
}

fn is_attention(stages: &[Stage]) -> bool {
    matches!(stages, [Stage::Attention(_)])
}

/// `tests/sanitizer.sh` runs this test as well.
#[test]
fn attention_of_fp32_tensors_agrees_with_float64() {
    let shapes = [(1, 1), (1, 31), (4, 33), (1, 127), (2, 128), (4, 511)];
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny, Architecture::BertBase, Architecture::Gpt2] {
        check_groups(architecture, &[Preset::Fp32, Preset::Tf32], &shapes, is_attention);
    }
}

#[test]
fn every_choice_for_heads_of_32_agrees_with_float64() {
    let shapes = [(1, 1), (3, 31), (1, 33), (2, 127)];
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        check(architecture, &[Preset::Hybrid, Preset::Bf16], &shapes);
    }
}
