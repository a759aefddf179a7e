//! Tanh, the residual sum and the choice of one token.

use super::assembly::{NamedTensor, OperatorCall};
use super::lowering::{Lowering, TypedOp};
use super::proto::AttributeProto;
use crate::graph::Token;

impl Lowering<'_> {
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

    /// One token of every sequence, as stored: nothing is computed.
    pub fn select(&mut self, op: &TypedOp<'_>, token: Token) -> NamedTensor {
        let x = self.input(op, 0);
        let (index, operator, attribute) = match token {
            Token::First => (self.assembly.index(0), "Gather", AttributeProto::int("axis", 1)),
            Token::Last if !self.dialect.attention_mask => {
                (self.assembly.index(-1), "Gather", AttributeProto::int("axis", 1))
            }
            Token::Last => (self.last_tokens(), "GatherND", AttributeProto::int("batch_dims", 1)),
            Token::LastBut(id) => (self.last_tokens_but(id), "GatherND", AttributeProto::int("batch_dims", 1)),
        };
        self.assembly.emit(op.name(), OperatorCall::new(operator, &[&x, &index]).with(attribute))
    }
}
