//! GELU, tanh, the residual sum and the choice of the first token.

use super::assembly::{Call, Tensor};
use super::element::Element;
use super::lowering::{Lowering, Site};
use super::proto::AttributeProto;
use crate::graph::Gelu;
use crate::graph::Token;

impl Lowering<'_> {
    /// GELU in the model's form: one operator in FP32, elementary ones where every step is rounded.
    pub fn gelu(&mut self, site: &Site<'_>, form: Gelu) -> Tensor {
        let x = self.operand(site, 0);
        if site.compute == Element::Fp32 {
            let approximate = match form {
                Gelu::Erf => "none",
                Gelu::Tanh => "tanh",
            };
            let call = Call::new("Gelu", &[&x]).with(AttributeProto::text("approximate", approximate));
            return self.assembly.emit(site.name(), call);
        }
        let bend = match form {
            Gelu::Erf => self.erf(site, &x),
            Gelu::Tanh => self.tanh_of_cubic(site, &x),
        };
        let one = self.assembly.scalar(site.compute, 1.0);
        let factor = self.assembly.emit(site.part("add_one"), Call::new("Add", &[&one, &bend]));
        let half = self.scaled(site, "half", &x, 0.5);
        self.assembly.emit(site.name(), Call::new("Mul", &[&half, &factor]))
    }

    /// `erf(x/√2)`
    fn erf(&mut self, site: &Site<'_>, x: &Tensor) -> Tensor {
        let inner = self.scaled(site, "argument", x, std::f64::consts::FRAC_1_SQRT_2);
        self.assembly.emit(site.part("erf"), Call::new("Erf", &[&inner]))
    }

    /// `tanh(√(2/π)(x + 0.044715 x³))`
    fn tanh_of_cubic(&mut self, site: &Site<'_>, x: &Tensor) -> Tensor {
        let square = self.assembly.emit(site.part("square"), Call::new("Mul", &[x, x]));
        let cube = self.assembly.emit(site.part("cube"), Call::new("Mul", &[&square, x]));
        let cube = self.scaled(site, "cubic_term", &cube, 0.044715);
        let sum = self.assembly.emit(site.part("polynomial"), Call::new("Add", &[x, &cube]));
        let inner = self.scaled(site, "argument", &sum, (2.0 / std::f64::consts::PI).sqrt());
        self.assembly.emit(site.part("tanh"), Call::new("Tanh", &[&inner]))
    }

    fn scaled(&mut self, site: &Site<'_>, part: &str, x: &Tensor, factor: f64) -> Tensor {
        let factor = self.assembly.scalar(site.compute, factor);
        self.assembly.emit(site.part(part), Call::new("Mul", &[x, &factor]))
    }

    /// The pooler's tanh.
    pub fn tanh(&mut self, site: &Site<'_>) -> Tensor {
        let x = self.operand(site, 0);
        self.assembly.emit(site.name(), Call::new("Tanh", &[&x]))
    }

    /// The sum of two inputs.
    pub fn residual(&mut self, site: &Site<'_>) -> Tensor {
        let (stream, update) = (self.operand(site, 0), self.operand(site, 1));
        self.assembly.emit(site.name(), Call::new("Add", &[&stream, &update]))
    }

    /// The first token of every sequence, as it is stored: nothing is computed.
    pub fn select(&mut self, site: &Site<'_>, token: Token) -> Tensor {
        let x = self.input(site, 0);
        let (index, operator, attribute) = match token {
            Token::First => (self.assembly.index(0), "Gather", AttributeProto::int("axis", 1)),
            Token::Last => (self.last_tokens(), "GatherND", AttributeProto::int("batch_dims", 1)),
        };
        self.assembly.emit(site.name(), Call::new(operator, &[&x, &index]).with(attribute))
    }
}
