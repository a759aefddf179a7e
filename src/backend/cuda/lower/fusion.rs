//! Which operations run inside the kernel of the one before them.

use super::{Outputs, StageLowering};
use crate::backend::cuda::calls::{NORM_WIDTH_STEP, narrow};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Epilogue, Linear, Stage};
use crate::graph::{Format, OpKind, Rounding, ValueId};

impl StageLowering<'_> {
    /// The one operation that reads a value, if there is one and the value is not the graph's output.
    fn only_reader(&self, value: ValueId) -> Option<usize> {
        match self.readers[value.0].as_slice() {
            [reader] if value != self.graph.output => Some(*reader),
            _ => None,
        }
    }

    /// The layer norm over the embedding `index` alone, taken along.
    pub(super) fn fused_norm(&mut self, index: usize) -> Option<usize> {
        let reader = self.only_reader(self.graph.ops[index].output)?;
        let sums_in_fp32 =
            self.roundings[index].accumulate == Format::Fp32 && self.roundings[index].store == Format::Fp32;
        let norm = matches!(self.graph.ops[reader].kind, OpKind::LayerNorm { .. });
        let norm = norm
            && self.graph.dimensions.hidden.is_multiple_of(NORM_WIDTH_STEP)
            && self.one_narrow_format(index, reader);
        if !(norm && sums_in_fp32 && computes_in_fp32(self.roundings[reader])) {
            return None;
        }
        self.done[reader] = true;
        Some(reader)
    }

    /// Whether table and norm are stored in FP32 and at most one 16-bit format, which is what a kernel is compiled for.
    fn one_narrow_format(&self, embedding: usize, norm: usize) -> bool {
        let table = ElementType::of(self.roundings[embedding].compute);
        let output = self.graph.ops[norm].output;
        narrow(self.wanted(output).into_iter().chain([table, self.stored(output)])).is_some()
    }

    /// Emits the linear layer with the GELU that alone reads it, computed in FP32 on the way out.
    pub(super) fn fused_gelu(&mut self, index: usize, product: Linear) -> bool {
        let Some(reader) = self.only_reader(self.graph.ops[index].output) else { return false };
        let OpKind::Gelu(form) = self.graph.ops[reader].kind else { return false };
        let value = self.graph.ops[reader].output;
        let (operand, stored) = (ElementType::of(self.roundings[index].compute), self.stored(value));
        let wanted = self.wanted(value);
        // Where the policy stores the linear layer's own output in another format, it is rounded to that in between.
        if self.stored(self.graph.ops[index].output) != operand {
            return false;
        }
        // One storage, and one that the product can write. FP32 outputs keep GELU apart: cuBLASLt's is accurate to 5e-6.
        let [element] = wanted[..] else { return false };
        let narrow =
            element == operand && element != ElementType::F32 && (stored == element || stored == ElementType::F32);
        if !(narrow && self.roundings[reader].compute == Format::Fp32) {
            return false;
        }
        self.done[reader] = true;
        let output = self.tensor(value, element);
        self.push(Stage::Linear(Linear { output, epilogue: Epilogue::Gelu(form), ..product }));
        true
    }

    /// Emits the linear layer with the addition to the residual stream that alone reads it, in place.
    pub(super) fn fused_residual(&mut self, index: usize, product: Linear) -> bool {
        let update = self.graph.ops[index].output;
        let Some(reader) = self.only_reader(update) else { return false };
        let sum = &self.graph.ops[reader];
        if sum.kind != OpKind::Residual || sum.inputs[1] != update || self.roundings[reader].compute != Format::Fp32 {
            return false;
        }
        let (stream, value) = (sum.inputs[0], sum.output);
        let element = self.stored(value);
        let operand = ElementType::of(self.roundings[index].compute);
        let same = self.stored(stream) == element && self.stored(update) == element && self.wanted(value) == [element];
        let last = self.readers[stream.0].iter().all(|&other| other <= reader) && stream != self.graph.output;
        let writable = element == ElementType::F32 || element == operand;
        let Some(&location) = self.locations.get(&(stream.0, element)) else { return false };
        if !(same && last && writable) {
            return false;
        }
        self.done[reader] = true;
        self.locations.insert((value.0, element), location);
        self.push(Stage::Linear(Linear { output: location, epilogue: Epilogue::Residual, ..product }));
        true
    }

    /// Where a fused stage writes its value.
    pub(super) fn single(&mut self, value: ValueId, element: ElementType) -> Outputs {
        Outputs { main: self.tensor(value, element), copy: None }
    }
}

/// Whether a layer norm or softmax rounds nothing but what it stores.
pub(super) fn computes_in_fp32(rounding: Rounding) -> bool {
    rounding.compute == Format::Fp32 && rounding.accumulate == Format::Fp32
}
