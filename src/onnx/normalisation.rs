//! Layer norm and softmax. Each is one operator in FP32. In other formats their reductions, divisions and element-wise steps
//! are written out in the order that the policies define (that of the reference backend).

use super::Typing;
use super::assembly::{NamedTensor, OperatorCall};
use super::element::DataType;
use super::lowering::{Lowering, TypedOp};
use super::proto::AttributeProto;
use crate::graph::{Mask, ParamId, ReductionOrder};

impl Lowering<'_> {
    /// `(x - mean) / sqrt(var + epsilon) * gamma + beta`.
    pub fn layer_norm(&mut self, op: &TypedOp<'_>, [gamma, beta]: [ParamId; 2], epsilon: f64) -> NamedTensor {
        let x = self.operand(op, 0);
        let (gamma, beta) = (self.weight(gamma, op.compute), self.weight(beta, op.compute));
        if op.is_plain_fp32() && self.dialect.opset.has_layer_norm() {
            let call = OperatorCall::new("LayerNormalization", &[&x, &gamma, &beta]);
            let call =
                call.with(AttributeProto::int("axis", -1)).with(AttributeProto::float("epsilon", epsilon as f32));
            return self.assembly.emit(op.name(), call);
        }
        let mean = self.mean(op, "mean", &x);
        let centred = self.assembly.emit(op.part("centre"), OperatorCall::new("Sub", &[&x, &mean]));
        let square = self.power(op, "square", &centred, 2);
        let variance = self.mean(op, "variance", &square);
        let epsilon = self.assembly.scalar(op.compute, epsilon);
        let variance = self.assembly.emit(op.part("add_epsilon"), OperatorCall::new("Add", &[&variance, &epsilon]));
        let deviation = self.assembly.emit(op.part("deviation"), OperatorCall::new("Sqrt", &[&variance]));
        let normal = match self.dialect.typing {
            Typing::PerLayer => {
                self.assembly.emit(op.part("normalise"), OperatorCall::new("Div", &[&centred, &deviation]))
            }
            Typing::InModel => {
                let factor = self.assembly.emit(op.part("reciprocal"), OperatorCall::new("Reciprocal", &[&deviation]));
                self.assembly.emit(op.part("normalise"), OperatorCall::new("Mul", &[&centred, &factor]))
            }
        };
        let scaled = self.assembly.emit(op.part("scale"), OperatorCall::new("Mul", &[&normal, &gamma]));
        self.assembly.emit(op.name(), OperatorCall::new("Add", &[&scaled, &beta]))
    }

    /// `x` to the power of 2 or 3, as a product, or where a builder sets the types as one operation.
    pub fn power(&mut self, op: &TypedOp<'_>, part: &str, x: &NamedTensor, exponent: u8) -> NamedTensor {
        if self.dialect.typing == Typing::PerLayer {
            let exponent = self.assembly.scalar(op.compute, exponent.into());
            return self.assembly.emit(op.part(part), OperatorCall::new("Pow", &[x, &exponent]));
        }
        let square = if exponent == 3 { "square" } else { part };
        let square = self.assembly.emit(op.part(square), OperatorCall::new("Mul", &[x, x]));
        match exponent {
            3 => self.assembly.emit(op.part(part), OperatorCall::new("Mul", &[&square, x])),
            _ => square,
        }
    }

    /// Mean over the last dimension, which is kept with size 1; in `compute`, summed in `accumulate`.
    fn mean(&mut self, op: &TypedOp<'_>, part: &str, x: &NamedTensor) -> NamedTensor {
        let below = |step: &str| op.part(&format!("{part}/{step}"));
        if self.dialect.typing == Typing::PerLayer && self.order == ReductionOrder::SumThenDivide {
            return self.reduce(op.part(part), "ReduceMean", x);
        }
        let width = self.graph.value(op.definition.output).shape.width();
        // The count itself is rounded to `compute`.
        let count = op.compute.rounded(width as f64);
        match self.order {
            ReductionOrder::SumThenDivide => {
                let wide = op.compute.join(op.accumulate);
                let sum = self.sum(op, part, x);
                let sum = self.cast_to(below("widen"), &sum, wide);
                let count = self.assembly.scalar(wide, count);
                let mean = self.assembly.emit(op.part(part), OperatorCall::new("Div", &[&sum, &count]));
                self.cast_to(below("cast"), &mean, op.compute)
            }
            ReductionOrder::DivideFirst => {
                let count = self.assembly.scalar(op.compute, count);
                let shares = self.assembly.emit(below("divide"), OperatorCall::new("Div", &[x, &count]));
                let mean = self.sum(op, part, &shares);
                self.cast_to(below("cast"), &mean, op.compute)
            }
        }
    }

    /// Sum over the last dimension, which is kept with size 1, in `accumulate`.
    fn sum(&mut self, op: &TypedOp<'_>, part: &str, x: &NamedTensor) -> NamedTensor {
        let below = |step: &str| op.part(&format!("{part}/{step}"));
        let x = self.cast_to(below("as_accumulator"), x, op.accumulate);
        self.reduce(below("sum"), "ReduceSum", &x)
    }

    pub fn reduce(&mut self, name: String, operator: &'static str, x: &NamedTensor) -> NamedTensor {
        let keeps = AttributeProto::int("keepdims", 1);
        if operator != "ReduceSum" && !self.dialect.opset.is_18() {
            let call = OperatorCall::new(operator, &[x]).with(AttributeProto::ints("axes", &[-1]));
            return self.assembly.emit(name, call.with(keeps));
        }
        let axes = self.assembly.integers(&[-1]);
        self.assembly.emit(name, OperatorCall::new(operator, &[x, &axes]).with(keeps))
    }

    fn cast_to(&mut self, name: String, x: &NamedTensor, element: DataType) -> NamedTensor {
        match x.element == element {
            true => x.clone(),
            false => self.assembly.cast(name, x, element),
        }
    }

    /// Softmax over the keys. A key that is not permitted gets the lowest finite score, by selection. Its probability is then
    /// 0, because the exponential of a number that far below the maximum is 0 in every type.
    pub fn softmax(&mut self, op: &TypedOp<'_>, mask: Mask) -> NamedTensor {
        let mut scores = self.operand(op, 0);
        if let Some(permitted) = self.permitted(mask) {
            // Where a builder sets the type, the number must be finite in that.
            let lowest = self.assembly.scalar(op.compute, DataType::from(op.requested.compute).lowest());
            let select = OperatorCall::new("Where", &[&permitted, &scores, &lowest]).yielding(op.compute);
            scores = self.assembly.emit(op.part("mask"), select);
        }
        let wide = [DataType::Fp32, DataType::Fp64].iter().any(|&wide| op.compute == wide && op.accumulate == wide);
        if wide {
            let call = OperatorCall::new("Softmax", &[&scores]).with(AttributeProto::int("axis", -1));
            return self.assembly.emit(op.name(), call);
        }
        let largest = self.reduce(op.part("maximum"), "ReduceMax", &scores);
        let shifted = self.assembly.emit(op.part("subtract"), OperatorCall::new("Sub", &[&scores, &largest]));
        let powers = self.assembly.emit(op.part("exponential"), OperatorCall::new("Exp", &[&shifted]));
        let total = self.sum(op, "total", &powers);
        let wide = op.compute.join(op.accumulate);
        let total = self.cast_to(op.part("total/widen"), &total, wide);
        let powers = self.cast_to(op.part("exponential/widen"), &powers, wide);
        let quotient = self.assembly.emit(op.name(), OperatorCall::new("Div", &[&powers, &total]));
        self.cast_to(op.part("round"), &quotient, op.compute)
    }
}
