//! Lowers a graph to stages: decides which operations run together, and which tensors exist.
//!
//! This is where a precision policy decides about kernels. `lower` asks the policy for the rounding of every operation.
//! Where the policy computes operations in FP32 and they are fused, the store between them is left out, which changes
//! the result by less than that store's rounding. Where the policy rounds inside operations (`fp16`), the fused kernels
//! round at every step all the same. `lower_stepwise` makes each of these operations a stage of its own; the results have
//! the same bits, and every tensor exists. So it is with a few operations in FP32 among them: what FP16 neighbours read is
//! rounded where it is written.
//!
//! `linear.rs` lowers linear layers, `fusion.rs` fuses the embedding's layer norm, activation and the residual sum, `attention.rs`
//! scores, softmax and context; `check.rs` checks the result.

mod attention;
mod check;
mod fusion;
mod linear;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::calls::narrow;
use super::element::ElementType;
use super::error::execution;
use super::stage::{
    DeviceTensor, Elementwise, Embedding, EmbeddingNorm, Function, LayerNorm, Norm, OpOutput, Outputs, Select, Stage,
    Stages, TensorId, WeightKey,
};
use crate::engine::{BackendError, BackendKind};
use crate::graph::{
    Activation, Format, Graph, Op, OpKind, ParamId, PrecisionPolicy, Rounding, Shape, Token, ValueId, ValueShape,
};
use check::check;
pub(super) use linear::supports;

/// Rows of scores are padded to a multiple of this many columns, so that each begins at a multiple of 16 bytes in every
/// element type.
const COLUMNS: usize = 8;

/// The width of the graph's output is padded to a multiple of this if it is large (a vocabulary): without padding,
/// GPT-2's head took six times as long (H200). Only the host reads the output, and the host knows its stride.
const TILE_COLUMNS: usize = 64;

/// Up to this many columns the output is padded to [`COLUMNS`] only.
const NARROW_OUTPUT: usize = 512;

/// Lowers `graph` under `policy` for `shape`.
///
/// # Errors
/// [`BackendError::Policy`] when the policy does not fit the graph, [`BackendError::UnsupportedPolicy`] when no kernel
/// computes what it asks for.
pub(super) fn lower(graph: &Graph, policy: &PrecisionPolicy, shape: Shape) -> Result<Stages, BackendError> {
    lowered(graph, policy, shape, false)
}

/// The same as [`lower`], with a stage for every operation inside which the policy rounds, and for those of FP32 attention.
///
/// # Errors
/// As [`lower`].
pub(super) fn lower_stepwise(graph: &Graph, policy: &PrecisionPolicy, shape: Shape) -> Result<Stages, BackendError> {
    lowered(graph, policy, shape, true)
}

fn lowered(graph: &Graph, policy: &PrecisionPolicy, shape: Shape, stepwise: bool) -> Result<Stages, BackendError> {
    let roundings = graph.roundings(policy)?;
    let mut lowering = StageLowering::new(graph, policy, &roundings, shape);
    lowering.stages.stepwise = stepwise;
    for index in 0..graph.ops.len() {
        if !lowering.done[index] {
            lowering.op(index)?;
        }
    }
    let output = lowering.locations.get(&(graph.output.0, lowering.stored(graph.output))).copied();
    let stages = Stages { output, ..lowering.stages };
    check(&stages).map_err(execution)?;
    Ok(stages)
}

struct StageLowering<'a> {
    graph: &'a Graph,
    policy: &'a PrecisionPolicy,
    roundings: &'a [Rounding],
    formats: Vec<Format>,
    shape: Shape,
    /// The ops that read each value.
    readers: Vec<Vec<usize>>,
    /// Whether each op has been lowered, alone or with an earlier op.
    done: Vec<bool>,
    stages: Stages,
    /// The tensor that holds a value in an element type.
    locations: BTreeMap<(usize, ElementType), TensorId>,
}

impl<'a> StageLowering<'a> {
    fn new(graph: &'a Graph, policy: &'a PrecisionPolicy, roundings: &'a [Rounding], shape: Shape) -> Self {
        let mut readers = vec![Vec::new(); graph.values.len()];
        for (index, op) in graph.ops.iter().enumerate() {
            for input in &op.inputs {
                readers[input.0].push(index);
            }
        }
        StageLowering {
            graph,
            policy,
            roundings,
            formats: graph.value_formats(roundings),
            shape,
            readers,
            done: vec![false; graph.ops.len()],
            stages: Stages { ops: vec![None; graph.ops.len()], ..Stages::default() },
            locations: BTreeMap::new(),
        }
    }

    fn op(&mut self, index: usize) -> Result<(), BackendError> {
        let op = &self.graph.ops[index];
        self.done[index] = true;
        match &op.kind {
            OpKind::Embedding { .. } => self.embedding(index),
            OpKind::LayerNorm { .. } => self.layer_norm(index),
            OpKind::Linear { weight, bias, .. } => self.linear(index, *weight, *bias)?,
            OpKind::AttentionScores { heads, scale } => self.attention(index, *heads, *scale)?,
            OpKind::Softmax(_) | OpKind::AttentionContext { .. } => {
                return Err(self.unsupported(op, "an attention operation that follows no scores"));
            }
            OpKind::Activation(function) => self.elementwise(index, Function::Activation(*function)),
            OpKind::Tanh => self.elementwise(index, Function::Activation(Activation::Tanh)),
            OpKind::Residual => self.elementwise(index, Function::Residual),
            OpKind::Select(token) => self.select(op, *token),
        }
        self.locate(index);
        Ok(())
    }

    /// Notes where the output of an operation is after the last stage, if any tensor holds it: in the element type in which
    /// the policy stores it, or in that of its readers.
    fn locate(&mut self, index: usize) {
        let value = self.graph.ops[index].output;
        let stored = self.locations.get(&(value.0, self.stored(value))).copied();
        if let Some(tensor) = stored.or_else(|| self.widest_location(value)) {
            self.completes(index, tensor, None);
        }
    }

    /// Notes that the last stage completes an operation.
    fn completes(&mut self, index: usize, tensor: TensorId, scale: Option<(f64, Format)>) {
        let stage = self.stages.stages.len() - 1;
        self.stages.ops[index] = Some(OpOutput { stage, tensor, scale });
    }

    fn unsupported(&self, op: &Op, reason: &str) -> BackendError {
        BackendError::UnsupportedPolicy {
            backend: BackendKind::Cuda,
            policy: self.policy.name.clone(),
            reason: format!("`{}` has {reason}", op.name),
        }
    }

    /// The element type in which the policy stores a value.
    fn stored(&self, value: ValueId) -> ElementType {
        ElementType::of(self.formats[value.0])
    }

    /// The element types in which the readers of a value read it.
    fn wanted(&self, value: ValueId) -> Vec<ElementType> {
        let stored = self.stored(value);
        let mut wanted: Vec<ElementType> = self.readers[value.0]
            .iter()
            .map(|&reader| self.read_as(reader, value))
            .chain((value == self.graph.output).then_some(stored))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The element type in which an operation reads a value: a product in that of its operands, the rest in the stored one. What
    /// rounds what it reads may read it rounded: FP32 is rounded once, by the operation before it or by its own kernel. It does
    /// where all that reads the value in 16 bits agrees.
    fn read_as(&self, reader: usize, value: ValueId) -> ElementType {
        let (stored, compute) = (self.stored(value), |op: usize| ElementType::of(self.roundings[op].compute));
        let is_product = |op: usize| self.graph.ops[op].class.is_product();
        let rounds = |op: usize| {
            let kind = &self.graph.ops[op].kind;
            matches!(kind, OpKind::LayerNorm { .. } | OpKind::Activation(_) | OpKind::Tanh | OpKind::Residual)
        };
        let all = self.readers[value.0].iter().copied().filter(|&op| is_product(op) || rounds(op));
        let rounded = rounds(reader) && stored == ElementType::F32 && !self.stages.stepwise;
        match is_product(reader) || (rounded && narrow(all.map(compute)).is_some()) {
            true => compute(reader),
            false => stored,
        }
    }

    /// Whether every operation can read a value in the element type in which the policy stores it.
    fn is_read_as_stored(&self, value: ValueId) -> bool {
        let products = self.readers[value.0].iter().filter(|&&reader| self.graph.ops[reader].class.is_product());
        products.copied().all(|reader| self.read_as(reader, value) == self.stored(value))
    }

    /// A new tensor for a value.
    fn tensor(&mut self, value: ValueId, element: ElementType) -> TensorId {
        let (rows, width) = rows_and_width(self.graph.value(value).shape, self.shape);
        let id = self.scratch(self.graph.value(value).name.clone(), element, rows, width);
        self.locations.insert((value.0, element), id);
        id
    }

    fn scratch(&mut self, name: String, element: ElementType, rows: usize, stride: usize) -> TensorId {
        self.stages.tensors.push(DeviceTensor { name, element, rows, stride });
        TensorId(self.stages.tensors.len() - 1)
    }

    /// The tensors to which a stage writes a value that it computes in FP32 or in the stored format: one in the
    /// policy's element type, if any op reads that, and one in a narrower type in which operations read the value.
    /// Rounding the value at once gives the same bits as storing FP32 first.
    fn outputs(&mut self, value: ValueId) -> Outputs {
        let (stored, wanted) = (self.stored(value), self.wanted(value));
        let narrow = wanted.iter().copied().find(|&element| element != stored && stored == ElementType::F32);
        let main = match narrow {
            Some(narrow) if wanted == [narrow] => {
                return Outputs { main: self.tensor(value, narrow), copy: None };
            }
            _ => self.tensor(value, stored),
        };
        Outputs { main, copy: narrow.map(|narrow| self.tensor(value, narrow)) }
    }

    /// The tensor of a value in an element type. Emits a conversion if there is none yet.
    fn operand(&mut self, value: ValueId, element: ElementType) -> TensorId {
        if let Some(&id) = self.locations.get(&(value.0, element)) {
            return id;
        }
        // Ops come after their inputs, so there is a tensor. `check` refuses one that nothing wrote.
        let Some(input) = self.widest_location(value) else { return self.tensor(value, element) };
        let outputs = Outputs { main: self.tensor(value, element), copy: None };
        let compute = Format::Fp32;
        self.push(Stage::Elementwise(Elementwise {
            function: Function::Activation(Activation::Identity),
            input,
            update: None,
            outputs,
            compute,
        }));
        outputs.main
    }

    /// The tensor of a value in the widest element type that exists.
    fn widest_location(&self, value: ValueId) -> Option<TensorId> {
        let elements = [ElementType::F32, ElementType::F16, ElementType::Bf16];
        elements.iter().find_map(|&element| self.locations.get(&(value.0, element))).copied()
    }

    /// The tensor of a value as the policy stores it.
    fn input(&mut self, value: ValueId) -> TensorId {
        let stored = self.stored(value);
        self.operand(value, stored)
    }

    /// The tensor of a value for an operation that is not a product: in the type in which it reads the value, if that exists.
    fn input_of(&mut self, reader: usize, value: ValueId) -> TensorId {
        let read = self.read_as(reader, value);
        let narrow = self.locations.get(&(value.0, read)).copied();
        narrow.unwrap_or_else(|| self.input(value))
    }

    fn push(&mut self, stage: Stage) {
        self.stages.stages.push(stage);
    }

    fn vector(&self, param: ParamId, format: Format) -> WeightKey {
        WeightKey::new(param, format, self.graph.param(param).elements())
    }

    fn norm(&self, index: usize) -> Option<Norm> {
        let OpKind::LayerNorm { gamma, beta, epsilon } = self.graph.ops[index].kind else { return None };
        let rounding = self.roundings[index];
        let vector = |param| self.vector(param, rounding.compute);
        let order = self.policy.layer_norm_reduction;
        Some(Norm { gamma: vector(gamma), beta: vector(beta), epsilon, order, rounding })
    }

    fn embedding(&mut self, index: usize) {
        let op = &self.graph.ops[index];
        let OpKind::Embedding { word, position, token_type } = op.kind else { return };
        let rounding = self.roundings[index];
        let table = |param| WeightKey::new(param, rounding.compute, self.graph.param(param).dims[0]);
        let (word, position) = (self.table_shared_with_the_head(table(word)), table(position));
        let token_type = token_type.map(table);
        let fused = self.fused_norm(index);
        let stored = self.stored(op.output);
        let shared = fused.is_some() && self.only_reader(op.output).is_none();
        let sum = shared.then(|| self.tensor(op.output, stored));
        let outputs = self.outputs(fused.map_or(op.output, |norm| self.graph.ops[norm].output));
        let norm = fused.and_then(|norm| Some(EmbeddingNorm { norm: self.norm(norm)?, stored, sum }));
        self.push(Stage::Embedding(Embedding { word, position, token_type, sums: rounding.accumulate, norm, outputs }));
    }

    /// The word table. It is padded if it is also the head's weight in the same format, so that it is stored once.
    fn table_shared_with_the_head(&self, table: WeightKey) -> WeightKey {
        let head = self.graph.ops.iter().enumerate().any(|(index, op)| match op.kind {
            OpKind::Linear { weight, .. } => {
                let same = weight.0 == table.param && self.roundings[index].compute.storage() == table.format;
                same && op.output == self.graph.output && self.product_writes(index)
            }
            _ => false,
        });
        if head { WeightKey { rows: padded(table.rows), ..table } } else { table }
    }

    fn layer_norm(&mut self, index: usize) {
        let op = &self.graph.ops[index];
        let Some(norm) = self.norm(index) else { return };
        let source = op.inputs[0];
        let input = self.input_of(index, source);
        let outputs = match self.reusable(source, op.output, index) {
            Some(main) => {
                self.locations.insert((op.output.0, self.stored(op.output)), main);
                let narrow = self.wanted(op.output).into_iter().find(|&element| element != self.stored(op.output));
                Outputs { main, copy: narrow.map(|narrow| self.tensor(op.output, narrow)) }
            }
            None => self.outputs(op.output),
        };
        self.push(Stage::LayerNorm(LayerNorm { input, norm, outputs }));
    }

    /// The tensor of `source`, if `value` may overwrite it: both have one element type, some op reads `value` in it,
    /// and no op reads `source` later.
    fn reusable(&self, source: ValueId, value: ValueId, index: usize) -> Option<TensorId> {
        let stored = self.stored(value);
        let last = self.readers[source.0].iter().all(|&reader| reader <= index) && source != self.graph.output;
        let same = self.stored(source) == stored && self.wanted(value).contains(&stored) && stored == ElementType::F32;
        self.locations.get(&(source.0, stored)).copied().filter(|_| last && same)
    }

    fn elementwise(&mut self, index: usize, function: Function) {
        let op = &self.graph.ops[index];
        let input = self.input_of(index, op.inputs[0]);
        let update = op.inputs.get(1).map(|&value| self.input_of(index, value));
        let outputs = self.outputs(op.output);
        let compute = self.roundings[index].compute;
        self.push(Stage::Elementwise(Elementwise { function, input, update, outputs, compute }));
    }

    fn select(&mut self, op: &Op, token: Token) {
        let input = self.input(op.inputs[0]);
        let outputs = self.outputs(op.output);
        let Shape { batch, sequence } = self.shape;
        let width = self.stages.tensor(input).stride;
        for output in [Some(outputs.main), outputs.copy].into_iter().flatten() {
            self.push(Stage::Select(Select { input, output, token, batch, sequence, width }));
        }
    }
}

/// Rows and columns of a value seen as a matrix.
fn rows_and_width(shape: ValueShape, extent: Shape) -> (usize, usize) {
    let dims = shape.dims(extent);
    let width = dims.last().copied().unwrap_or(1);
    (dims.iter().product::<usize>() / width.max(1), width)
}

/// Columns with which the graph's output of `width` columns is computed.
fn padded(width: usize) -> usize {
    let columns = if width > NARROW_OUTPUT { TILE_COLUMNS } else { COLUMNS };
    width.next_multiple_of(columns)
}
