//! Activations. A compound operator stands for one in FP32 where the operator set has it; elementary ones otherwise, in the
//! order in which the reference backend rounds.

use super::Typing;
use super::assembly::{NamedTensor, OperatorCall};
use super::element::DataType;
use super::lowering::{Lowering, TypedOp};
use super::proto::AttributeProto;
use crate::graph::activation::{LAPLACE_DEVIATION, LAPLACE_MEAN, QUICK_GELU_FACTOR};
use crate::graph::{Activation, Gelu};

impl Lowering<'_> {
    /// The function of an element-wise op.
    pub fn activation(&mut self, op: &TypedOp<'_>, function: Activation) -> NamedTensor {
        let x = self.operand(op, 0);
        let unary = |operator| OperatorCall::new(operator, &[&x]);
        let call = match function {
            Activation::Gelu(form) => return self.gelu(op, &x, form, op.name()),
            Activation::Relu => unary("Relu"),
            Activation::LeakyRelu => unary("LeakyRelu").with(AttributeProto::float("alpha", 0.01)),
            Activation::Sigmoid => unary("Sigmoid"),
            Activation::Tanh => unary("Tanh"),
            Activation::Identity => unary("Identity"),
            Activation::ClippedGelu => {
                let gelu = self.gelu(op, &x, Gelu::Erf, &op.part("gelu"));
                return self.clip(op, op.name(), &gelu, [-10.0, 10.0]);
            }
            Activation::Relu6 => return self.clip(op, op.name(), &x, [0.0, 6.0]),
            Activation::SquaredRelu => {
                let positive = self.assembly.emit(op.part("relu"), unary("Relu"));
                return self.assembly.emit(op.name(), OperatorCall::new("Mul", &[&positive, &positive]));
            }
            Activation::SqrtSoftplus => {
                let softplus = self.assembly.emit(op.part("softplus"), unary("Softplus"));
                return self.assembly.emit(op.name(), OperatorCall::new("Sqrt", &[&softplus]));
            }
            Activation::Laplace => return self.laplace(op, &x),
            Activation::Silu | Activation::QuickGelu | Activation::HardSwish | Activation::Mish => {
                let gate = self.gate(op, &x, function);
                return self.assembly.emit(op.name(), OperatorCall::new("Mul", &[&x, &gate]));
            }
        };
        self.assembly.emit(op.name(), call)
    }

    /// What `x` is multiplied by in a function that gates it.
    fn gate(&mut self, op: &TypedOp<'_>, x: &NamedTensor, function: Activation) -> NamedTensor {
        match function {
            Activation::HardSwish => {
                let three = self.assembly.scalar(op.compute, 3.0);
                let sum = self.assembly.emit(op.part("add_three"), OperatorCall::new("Add", &[x, &three]));
                let sum = self.clip(op, &op.part("clip"), &sum, [0.0, 6.0]);
                self.scaled(op, "sixth", &sum, 1.0 / 6.0)
            }
            Activation::Mish => {
                let softplus = self.assembly.emit(op.part("softplus"), OperatorCall::new("Softplus", &[x]));
                self.assembly.emit(op.part("tanh"), OperatorCall::new("Tanh", &[&softplus]))
            }
            Activation::QuickGelu => {
                let inner = self.scaled(op, "argument", x, QUICK_GELU_FACTOR);
                self.assembly.emit(op.part("sigmoid"), OperatorCall::new("Sigmoid", &[&inner]))
            }
            _ => self.assembly.emit(op.part("sigmoid"), OperatorCall::new("Sigmoid", &[x])),
        }
    }

    fn clip(&mut self, op: &TypedOp<'_>, name: &str, x: &NamedTensor, limits: [f64; 2]) -> NamedTensor {
        let [least, most] = limits.map(|limit| self.assembly.scalar(op.compute, limit));
        self.assembly.emit(name, OperatorCall::new("Clip", &[x, &least, &most]))
    }

    /// `(1 + erf((x - mean) / (deviation √2))) / 2`
    fn laplace(&mut self, op: &TypedOp<'_>, x: &NamedTensor) -> NamedTensor {
        let mean = self.assembly.scalar(op.compute, LAPLACE_MEAN);
        let centred = self.assembly.emit(op.part("centre"), OperatorCall::new("Sub", &[x, &mean]));
        let inner = self.scaled(op, "argument", &centred, 1.0 / (LAPLACE_DEVIATION * std::f64::consts::SQRT_2));
        let bend = self.assembly.emit(op.part("erf"), OperatorCall::new("Erf", &[&inner]));
        let one = self.assembly.scalar(op.compute, 1.0);
        let sum = self.assembly.emit(op.part("add_one"), OperatorCall::new("Add", &[&bend, &one]));
        let half = self.assembly.scalar(op.compute, 0.5);
        self.assembly.emit(op.name(), OperatorCall::new("Mul", &[&sum, &half]))
    }

    /// GELU in the model's form, under `name`.
    fn gelu(&mut self, op: &TypedOp<'_>, x: &NamedTensor, form: Gelu, name: &str) -> NamedTensor {
        if op.compute == DataType::Fp32 && self.dialect.opset.has_gelu() {
            let approximate = match form {
                Gelu::Erf => "none",
                Gelu::Tanh => "tanh",
            };
            let call = OperatorCall::new("Gelu", &[x]).with(AttributeProto::text("approximate", approximate));
            return self.assembly.emit(name, call);
        }
        let bend = match form {
            Gelu::Erf => self.erf(op, x),
            Gelu::Tanh => self.tanh_of_cubic(op, x),
        };
        let one = self.assembly.scalar(op.compute, 1.0);
        let addends = match self.dialect.typing {
            Typing::PerLayer => [&bend, &one],
            Typing::InModel => [&one, &bend],
        };
        let factor = self.assembly.emit(op.part("add_one"), OperatorCall::new("Add", &addends));
        if self.dialect.typing == Typing::PerLayer && form == Gelu::Erf {
            let double = self.assembly.emit(op.part("double"), OperatorCall::new("Mul", &[x, &factor]));
            let half = self.assembly.scalar(op.compute, 0.5);
            return self.assembly.emit(name, OperatorCall::new("Mul", &[&double, &half]));
        }
        let half = self.scaled(op, "half", x, 0.5);
        self.assembly.emit(name, OperatorCall::new("Mul", &[&half, &factor]))
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
}
