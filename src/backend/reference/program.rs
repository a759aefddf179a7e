//! A graph prepared for one policy and shape: parameters in their formats, intermediate tensors in reused buffers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::elementwise::{Embedding, Kernels, LayerNorm, Softmax};
use super::product::{Heads, Layout, Linear, attention_context, attention_scores, linear, panels};
use super::rounding::{is_on_grid, round_to};
use crate::backend::BackendError;
use crate::graph::cost::params_of;
use crate::graph::{
    Format, Graph, Op, OpKind, ParamId, PrecisionPolicy, ReductionOrder, Rounding, Shape, ValueId, ValueShape,
};
use crate::input::Batch;
use crate::model::Model;

/// A parameter in a format: the same tensor may be wanted in two.
type Key = (usize, Format);

/// Parameters rounded to the formats a policy reads them in, shared by the programs of all shapes.
#[derive(Debug)]
pub(super) struct Weights<T> {
    tensors: BTreeMap<Key, Stored<T>>,
}

/// A parameter as it lies in memory.
#[derive(Debug)]
struct Stored<T> {
    values: Vec<T>,
    layout: Layout,
}

impl<T: Kernels> Weights<T> {
    /// Reads the model tensor by tensor, so that no more than one tensor is held beside the result.
    pub fn load(model: &Model, policy: &PrecisionPolicy) -> Result<Self, BackendError> {
        let mut tensors = BTreeMap::new();
        let rows = row_layout_params(&model.graph);
        for (op, rounding) in model.graph.ops.iter().zip(model.graph.roundings(policy)?) {
            for id in params_of(op) {
                if let Entry::Vacant(entry) = tensors.entry((id.0, rounding.compute)) {
                    let mut values = T::carry(model.param(id)?);
                    round_to(rounding.compute, &mut values);
                    let layout = if rows.contains(&id.0) { Layout::Rows } else { Layout::Panels };
                    if layout == Layout::Panels {
                        values = panels(&values, model.graph.param(id).dims[1]);
                    }
                    entry.insert(Stored { values, layout });
                }
            }
        }
        Ok(Weights { tensors })
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| std::mem::size_of_val(tensor.values.as_slice()) as u64).sum()
    }

    fn get(&self, id: ParamId, format: Format) -> &[T] {
        // `load` walked the same ops with the same policy.
        self.tensors.get(&(id.0, format)).map_or(&[], |tensor| tensor.values.as_slice())
    }

    fn layout(&self, id: ParamId, format: Format) -> Layout {
        self.tensors.get(&(id.0, format)).map_or(Layout::Rows, |tensor| tensor.layout)
    }
}

/// Parameters that must stay as they are: vectors, and tables that are looked up by row (a tied language-model head
/// then multiplies by the table as it is).
fn row_layout_params(graph: &Graph) -> BTreeSet<usize> {
    let is_weight = |op: &Op, id: ParamId| matches!(op.kind, OpKind::Linear { weight, .. } if weight == id);
    let others = graph.ops.iter().flat_map(|op| params_of(op).into_iter().filter(move |id| !is_weight(op, *id)));
    others.map(|id| id.0).collect()
}

/// One op with its formats and its place in the buffers.
#[derive(Debug)]
struct Step {
    op: Op,
    rounding: Rounding,
    /// Formats the inputs are stored in.
    stored: Vec<Format>,
    inputs: Vec<Place>,
    output: Place,
    /// Output vectors: one per token, per sequence, or per query of a head.
    rows: usize,
}

/// A value's buffer and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    buffer: usize,
    elements: usize,
}

/// An executable graph.
#[derive(Debug)]
pub(super) struct Program<T> {
    steps: Vec<Step>,
    weights: Arc<Weights<T>>,
    buffers: Vec<Vec<T>>,
    output: Place,
    hidden: usize,
    shape: Shape,
    order: ReductionOrder,
}

/// Assigns values to buffers so that a value's buffer is free for others after its last use.
#[derive(Debug, Default)]
struct Allocation {
    sizes: Vec<usize>,
    free: Vec<usize>,
}

impl Allocation {
    /// A free buffer, the best fitting one, grown if it must; a new one when none is free.
    fn take(&mut self, elements: usize) -> usize {
        let fits = |&&buffer: &&usize| self.sizes[buffer] >= elements;
        let smallest_fit = self.free.iter().filter(fits).min_by_key(|&&buffer| self.sizes[buffer]);
        let choice = smallest_fit.or_else(|| self.free.iter().max_by_key(|&&buffer| self.sizes[buffer])).copied();
        match choice {
            Some(buffer) => {
                self.free.retain(|&other| other != buffer);
                self.sizes[buffer] = self.sizes[buffer].max(elements);
                buffer
            }
            None => {
                self.sizes.push(elements);
                self.sizes.len() - 1
            }
        }
    }
}

/// Whether the kernel of this op works in place on its first input.
fn works_in_place(kind: &OpKind) -> bool {
    matches!(kind, OpKind::LayerNorm { .. } | OpKind::Softmax(_) | OpKind::Gelu(_) | OpKind::Tanh | OpKind::Residual)
}

impl<T: Kernels> Program<T> {
    pub fn new(
        graph: &Graph,
        policy: &PrecisionPolicy,
        shape: Shape,
        weights: Arc<Weights<T>>,
    ) -> Result<Self, BackendError> {
        let roundings = graph.roundings(policy)?;
        let formats = graph.value_formats(&roundings);
        let last_use = last_uses(graph);
        let mut allocation = Allocation::default();
        let mut places = vec![Place { buffer: 0, elements: 0 }; graph.values.len()];
        let mut steps = Vec::with_capacity(graph.ops.len());
        for (index, (op, rounding)) in graph.ops.iter().zip(roundings).enumerate() {
            let elements = graph.value(op.output).shape.elements(shape);
            let dying: Vec<ValueId> = op.inputs.iter().copied().filter(|id| last_use[id.0] == index).collect();
            let reused = op.inputs.first().filter(|id| works_in_place(&op.kind) && dying.contains(id));
            let buffer = match reused {
                Some(id) => places[id.0].buffer,
                None => allocation.take(elements),
            };
            places[op.output.0] = Place { buffer, elements };
            allocation.free.extend(dying.iter().filter(|id| Some(*id) != reused).map(|id| places[id.0].buffer));
            steps.push(Step {
                op: op.clone(),
                rounding,
                stored: op.inputs.iter().map(|id| formats[id.0]).collect(),
                inputs: op.inputs.iter().map(|id| places[id.0]).collect(),
                output: places[op.output.0],
                rows: rows(graph.value(op.output).shape, shape),
            });
        }
        Ok(Program {
            steps,
            weights,
            buffers: allocation.sizes.iter().map(|&size| vec![T::ZERO; size]).collect(),
            output: places[graph.output.0],
            hidden: graph.dimensions.hidden,
            shape,
            order: policy.layer_norm_reduction,
        })
    }

    /// Bytes of intermediate tensors.
    pub fn activation_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| std::mem::size_of_val(buffer.as_slice()) as u64).sum()
    }

    /// Bytes of parameters.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// The last output.
    pub fn output(&self) -> &[T] {
        &self.buffers[self.output.buffer][..self.output.elements]
    }

    /// One forward pass.
    pub fn run(&mut self, batch: &Batch) {
        for step in &self.steps {
            let mut buffer = std::mem::take(&mut self.buffers[step.output.buffer]);
            self.execute(step, batch, &mut buffer[..step.output.elements]);
            self.buffers[step.output.buffer] = buffer;
        }
    }

    fn execute(&self, step: &Step, batch: &Batch, out: &mut [T]) {
        let rounding = step.rounding;
        if works_in_place(&step.op.kind) {
            if step.inputs[0].buffer != step.output.buffer {
                out.copy_from_slice(self.input(step, 0));
            }
            self.execute_in_place(step, batch, out);
        } else {
            match step.op.kind {
                OpKind::Embedding { word, position, token_type } => {
                    let table = |id| self.weights.get(id, rounding.compute);
                    let job = Embedding {
                        word: table(word),
                        position: table(position),
                        token_type: token_type.map(table),
                        ids: &batch.ids,
                        sequence: self.shape.sequence,
                        width: self.hidden,
                    };
                    T::embedding(rounding, job, out);
                }
                OpKind::Linear { weight, bias, .. } => self.linear(step, weight, bias, out),
                OpKind::AttentionScores { heads, scale } => {
                    let packed = self.operand(step, 0);
                    attention_scores(self.heads(&packed, heads, batch), scale, rounding, out);
                }
                OpKind::AttentionContext { heads } => {
                    let (probabilities, packed) = (self.operand(step, 0), self.operand(step, 1));
                    attention_context(self.heads(&packed, heads, batch), &probabilities, rounding, out);
                }
                OpKind::SelectFirst => {
                    let stride = self.shape.sequence * self.hidden;
                    let rows = self.input(step, 0).chunks(stride);
                    out.chunks_mut(self.hidden).zip(rows).for_each(|(y, x)| y.copy_from_slice(&x[..self.hidden]));
                }
                _ => {}
            }
        }
        if !is_on_grid(rounding.compute, rounding.store) || step.op.class.is_product() {
            round_to(rounding.store, out);
        }
    }

    fn execute_in_place(&self, step: &Step, batch: &Batch, values: &mut [T]) {
        let rounding = step.rounding;
        match step.op.kind {
            OpKind::LayerNorm { gamma, beta, epsilon } => {
                let vector = |id| self.weights.get(id, rounding.compute);
                let job = LayerNorm { gamma: vector(gamma), beta: vector(beta), epsilon, order: self.order };
                T::layer_norm(rounding, job, values);
            }
            OpKind::Softmax(mask) => {
                let heads = step.rows / self.shape.tokens();
                let job = Softmax { mask, shape: self.shape, heads, lengths: &batch.lengths };
                T::softmax(rounding, job, values);
            }
            OpKind::Gelu(form) => T::gelu(rounding, form, values),
            OpKind::Tanh => T::hyperbolic_tangent(rounding, values),
            OpKind::Residual => T::residual(rounding, self.input(step, 1), values),
            _ => {}
        }
    }

    fn linear(&self, step: &Step, weight: ParamId, bias: Option<ParamId>, out: &mut [T]) {
        let input = self.operand(step, 0);
        let layout = self.weights.layout(weight, step.rounding.compute);
        let weight = self.weights.get(weight, step.rounding.compute);
        let job = Linear {
            input: &input,
            weight,
            layout,
            bias: bias.map(|id| self.weights.get(id, step.rounding.compute)),
            inputs: step.inputs[0].elements / step.rows,
            width: step.output.elements / step.rows,
        };
        linear(job, step.rounding, out);
    }

    fn heads<'a>(&self, packed: &'a [T], heads: usize, batch: &'a Batch) -> Heads<'a, T> {
        Heads { packed, shape: self.shape, hidden: self.hidden, heads, lengths: &batch.lengths }
    }

    fn input(&self, step: &Step, index: usize) -> &[T] {
        let place = step.inputs[index];
        &self.buffers[place.buffer][..place.elements]
    }

    /// An input on the grid the product computes in; copied only where it is not there already.
    fn operand(&self, step: &Step, index: usize) -> std::borrow::Cow<'_, [T]> {
        let values = self.input(step, index);
        if is_on_grid(step.stored[index], step.rounding.compute) {
            return values.into();
        }
        let mut rounded = values.to_vec();
        round_to(step.rounding.compute, &mut rounded);
        rounded.into()
    }
}

/// Number of vectors along the last dimension.
fn rows(value: ValueShape, shape: Shape) -> usize {
    let dims = value.dims(shape);
    dims[..dims.len() - 1].iter().product()
}

/// For every value, the index of the last op that reads it; the graph's output lives to the end.
fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.values.len()];
    for (index, op) in graph.ops.iter().enumerate() {
        op.inputs.iter().for_each(|id| last[id.0] = index);
    }
    last[graph.output.0] = usize::MAX;
    last
}
