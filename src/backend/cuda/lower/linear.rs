//! Lowers linear layers, and says which products any device computes.

use super::{StageLowering, padded, rows_and_width};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Accumulator, Epilogue, Linear, Stage, TensorId, WeightKey};
use crate::engine::BackendError;
use crate::graph::{Format, Op, ParamId, PrecisionPolicy, Rounding};

impl StageLowering<'_> {
    pub(super) fn linear(&mut self, index: usize, weight: ParamId, bias: Option<ParamId>) -> Result<(), BackendError> {
        let (op, rounding) = (&self.graph.ops[index], self.roundings[index]);
        let accumulator = self.accumulator(op, rounding)?;
        let operand = ElementType::of(rounding.compute);
        let x = self.operand(op.inputs[0], operand);
        let dims = &self.graph.param(weight).dims;
        // Only the host can skip padding. Other readers need rows exactly as long as the value's.
        let direct = op.output == self.graph.output && self.product_writes(index);
        let width = if direct { padded(dims[0]) } else { dims[0] };
        let depth = dims[1];
        let weight = WeightKey { rows: width, ..WeightKey::new(weight, rounding.compute, width) };
        let bias = bias.map(|bias| WeightKey { rows: width, ..WeightKey::new(bias, rounding.store, width) });
        let (rows, _) = rows_and_width(self.graph.value(op.output).shape, self.shape);
        let product = Linear {
            x,
            weight,
            bias,
            output: TensorId(0),
            addend: None,
            tokens: rows,
            width,
            depth,
            accumulator,
            epilogue: Epilogue::Store,
        };
        let fuses = accumulator != Accumulator::F16;
        if fuses && (self.fused_activation(index, product) || self.fused_residual(index, product)) {
            return Ok(());
        }
        self.plain_linear(index, product);
        Ok(())
    }

    /// Whether a product can write the element type in which the policy stores its output.
    pub(super) fn product_writes(&self, index: usize) -> bool {
        let stored = self.stored(self.graph.ops[index].output);
        stored == ElementType::F32 || stored == ElementType::of(self.roundings[index].compute)
    }

    /// Emits a linear layer alone. If the product cannot write the element type, it writes FP32 and a conversion
    /// follows.
    fn plain_linear(&mut self, index: usize, product: Linear) {
        let op = &self.graph.ops[index];
        let stored = self.stored(op.output);
        let direct = self.product_writes(index);
        let element = if direct { stored } else { ElementType::F32 };
        let output = self.scratch(op.name.clone(), element, product.tokens, product.width);
        let bias = product.bias.map(|bias| if direct { bias } else { bias.widened() });
        self.push(Stage::Linear(Linear { output, bias, ..product }));
        self.locations.insert((op.output.0, element), output);
        if !direct {
            self.operand(op.output, stored);
        }
    }

    pub(super) fn accumulator(&self, op: &Op, rounding: Rounding) -> Result<Accumulator, BackendError> {
        accumulator(rounding).map_err(|reason| self.unsupported(op, reason))
    }
}

/// The format of a product's sums under a rounding.
fn accumulator(rounding: Rounding) -> Result<Accumulator, &'static str> {
    match (rounding.compute, rounding.accumulate) {
        (Format::Fp64, _) | (_, Format::Fp64) => Err("FP64, which this backend does not have"),
        (Format::Tf32, Format::Fp32 | Format::Tf32) => Ok(Accumulator::Tf32),
        (_, Format::Fp32 | Format::Tf32) => Ok(Accumulator::F32),
        (Format::Fp16, Format::Fp16) if rounding.store == Format::Fp16 => Ok(Accumulator::F16),
        (_, Format::Fp16) => Err("an FP16 accumulator of operands or an output that are not FP16"),
        (_, Format::Bf16) => Err("a BF16 accumulator, which no GPU has"),
    }
}

/// Whether any device can compute the products of a policy. Overrides of single operations are checked when an engine
/// is built.
///
/// # Errors
/// The reason, as a sentence fragment.
pub(in crate::backend::cuda) fn supports(policy: &PrecisionPolicy) -> Result<(), String> {
    let mut products = policy.classes.iter().filter(|(class, _)| class.is_product());
    products.try_for_each(|(class, rounding)| {
        accumulator(*rounding).map(drop).map_err(|reason| format!("`{class}` has {reason}"))
    })
}
