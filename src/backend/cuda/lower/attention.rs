//! Lowers scores, softmax and context: to one kernel if there is one that computes what the policy says, else to products
//! over materialised scores.

use super::fusion::computes_in_fp32;
use super::{COLUMNS, StageLowering};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Attention, AttentionShape, HeadProduct, Operand, Softmax, Stage, TensorId};
use crate::engine::BackendError;
use crate::graph::{Format, OpKind, Rounding, ValueId};

/// Head sizes of the fused kernels.
const FUSED_HEAD_SIZES: [usize; 5] = [32, 64, 80, 96, 128];

/// Most tokens of a sequence for the fused kernel that rounds to FP16: it holds the scores of 16 rows in shared memory.
const ROUNDED_TOKENS: usize = 2048;

/// The operations of one attention block.
#[derive(Clone, Copy)]
struct AttentionBlock {
    scores: usize,
    softmax: usize,
    context: usize,
    packed: ValueId,
    shape: AttentionShape,
    scale: f64,
}

impl StageLowering<'_> {
    /// Emits the attention block that begins with the scores `index`.
    pub(super) fn attention(&mut self, index: usize, heads: usize, scale: f64) -> Result<(), BackendError> {
        let block = self.block(index, heads, scale)?;
        self.done[block.softmax] = true;
        self.done[block.context] = true;
        let rounded = self.rounds_to_fp16(block);
        let fused = match self.fused_element(block) {
            // In a stepwise forward every tensor of FP32 attention exists, and its sums have another order.
            Some(ElementType::F32) if self.stages.stepwise => None,
            Some(element) => Some((element, Format::Fp32)),
            None => (rounded && !self.stages.stepwise).then_some((ElementType::F16, Format::Fp16)),
        };
        let Some((element, arithmetic)) = fused else { return self.materialised(block, rounded) };
        let accumulator = self.accumulator(&self.graph.ops[index], self.roundings[index])?;
        let packed = self.operand(block.packed, element);
        let context = self.single(self.graph.ops[block.context].output, element).main;
        self.push(Stage::Attention(Attention { packed, context, shape: block.shape, scale, arithmetic, accumulator }));
        Ok(())
    }

    fn block(&self, scores: usize, heads: usize, scale: f64) -> Result<AttentionBlock, BackendError> {
        let graph = self.graph;
        let follows = |index: usize| match self.readers[graph.ops[index].output.0].as_slice() {
            [reader] => Some(*reader),
            _ => None,
        };
        let op = &graph.ops[scores];
        let found = follows(scores).and_then(|softmax| match graph.ops[softmax].kind {
            OpKind::Softmax(mask) => Some((softmax, mask, follows(softmax)?)),
            _ => None,
        });
        let Some((softmax, mask, context)) = found else {
            return Err(self.unsupported(op, "scores that are not read by one softmax"));
        };
        let size = graph.dimensions.hidden / heads;
        let shape = AttentionShape { batch: self.shape.batch, sequence: self.shape.sequence, heads, size, mask };
        Ok(AttentionBlock { scores, softmax, context, packed: op.inputs[0], shape, scale })
    }

    /// The element type of the fused kernels that compute the softmax in FP32, or `None` if none computes what the policy
    /// says. Where it is FP32, the tensors are FP32 as well.
    fn fused_element(&self, block: AttentionBlock) -> Option<ElementType> {
        let [scores, softmax, context] = [block.scores, block.softmax, block.context].map(|op| self.roundings[op]);
        let element = ElementType::of(scores.compute);
        let output = self.graph.ops[block.context].output;
        let fits = [scores.accumulate, scores.store, context.accumulate] == [Format::Fp32; 3]
            && computes_in_fp32(softmax)
            && context.compute == scores.compute
            && [element, ElementType::F32].contains(&ElementType::of(softmax.store))
            && (element != ElementType::F32 || self.stored(block.packed) == ElementType::F32)
            && self.wanted(output) == [element]
            && [element, ElementType::F32].contains(&self.stored(output))
            && FUSED_HEAD_SIZES.contains(&block.shape.size);
        fits.then_some(element)
    }

    /// Whether the fused kernel that rounds every step to FP16 computes what the policy says.
    fn rounds_to_fp16(&self, block: AttentionBlock) -> bool {
        let output = self.graph.ops[block.context].output;
        let products = [block.scores, block.context].map(|op| self.roundings[op]);
        products == [Rounding::fp32_accumulated(Format::Fp16); 2]
            && self.roundings[block.softmax] == Rounding::uniform(Format::Fp16)
            && self.stored(block.packed) == ElementType::F16
            && self.wanted(output) == [ElementType::F16]
            && FUSED_HEAD_SIZES.contains(&block.shape.size)
            && block.shape.sequence <= ROUNDED_TOKENS
    }

    /// Emits products over scores in memory. `in_order`: with the sums of the fused kernel.
    fn materialised(&mut self, block: AttentionBlock, in_order: bool) -> Result<(), BackendError> {
        let (queries, values) = (self.operand_of(block.scores), self.operand_of(block.context));
        let split = self.split(block, queries);
        let split_for_values = if values == queries { split } else { self.split(block, values) };
        let scored = self.scores(block, split, in_order)?;
        let stored = self.roundings[block.scores].store;
        let scale = is_narrow(stored).then_some((block.scale, stored));
        self.completes(block.scores, scored, scale);
        let probabilities = self.softmax(block, scored);
        self.completes(block.softmax, probabilities, None);
        let by_head = self.context(block, probabilities, split_for_values, in_order)?;
        let outputs = self.outputs(self.graph.ops[block.context].output);
        self.push(Stage::MergeHeads { split: by_head, outputs, shape: block.shape });
        self.locate(block.context);
        Ok(())
    }

    /// The element type of a product's operands.
    fn operand_of(&self, op: usize) -> ElementType {
        ElementType::of(self.roundings[op].compute)
    }

    /// The element type of a product's output: the policy's if the product can write it, else FP32.
    fn written_by(&self, op: usize) -> ElementType {
        let stored = ElementType::of(self.roundings[op].store);
        if [ElementType::F32, self.operand_of(op)].contains(&stored) { stored } else { ElementType::F32 }
    }

    /// Emits `Q Kᵀ` of every head.
    fn scores(&mut self, block: AttentionBlock, split: TensorId, in_order: bool) -> Result<TensorId, BackendError> {
        let AttentionShape { batch, sequence, heads, size, .. } = block.shape;
        let (op, rounding) = (&self.graph.ops[block.scores], self.roundings[block.scores]);
        let accumulator = self.accumulator(op, rounding)?;
        let element = self.written_by(block.scores);
        let stride = sequence.next_multiple_of(COLUMNS);
        let scored = self.scratch(op.name.clone(), element, batch * heads * sequence, stride);
        self.push(Stage::HeadProduct(HeadProduct {
            x: part(block.shape, split, 0),
            y: part(block.shape, split, 1),
            y_transposed: true,
            output: square(block.shape, scored),
            rows: sequence,
            columns: sequence,
            depth: size,
            count: batch * heads,
            alpha: if is_narrow(rounding.store) { 1.0 } else { block.scale },
            accumulator,
            in_order,
        }));
        Ok(scored)
    }

    /// Emits the softmax. Probabilities overwrite the scores if both have one element type.
    fn softmax(&mut self, block: AttentionBlock, scores: TensorId) -> TensorId {
        let values = self.operand_of(block.context);
        let tensor = self.stages.tensor(scores);
        let (rows, stride) = (tensor.rows, tensor.stride);
        let probabilities = match tensor.element == values {
            true => scores,
            false => self.scratch(self.graph.ops[block.softmax].name.clone(), values, rows, stride),
        };
        self.push(Stage::Softmax(Softmax {
            scores,
            probabilities,
            shape: block.shape,
            scores_stored: self.roundings[block.scores].store,
            scale: block.scale,
            rounding: self.roundings[block.softmax],
        }));
        probabilities
    }

    /// Emits `P V` of every head.
    fn context(
        &mut self,
        block: AttentionBlock,
        probabilities: TensorId,
        split: TensorId,
        in_order: bool,
    ) -> Result<TensorId, BackendError> {
        let AttentionShape { batch, sequence, heads, size, .. } = block.shape;
        let (op, rounding) = (&self.graph.ops[block.context], self.roundings[block.context]);
        let accumulator = self.accumulator(op, rounding)?;
        let element = self.written_by(block.context);
        let by_head = self.scratch(op.name.clone(), element, batch * heads * sequence, size);
        self.push(Stage::HeadProduct(HeadProduct {
            x: square(block.shape, probabilities),
            y: part(block.shape, split, 2),
            y_transposed: false,
            output: part(block.shape, by_head, 0),
            rows: sequence,
            columns: size,
            depth: sequence,
            count: batch * heads,
            alpha: 1.0,
            accumulator,
            in_order,
        }));
        Ok(by_head)
    }

    fn split(&mut self, block: AttentionBlock, element: ElementType) -> TensorId {
        let AttentionShape { batch, sequence, heads, size, .. } = block.shape;
        let packed = self.input(block.packed);
        let name = format!("{}/split", self.graph.ops[block.scores].name);
        let split = self.scratch(name, element, 3 * batch * heads * sequence, size);
        self.push(Stage::SplitHeads { packed, split, shape: block.shape });
        split
    }
}

/// Whether scores of this format are scaled after they are stored.
fn is_narrow(stored: Format) -> bool {
    matches!(stored, Format::Fp16 | Format::Bf16)
}

/// Queries, keys or values of all heads in a split projection.
fn part(shape: AttentionShape, tensor: TensorId, part: usize) -> Operand {
    let pitch = shape.sequence * shape.size;
    Operand { tensor, offset: part * shape.batch * shape.heads * pitch, stride: shape.size, pitch }
}

/// The matrices of scores or probabilities, one per head.
fn square(shape: AttentionShape, tensor: TensorId) -> Operand {
    let stride = shape.sequence.next_multiple_of(COLUMNS);
    Operand { tensor, offset: 0, stride, pitch: shape.sequence * stride }
}
