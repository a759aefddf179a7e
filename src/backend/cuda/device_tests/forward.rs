//! A forward in an arena of its own, with parameters and inputs of a test, and what its tensors hold afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::number;
use super::{GAP, apart, put};
use crate::backend::cuda::arena::ArenaLayout;
use crate::backend::cuda::calls::{DeviceCall, Placement};
use crate::backend::cuda::engine::placement;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::memory::DeviceMemory;
use crate::backend::cuda::stage::{DeviceTensor, Stage, Stages, WeightKey};
use crate::backend::cuda::weights::DeviceWeights;
use crate::graph::Shape;
use crate::model::Model;

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

/// Lengths from one token to all, the first sequence without padding.
pub(super) fn lengths(shape: Shape) -> Vec<usize> {
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

/// The token ids of every row.
pub(super) fn ids(model: &Model, shape: Shape) -> Vec<usize> {
    (0..shape.tokens()).map(|index| (index * 7919 + 13) % model.graph.dimensions.vocabulary).collect()
}

/// The token ids and, after them, the lengths.
pub(super) fn inputs(gpu: &GpuRuntime, model: &Model, shape: Shape) -> DeviceMemory {
    let memory = DeviceMemory::take(&gpu.device.context, 4 * (shape.tokens() + shape.batch), "inputs").unwrap();
    memory
        .fill(0, &ids(model, shape).into_iter().chain(lengths(shape)).map(|value| value as i32).collect::<Vec<i32>>())
        .unwrap();
    memory
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
