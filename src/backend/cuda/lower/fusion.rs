//! Fuses operations into the kernel of the operation before them.

use super::{Outputs, StageLowering};
use crate::backend::cuda::calls::{NORM_WIDTH_STEP, narrow};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Epilogue, Linear, Stage};
use crate::graph::{Format, OpKind, Rounding, ValueId};

impl StageLowering<'_> {
    /// The only operation that reads a value. `None` if there are more, or if the value is the graph's output.
    pub(super) fn only_reader(&self, value: ValueId) -> Option<usize> {
        match self.readers[value.0].as_slice() {
            [reader] if value != self.graph.output => Some(*reader),
            _ => None,
        }
    }

    /// The layer norm that reads the sum of the embedding `index`, if one kernel can compute both. Marks it as lowered.
    pub(super) fn fused_norm(&mut self, index: usize) -> Option<usize> {
        let sum = self.graph.ops[index].output;
        let is_norm = |reader: &usize| matches!(self.graph.ops[*reader].kind, OpKind::LayerNorm { .. });
        let reader = self.readers[sum.0].iter().copied().find(is_norm)?;
        let output = self.graph.ops[reader].output;
        let fits = self.graph.value(output).shape.width().is_multiple_of(NORM_WIDTH_STEP)
            && self.one_narrow_format(index, reader)
            && self.roundings[index].accumulate == Format::Fp32
            && computes_in_fp32(self.roundings[reader])
            && (self.is_left_out(sum) || self.has_one_output_beside(sum, output));
        if !fits {
            return None;
        }
        self.done[reader] = true;
        Some(reader)
    }

    /// Whether a fused kernel needs neither store nor round an embedding's sum.
    fn is_left_out(&self, sum: ValueId) -> bool {
        self.only_reader(sum).is_some() && self.stored(sum) == ElementType::F32
    }

    /// Whether a kernel that stores or rounds an embedding's sum can write what reads its norm: one tensor of either. An examined
    /// forward has both operations apart.
    fn has_one_output_beside(&self, sum: ValueId, output: ValueId) -> bool {
        !self.stages.stepwise && self.wanted(sum) == [self.stored(sum)] && self.wanted(output).len() == 1
    }

    /// Whether table, sum and norm are stored in FP32 and at most one 16-bit format: a kernel is compiled for one.
    fn one_narrow_format(&self, embedding: usize, norm: usize) -> bool {
        let table = ElementType::of(self.roundings[embedding].compute);
        let (sum, output) = (self.graph.ops[embedding].output, self.graph.ops[norm].output);
        narrow(self.wanted(output).into_iter().chain([table, self.stored(sum), self.stored(output)])).is_some()
    }

    /// Emits the linear layer with the activation that is its only reader in the epilogue. `false` if they cannot be fused.
    pub(super) fn fused_activation(&mut self, index: usize, product: Linear) -> bool {
        let Some(reader) = self.only_reader(self.graph.ops[index].output) else { return false };
        let OpKind::Activation(function) = self.graph.ops[reader].kind else { return false };
        let value = self.graph.ops[reader].output;
        let (operand, stored) = (ElementType::of(self.roundings[index].compute), self.stored(value));
        let wanted = self.wanted(value);
        // Only an output in the operands' format can be fused: the epilogue rounds to that format before the function.
        if self.stored(self.graph.ops[index].output) != operand {
            return false;
        }
        // There must be one element type, which the product can write. FP32 is excluded: its products are the library's, which
        // leaves activations to a kernel.
        let [element] = wanted[..] else { return false };
        let narrow =
            element == operand && element != ElementType::F32 && (stored == element || stored == ElementType::F32);
        let epilogue = match self.roundings[reader].compute {
            Format::Fp32 => Epilogue::Activation(function),
            Format::Fp16 if element == ElementType::F16 && !self.stages.stepwise => {
                Epilogue::RoundedActivation(function)
            }
            _ => return false,
        };
        if !narrow {
            return false;
        }
        self.done[reader] = true;
        let output = self.tensor(value, element);
        self.push(Stage::Linear(Linear { output, epilogue, ..product }));
        true
    }

    /// Emits the linear layer with the residual sum that is its only reader. `false` if they cannot be fused.
    pub(super) fn fused_residual(&mut self, index: usize, product: Linear) -> bool {
        let update = self.graph.ops[index].output;
        let Some(reader) = self.only_reader(update) else { return false };
        let sum = &self.graph.ops[reader];
        if sum.kind != OpKind::Residual || sum.inputs[1] != update {
            return false;
        }
        let (stream, value) = (sum.inputs[0], sum.output);
        let (operand, compute) = (ElementType::of(self.roundings[index].compute), self.roundings[reader].compute);
        let stored = self.stored(value);
        let in_place = compute == Format::Fp32
            && [self.stored(stream), self.stored(update)] == [stored; 2]
            && [ElementType::F32, operand].contains(&stored)
            && self.readers[stream.0].iter().all(|&other| other <= reader)
            && stream != self.graph.output
            && self.is_read_as_stored(value);
        // A sum of two FP16 numbers is the same in FP16 and in FP32 that is rounded to FP16 afterwards.
        let half = ElementType::F16;
        let rounds = !self.stages.stepwise
            && [Format::Fp16, Format::Fp32].contains(&compute)
            && [operand, self.stored(update), self.read_as(reader, stream)] == [half; 3]
            && self.wanted(value) == [half];
        let element = if in_place { stored } else { half };
        let Some(&location) = self.locations.get(&(stream.0, element)) else { return false };
        let (epilogue, output) = match (in_place, rounds) {
            (true, _) => (Epilogue::Residual, location),
            // cuBLASLt cannot round between the two sums, so its own sum needs a tensor apart from the stream.
            (_, true) => (Epilogue::RoundedResidual, self.tensor(value, element)),
            _ => return false,
        };
        self.done[reader] = true;
        self.locations.insert((value.0, element), output);
        self.push(Stage::Linear(Linear { output, addend: Some(location), epilogue, ..product }));
        true
    }

    /// The output of a fused stage.
    pub(super) fn single(&mut self, value: ValueId, element: ElementType) -> Outputs {
        Outputs { main: self.tensor(value, element), copy: None }
    }
}

/// Whether a layer norm or softmax rounds only what it stores.
pub(super) fn computes_in_fp32(rounding: Rounding) -> bool {
    rounding.compute == Format::Fp32 && rounding.accumulate == Format::Fp32
}
