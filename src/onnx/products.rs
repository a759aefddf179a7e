//! Matrix products and table lookups.

use super::assembly::{NamedTensor, OperatorCall};
use super::element::DataType;
use super::lowering::{Lowering, TypedOp};
use super::proto::AttributeProto;
use crate::graph::ParamId;

impl Lowering<'_> {
    /// `(word[id] + token_type[type]) + position[index]`: rows in `compute`, sums in `accumulate`.
    pub fn embedding(
        &mut self,
        op: &TypedOp<'_>,
        [word, position]: [ParamId; 2],
        token_type: Option<ParamId>,
    ) -> NamedTensor {
        let ids = NamedTensor::new(super::INPUT_IDS, self.dialect.ids());
        let table = self.weight(word, op.compute);
        let gather = OperatorCall::new("Gather", &[&table, &ids]).with(AttributeProto::int("axis", 0));
        let rows = self.assembly.emit(op.part("word"), gather);
        let mut sum = self.assembly.converted(&rows, op.accumulate);
        if let Some(token_type) = token_type {
            let table = self.weight(token_type, op.compute);
            let types = match self.dialect.token_types {
                true => NamedTensor::new(super::TOKEN_TYPE_IDS, self.dialect.ids()),
                false => self.assembly.index(0),
            };
            let gather = OperatorCall::new("Gather", &[&table, &types]).with(AttributeProto::int("axis", 0));
            let row = self.assembly.emit(op.part("token_type"), gather);
            let row = self.assembly.converted(&row, op.accumulate);
            sum = self.assembly.emit(op.part("add_token_type"), OperatorCall::new("Add", &[&sum, &row]));
        }
        let table = self.weight(position, op.compute);
        let rows = self.rows_of_sequence(op.part("position"), &table);
        let rows = self.assembly.converted(&rows, op.accumulate);
        self.assembly.emit(op.name(), OperatorCall::new("Add", &[&sum, &rows]))
    }

    /// `x W + b`. ONNX has no product whose result is wider than its operands, so the product is in `compute`. The bias, which
    /// is stored in `store`, is added in the narrowest type that holds both.
    pub fn linear(&mut self, op: &TypedOp<'_>, weight: ParamId, bias: Option<ParamId>) -> NamedTensor {
        let input = self.operand(op, 0);
        let mut matrix = self.weight(weight, op.compute);
        if !self.is_transposed(weight) {
            let turn = OperatorCall::new("Transpose", &[&matrix]).with(AttributeProto::ints("perm", &[1, 0]));
            matrix = self.assembly.emit(op.part("weight_transpose"), turn);
        }
        let product = self.assembly.emit(op.name(), OperatorCall::new("MatMul", &[&input, &matrix]));
        let Some(bias) = bias else { return product };
        let sum = op.compute.join(op.store);
        let product = match op.compute == sum {
            true => product,
            false => self.assembly.cast(op.part("widen"), &product, sum),
        };
        let bias = self.weight(bias, op.store);
        let bias = self.assembly.converted(&bias, sum);
        self.assembly.emit(op.part("add_bias"), OperatorCall::new("Add", &[&product, &bias]))
    }

    /// `Q Kᵀ`, stored, then scaled. If ONNX forces the product into FP16 and the policy stores a wider type, the power of two
    /// in the scale is multiplied into the queries first, which is exact. The policy's product cannot overflow there; the
    /// unscaled one in FP16 can.
    pub fn attention_scores(&mut self, op: &TypedOp<'_>, scale: f64) -> NamedTensor {
        let packed = self.input(op, 0);
        let [query, key, _] = self.heads(&packed);
        let mut query = self.assembly.converted(&query, op.compute);
        let key = self.assembly.converted(&key, op.compute);
        let taken = scale_of_queries(scale, op.requested.compute.into(), op.requested.store.into());
        if taken != 1.0 {
            let power = self.assembly.scalar(op.compute, taken);
            query = self.assembly.emit(op.part("scale_query"), OperatorCall::new("Mul", &[&query, &power]));
        }
        let product = self.assembly.emit(op.name(), OperatorCall::new("MatMul", &[&query, &key]));
        let stored = self.stored(op, &product);
        let rest = scale / taken;
        if rest == 1.0 {
            return stored;
        }
        let rest = self.assembly.scalar(op.store, rest);
        self.assembly.emit(op.part("scale"), OperatorCall::new("Mul", &[&stored, &rest]))
    }

    /// `P V` per head, heads side by side: `[batch, sequence, hidden]`.
    pub fn attention_context(&mut self, op: &TypedOp<'_>) -> NamedTensor {
        let probabilities = self.operand(op, 0);
        let packed = self.input(op, 1);
        let [_, _, value] = self.heads(&packed);
        let value = self.assembly.converted(&value, op.compute);
        let product = self.assembly.emit(op.name(), OperatorCall::new("MatMul", &[&probabilities, &value]));
        let turn = OperatorCall::new("Transpose", &[&product]).with(AttributeProto::ints("perm", &[0, 2, 1, 3]));
        let turned = self.assembly.emit(op.part("transpose"), turn);
        let shape = self.assembly.integers(&[0, 0, self.graph.dimensions.hidden as i64]);
        self.assembly.emit(op.part("merge"), OperatorCall::new("Reshape", &[&turned, &shape]))
    }
}

/// The part of the scale of attention scores that is multiplied into the queries: a power of two if the product could
/// overflow its own type but not the type that it is stored in, otherwise 1.
pub(super) fn scale_of_queries(scale: f64, compute: DataType, store: DataType) -> f64 {
    let overflows = compute == DataType::Fp16 && store != DataType::Fp16;
    if overflows { power_of_two(scale) } else { 1.0 }
}

/// The largest power of two not above a positive normal number: its exponent with an empty mantissa.
fn power_of_two(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & (0x7ff << 52))
}

#[cfg(test)]
mod tests {
    use super::power_of_two;

    #[test]
    fn the_power_of_two_in_a_scale_is_exact_and_leaves_a_factor_below_two() {
        assert_eq!(power_of_two(0.125), 0.125);
        let scale = 1.0 / 32f64.sqrt();
        assert_eq!(power_of_two(scale), 0.125);
        assert!((1.0..2.0).contains(&(scale / power_of_two(scale))));
    }
}
