//! Scores, softmax and context: in one kernel where the policy allows it, else as products over materialised scores.

use super::fusion::computes_in_fp32;
use super::{COLUMNS, Lowering};
use crate::backend::BackendError;
use crate::backend::cuda::element::Element;
use crate::backend::cuda::stage::{Attention, AttentionShape, HeadProduct, Operand, Outputs, Softmax, Stage, TensorId};
use crate::graph::{Format, OpKind, ValueId};

/// Head sizes of the fused kernel.
const FUSED_HEAD_SIZES: [usize; 2] = [32, 64];

/// The operations of one attention block.
#[derive(Clone, Copy)]
struct Block {
    scores: usize,
    softmax: usize,
    context: usize,
    packed: ValueId,
    shape: AttentionShape,
    scale: f64,
}

impl Lowering<'_> {
    /// Emits the attention block that begins with the scores `index`.
    pub(super) fn attention(&mut self, index: usize, heads: usize, scale: f64) -> Result<(), BackendError> {
        let block = self.block(index, heads, scale)?;
        self.done[block.softmax] = true;
        self.done[block.context] = true;
        match self.fused_element(block) {
            Some(element) => {
                let packed = self.operand(block.packed, element);
                let context = self.single(self.graph.ops[block.context].output, element).main;
                self.push(Stage::Attention(Attention { packed, context, shape: block.shape, scale }));
                Ok(())
            }
            None => self.materialised(block),
        }
    }

    fn block(&self, scores: usize, heads: usize, scale: f64) -> Result<Block, BackendError> {
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
        Ok(Block { scores, softmax, context, packed: op.inputs[0], shape, scale })
    }

    /// The 16-bit storage that the one kernel works on, if the policy is what it computes.
    fn fused_element(&self, block: Block) -> Option<Element> {
        let [scores, softmax, context] = [block.scores, block.softmax, block.context].map(|op| self.roundings[op]);
        let element = Element::of(scores.compute);
        let output = self.graph.ops[block.context].output;
        let fits = element != Element::F32
            && [scores.accumulate, scores.store, context.accumulate] == [Format::Fp32; 3]
            && computes_in_fp32(softmax)
            && context.compute == scores.compute
            && self.wanted(output) == [element]
            && [element, Element::F32].contains(&self.stored(output))
            && FUSED_HEAD_SIZES.contains(&block.shape.size);
        fits.then_some(element)
    }

    fn materialised(&mut self, block: Block) -> Result<(), BackendError> {
        let [scores, softmax, context] = [block.scores, block.softmax, block.context].map(|op| self.roundings[op]);
        let AttentionShape { batch, sequence, heads, size, .. } = block.shape;
        let (count, stride) = (batch * heads, sequence.next_multiple_of(COLUMNS));
        let (queries, values) = (Element::of(scores.compute), Element::of(context.compute));
        let split = self.split(block, queries);
        let split_for_values = if values == queries { split } else { self.split(block, values) };

        let direct = [Element::F32, queries].contains(&Element::of(scores.store));
        let element = if direct { Element::of(scores.store) } else { Element::F32 };
        let name = self.graph.ops[block.scores].name.clone();
        let scored = self.scratch(name, element, count * sequence, stride);
        let narrow = matches!(scores.store, Format::Fp16 | Format::Bf16);
        let part = |tensor, part: usize| Operand {
            tensor,
            offset: part * count * sequence * size,
            stride: size,
            pitch: sequence * size,
        };
        let square = |tensor| Operand { tensor, offset: 0, stride, pitch: sequence * stride };
        self.push(Stage::HeadProduct(HeadProduct {
            x: part(split, 0),
            y: part(split, 1),
            y_transposed: true,
            output: square(scored),
            rows: sequence,
            columns: sequence,
            depth: size,
            count,
            alpha: if narrow { 1.0 } else { block.scale },
            accumulator: self.accumulator(&self.graph.ops[block.scores], scores)?,
        }));

        let probabilities = match element == values {
            true => scored,
            false => {
                let name = self.graph.ops[block.softmax].name.clone();
                self.scratch(name, values, count * sequence, stride)
            }
        };
        self.push(Stage::Softmax(Softmax {
            scores: scored,
            probabilities,
            shape: block.shape,
            scores_stored: scores.store,
            scale: block.scale,
            rounding: softmax,
        }));

        let direct = [Element::F32, values].contains(&Element::of(context.store));
        let element = if direct { Element::of(context.store) } else { Element::F32 };
        let name = self.graph.ops[block.context].name.clone();
        let by_head = self.scratch(name, element, count * sequence, size);
        self.push(Stage::HeadProduct(HeadProduct {
            x: square(probabilities),
            y: part(split_for_values, 2),
            y_transposed: false,
            output: part(by_head, 0),
            rows: sequence,
            columns: size,
            depth: sequence,
            count,
            alpha: 1.0,
            accumulator: self.accumulator(&self.graph.ops[block.context], context)?,
        }));
        let outputs = self.merged(block);
        self.push(Stage::MergeHeads { split: by_head, outputs, shape: block.shape });
        Ok(())
    }

    fn merged(&mut self, block: Block) -> Outputs {
        self.outputs(self.graph.ops[block.context].output)
    }

    fn split(&mut self, block: Block, element: Element) -> TensorId {
        let AttentionShape { batch, sequence, heads, size, .. } = block.shape;
        let packed = self.input(block.packed);
        let name = format!("{}/split", self.graph.ops[block.scores].name);
        let split = self.scratch(name, element, 3 * batch * heads * sequence, size);
        self.push(Stage::SplitHeads { packed, split, shape: block.shape });
        split
    }
}
