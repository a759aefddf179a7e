//! A graph, prepared for one policy and shape. Parameters are in their formats, and intermediate tensors reuse buffers.

use std::sync::Arc;

use super::buffer_pool::{BufferPool, last_uses};
use super::kernels::{EmbeddingArguments, Kernels, LayerNormArguments, SoftmaxArguments};
use super::observer::{Observer, PendingOp};
use super::product::{Heads, LinearArguments, attention_context, attention_scores, linear};
use super::rounding::{is_on_grid, round_to};
use super::weights::RoundedWeights;
use crate::engine::BackendError;
use crate::graph::{
    Format, Graph, Op, OpKind, ParamId, PrecisionPolicy, ReductionOrder, Rounding, Shape, Token, ValueId, ValueShape,
};
use crate::input::Batch;

/// One op with its formats and registers.
#[derive(Debug)]
struct ProgramStep {
    op: Op,
    rounding: Rounding,
    /// Formats in which the inputs are stored.
    stored: Vec<Format>,
    inputs: Vec<Register>,
    output: Register,
    /// Number of output vectors: one per token, per sequence, or per query of a head.
    rows: usize,
}

/// The register of a value: a buffer and the number of elements used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Register {
    buffer: usize,
    elements: usize,
}

/// An executable graph.
#[derive(Debug)]
pub(super) struct Program<T> {
    steps: Vec<ProgramStep>,
    weights: Arc<RoundedWeights<T>>,
    buffers: Vec<Vec<T>>,
    output: Register,
    shape: Shape,
    order: ReductionOrder,
}

/// Whether the kernel of this op overwrites its first input.
fn works_in_place(kind: &OpKind) -> bool {
    matches!(
        kind,
        OpKind::LayerNorm { .. } | OpKind::Softmax(_) | OpKind::Activation(_) | OpKind::Tanh | OpKind::Residual
    )
}

impl<T: Kernels> Program<T> {
    pub fn new(
        graph: &Graph,
        policy: &PrecisionPolicy,
        shape: Shape,
        weights: Arc<RoundedWeights<T>>,
    ) -> Result<Self, BackendError> {
        let roundings = graph.roundings(policy)?;
        let formats = graph.value_formats(&roundings);
        let last_use = last_uses(graph);
        let mut buffers = BufferPool::default();
        let mut registers = vec![Register { buffer: 0, elements: 0 }; graph.values.len()];
        let mut steps = Vec::with_capacity(graph.ops.len());
        for (index, (op, rounding)) in graph.ops.iter().zip(roundings).enumerate() {
            let elements = graph.value(op.output).shape.elements(shape);
            let dying: Vec<ValueId> = op.inputs.iter().copied().filter(|id| last_use[id.0] == index).collect();
            let reused = op.inputs.first().filter(|id| works_in_place(&op.kind) && dying.contains(id));
            let buffer = match reused {
                Some(id) => registers[id.0].buffer,
                None => buffers.take(elements),
            };
            registers[op.output.0] = Register { buffer, elements };
            buffers.free.extend(dying.iter().filter(|id| Some(*id) != reused).map(|id| registers[id.0].buffer));
            steps.push(ProgramStep {
                op: op.clone(),
                rounding,
                stored: op.inputs.iter().map(|id| formats[id.0]).collect(),
                inputs: op.inputs.iter().map(|id| registers[id.0]).collect(),
                output: registers[op.output.0],
                rows: rows(graph.value(op.output).shape, shape),
            });
        }
        Ok(Program {
            steps,
            weights,
            buffers: buffers.sizes.iter().map(|&size| vec![T::ZERO; size]).collect(),
            output: registers[graph.output.0],
            shape,
            order: policy.layer_norm_reduction,
        })
    }

    /// Bytes of intermediate tensors.
    pub fn activation_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| std::mem::size_of_val(buffer.as_slice()) as u64).sum()
    }

    /// Bytes of operands that an op copies to round them: the most of any op.
    pub fn workspace_bytes(&self) -> u64 {
        let copies = |step: &ProgramStep| {
            let first = usize::from(works_in_place(&step.op.kind));
            let copied = step.inputs.iter().zip(&step.stored).skip(first);
            let elements = copied.filter(|(_, stored)| !is_on_grid(**stored, step.rounding.compute));
            elements.map(|(register, _)| (register.elements * size_of::<T>()) as u64).sum::<u64>()
        };
        self.steps.iter().map(copies).max().unwrap_or(0)
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
    pub fn run<P: Observer<T>>(&mut self, batch: &Batch, observer: &mut P) {
        for step in &self.steps {
            if P::ACTIVE {
                observer.before(self.pending_op(step));
            }
            let mut buffer = std::mem::take(&mut self.buffers[step.output.buffer]);
            self.execute(step, batch, &mut buffer[..step.output.elements]);
            if P::ACTIVE {
                observer.after(&buffer[..step.output.elements]);
            }
            self.buffers[step.output.buffer] = buffer;
        }
    }

    fn pending_op<'a>(&'a self, step: &'a ProgramStep) -> PendingOp<'a, T> {
        let layer_norm = match step.op.kind {
            OpKind::LayerNorm { gamma, beta, epsilon } => {
                Some((step.rounding, self.layer_norm(step, (gamma, beta), epsilon), step.stored[0]))
            }
            _ => None,
        };
        PendingOp {
            op: &step.op,
            inputs: (0..step.inputs.len()).map(|index| self.input(step, index)).collect(),
            layer_norm,
        }
    }

    fn layer_norm(
        &self,
        step: &ProgramStep,
        (gamma, beta): (ParamId, ParamId),
        epsilon: f64,
    ) -> LayerNormArguments<'_, T> {
        let vector = |id| self.weights.get(id, step.rounding.compute);
        LayerNormArguments { gamma: vector(gamma), beta: vector(beta), epsilon, order: self.order }
    }

    fn execute(&self, step: &ProgramStep, batch: &Batch, out: &mut [T]) {
        let rounding = step.rounding;
        if works_in_place(&step.op.kind) {
            if step.inputs[0].buffer != step.output.buffer {
                out.copy_from_slice(self.input(step, 0));
            }
            if !is_on_grid(step.stored[0], rounding.compute) {
                round_to(rounding.compute, out);
            }
            self.execute_in_place(step, batch, out);
        } else {
            match step.op.kind {
                OpKind::Embedding { word, position, token_type } => {
                    let table = |id| self.weights.get(id, rounding.compute);
                    let arguments = EmbeddingArguments {
                        word: table(word),
                        position: table(position),
                        token_type: token_type.map(table),
                        ids: &batch.ids,
                        types: batch.token_types.as_deref(),
                        sequence: self.shape.sequence,
                        width: step.output.elements / step.rows,
                    };
                    T::embedding(rounding, arguments, out);
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
                OpKind::Select(token) => {
                    let width = step.output.elements / step.rows;
                    let sequences = self.input(step, 0).chunks(self.shape.sequence * width);
                    for (row, (y, x)) in out.chunks_mut(width).zip(sequences).enumerate() {
                        y.copy_from_slice(&x[selected(token, batch, row) * width..][..width]);
                    }
                }
                _ => {}
            }
        }
        // Kernels in place leave values on the grid of their arithmetic, all others on a wider one.
        if !(works_in_place(&step.op.kind) && is_on_grid(rounding.compute, rounding.store)) {
            round_to(rounding.store, out);
        }
    }

    fn execute_in_place(&self, step: &ProgramStep, batch: &Batch, values: &mut [T]) {
        let rounding = step.rounding;
        match step.op.kind {
            OpKind::LayerNorm { gamma, beta, epsilon } => {
                T::layer_norm(rounding, self.layer_norm(step, (gamma, beta), epsilon), values);
            }
            OpKind::Softmax(mask) => {
                let heads = step.rows / self.shape.tokens();
                let arguments = SoftmaxArguments { mask, shape: self.shape, heads, lengths: &batch.lengths };
                T::softmax(rounding, arguments, values);
            }
            OpKind::Activation(function) => T::activation(rounding, function, values),
            OpKind::Tanh => T::hyperbolic_tangent(rounding, values),
            OpKind::Residual => T::residual(rounding, &self.operand(step, 1), values),
            _ => {}
        }
    }

    fn linear(&self, step: &ProgramStep, weight: ParamId, bias: Option<ParamId>, out: &mut [T]) {
        let input = self.operand(step, 0);
        let layout = self.weights.layout(weight, step.rounding.compute);
        let weight = self.weights.get(weight, step.rounding.compute);
        let arguments = LinearArguments {
            input: &input,
            weight,
            layout,
            bias: bias.map(|id| self.weights.get(id, step.rounding.store)),
            inputs: step.inputs[0].elements / step.rows,
            width: step.output.elements / step.rows,
        };
        linear(arguments, step.rounding, out);
    }

    fn heads<'a>(&self, packed: &'a [T], heads: usize, batch: &'a Batch) -> Heads<'a, T> {
        // Queries, keys and values.
        let hidden = packed.len() / self.shape.tokens() / 3;
        Heads { packed, shape: self.shape, hidden, heads, lengths: &batch.lengths }
    }

    fn input(&self, step: &ProgramStep, index: usize) -> &[T] {
        let register = step.inputs[index];
        &self.buffers[register.buffer][..register.elements]
    }

    /// An input on the grid of the product's arithmetic. It is copied only if it is not on that grid already.
    fn operand(&self, step: &ProgramStep, index: usize) -> std::borrow::Cow<'_, [T]> {
        let values = self.input(step, index);
        if is_on_grid(step.stored[index], step.rounding.compute) {
            return values.into();
        }
        let mut rounded = values.to_vec();
        round_to(step.rounding.compute, &mut rounded);
        rounded.into()
    }
}

/// Index of the token that is taken from a row of the batch.
fn selected(token: Token, batch: &Batch, row: usize) -> usize {
    let length = batch.lengths[row];
    match token {
        Token::First => 0,
        Token::Last => length - 1,
        Token::LastBut(id) => {
            let ids = &batch.ids[row * batch.shape.sequence..][..length];
            ids.iter().rposition(|&other| other != id).unwrap_or(0)
        }
    }
}

/// Number of vectors along the last dimension.
fn rows(value: ValueShape, shape: Shape) -> usize {
    let dims = value.dims(shape);
    dims[..dims.len() - 1].iter().product()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::observer::Unobserved;
    use super::*;
    use crate::graph::{Activation, OpClass, Preset};
    use crate::model::{Architecture, ModelSource};
    use crate::model::{Head, Model};

    fn run(policy: &PrecisionPolicy) -> (Model, Vec<f32>) {
        let source = ModelSource::Random { seed: 1, architecture: Architecture::BertTiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let batch = Batch::single((0..9).collect());
        let weights = Arc::new(RoundedWeights::load(&model, policy, RoundedWeights::default()).unwrap());
        let mut program = Program::<f32>::new(&model.graph, policy, batch.shape, weights).unwrap();
        program.run(&batch, &mut Unobserved);
        let output = program.output().to_vec();
        (model, output)
    }

    fn with(class: OpClass, rounding: Rounding) -> PrecisionPolicy {
        let mut policy = PrecisionPolicy::preset(Preset::Fp32);
        policy.classes.insert(class, rounding);
        policy
    }

    /// Every class must round: an op that computes in a wider format than it stores must not pass on unrounded values.
    #[test]
    fn the_output_of_every_policy_lies_on_its_storage_grid_and_every_class_has_an_effect() {
        let (model, exact) = run(&PrecisionPolicy::preset(Preset::Fp32));
        let present: BTreeSet<OpClass> = model.graph.ops.iter().map(|op| op.class).collect();
        for class in present {
            for format in [Format::Fp16, Format::Bf16] {
                for rounding in [Rounding::uniform(format), Rounding::fp32_accumulated(format)] {
                    let (_, ours) = run(&with(class, rounding));
                    assert_ne!(ours, exact, "{class} in {format} changed nothing");
                }
                // Stored only: the value itself is rounded, whatever the kernel computes in.
                let (_, ours) = run(&with(class, Rounding::fp32_stored_as(format)));
                assert_ne!(ours, exact, "{class} stored as {format} changed nothing");
            }
        }
        for preset in [Preset::Fp16, Preset::Bf16] {
            let (_, ours) = run(&PrecisionPolicy::preset(preset));
            let mut rounded = ours.clone();
            round_to(if preset == Preset::Fp16 { Format::Fp16 } else { Format::Bf16 }, &mut rounded);
            assert_eq!(ours, rounded, "{preset}");
        }
    }

    /// 70000 is infinite in FP16, so an FP16 softmax, layer norm or sum of FP32 values must read infinity.
    #[test]
    fn operands_are_rounded_before_the_kernel_sees_them() {
        let fp16 = Rounding::uniform(Format::Fp16);
        let step = |kind: OpKind, inputs: usize| {
            let register = |buffer| Register { buffer, elements: 2 };
            let op = Op { name: "op".into(), class: kind.class(), kind, inputs: Vec::new(), output: ValueId(0) };
            let inputs: Vec<Register> = (0..inputs).map(register).collect();
            let stored = vec![Format::Fp32; inputs.len()];
            ProgramStep { op, rounding: fp16, stored, inputs, output: register(0), rows: 1 }
        };
        for (kind, inputs) in [(OpKind::Residual, 2), (OpKind::Tanh, 1), (OpKind::Activation(Activation::Relu), 1)] {
            let mut program = Program {
                steps: vec![step(kind.clone(), inputs)],
                weights: Arc::new(RoundedWeights::default()),
                buffers: vec![vec![70000.0f32, 1.0], vec![-60000.0, 1.0]],
                output: Register { buffer: 0, elements: 2 },
                shape: Shape { batch: 1, sequence: 1 },
                order: ReductionOrder::SumThenDivide,
            };
            program.run(&Batch::single(vec![0]), &mut Unobserved);
            let expected = if kind == OpKind::Tanh { 1.0 } else { f32::INFINITY };
            assert_eq!(program.output()[0], expected, "{kind:?}");
        }
    }
}
