//! GELU, tanh, the residual sum and the choice of the first token.

use super::Typing;
use super::assembly::{NamedTensor, OperatorCall};
use super::element::DataType;
use super::lowering::{Lowering, TypedOp};
use super::proto::AttributeProto;
use crate::graph::Gelu;
use crate::graph::Token;

impl Lowering<'_> {
    /// GELU in the model's form: one operator in FP32 where the operator set has it, elementary ones otherwise.
    pub fn gelu(&mut self, op: &TypedOp<'_>, form: Gelu) -> NamedTensor {
        let x = self.operand(op, 0);
        if op.compute == DataType::Fp32 && self.dialect.opset.has_gelu() {
            let approximate = match form {
                Gelu::Erf => "none",
                Gelu::Tanh => "tanh",
            };
            let call = OperatorCall::new("Gelu", &[&x]).with(AttributeProto::text("approximate", approximate));
            return self.assembly.emit(op.name(), call);
        }
        let bend = match form {
            Gelu::Erf => self.erf(op, &x),
            Gelu::Tanh => self.tanh_of_cubic(op, &x),
        };
        let one = self.assembly.scalar(op.compute, 1.0);
        let addends = match self.dialect.typing {
            Typing::PerLayer => [&bend, &one],
            Typing::InModel => [&one, &bend],
        };
        let factor = self.assembly.emit(op.part("add_one"), OperatorCall::new("Add", &addends));
        if self.dialect.typing == Typing::PerLayer && form == Gelu::Erf {
            let double = self.assembly.emit(op.part("double"), OperatorCall::new("Mul", &[&x, &factor]));
            let half = self.assembly.scalar(op.compute, 0.5);
            return self.assembly.emit(op.name(), OperatorCall::new("Mul", &[&double, &half]));
        }
        let half = self.scaled(op, "half", &x, 0.5);
        self.assembly.emit(op.name(), OperatorCall::new("Mul", &[&half, &factor]))
    }

    /// `erf(x/√2)`
    fn erf(&mut self, op: &TypedOp<'_>, x: &NamedTensor) -> NamedTensor {
        let inner = match self.dialect.typing {
            Typing::PerLayer => {
                let root = self.assembly.scalar(op.compute, std::f64::consts::SQRT_2);
                self.assembly.emit(op.part("argument"), OperatorCall::new("Div", &[x, &root]))
            }
            Typing::InModel => self.scaled(op, "argument", x, std::f64::consts::FRAC_1_SQRT_2),
        };
        self.assembly.emit(op.part("erf"), OperatorCall::new("Erf", &[&inner]))
    }

    /// `tanh(√(2/π)(x + 0.044715 x³))`
    fn tanh_of_cubic(&mut self, op: &TypedOp<'_>, x: &NamedTensor) -> NamedTensor {
        let cube = self.power(op, "cube", x, 3);
        let cube = self.scaled(op, "cubic_term", &cube, 0.044715);
        let sum = self.assembly.emit(op.part("polynomial"), OperatorCall::new("Add", &[x, &cube]));
        let inner = self.scaled(op, "argument", &sum, (2.0 / std::f64::consts::PI).sqrt());
        self.assembly.emit(op.part("tanh"), OperatorCall::new("Tanh", &[&inner]))
    }

    fn scaled(&mut self, op: &TypedOp<'_>, part: &str, x: &NamedTensor, factor: f64) -> NamedTensor {
        let factor = self.assembly.scalar(op.compute, factor);
        self.assembly.emit(op.part(part), OperatorCall::new("Mul", &[x, &factor]))
    }

    /// The pooler's tanh.
    pub fn tanh(&mut self, op: &TypedOp<'_>) -> NamedTensor {
        let x = self.operand(op, 0);
        self.assembly.emit(op.name(), OperatorCall::new("Tanh", &[&x]))
    }

    /// The sum of two inputs.
    pub fn residual(&mut self, op: &TypedOp<'_>) -> NamedTensor {
        let (stream, update) = (self.operand(op, 0), self.operand(op, 1));
        self.assembly.emit(op.name(), OperatorCall::new("Add", &[&stream, &update]))
    }

    /// The first or last token of every sequence, as stored: nothing is computed.
    pub fn select(&mut self, op: &TypedOp<'_>, token: Token) -> NamedTensor {
        let x = self.input(op, 0);
        let (index, operator, attribute) = match token {
            Token::First => (self.assembly.index(0), "Gather", AttributeProto::int("axis", 1)),
            Token::Last if !self.dialect.attention_mask => {
                (self.assembly.index(-1), "Gather", AttributeProto::int("axis", 1))
            }
            Token::Last => (self.last_tokens(), "GatherND", AttributeProto::int("batch_dims", 1)),
        };
        self.assembly.emit(op.name(), OperatorCall::new(operator, &[&x, &index]).with(attribute))
    }
}
