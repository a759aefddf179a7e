//! Layer norm and softmax. Both are one operator in FP32; elsewhere their reductions, divisions and element-wise steps are
//! written out in the order the policies define (that of the reference backend).

use super::assembly::{Call, Tensor};
use super::element::Element;
use super::lowering::{Lowering, Site};
use super::proto::AttributeProto;
use crate::graph::{Mask, ParamId, ReductionOrder};

impl Lowering<'_> {
    /// `(x - mean) / sqrt(var + epsilon) * gamma + beta`.
    pub fn layer_norm(&mut self, site: &Site<'_>, [gamma, beta]: [ParamId; 2], epsilon: f64) -> Tensor {
        let x = self.operand(site, 0);
        let (gamma, beta) = (self.weight(gamma, site.compute), self.weight(beta, site.compute));
        if site.is_plain_fp32() {
            let call = Call::new("LayerNormalization", &[&x, &gamma, &beta]);
            let call =
                call.with(AttributeProto::int("axis", -1)).with(AttributeProto::float("epsilon", epsilon as f32));
            return self.assembly.emit(site.name(), call);
        }
        let mean = self.mean(site, "mean", &x);
        let centred = self.assembly.emit(site.part("centre"), Call::new("Sub", &[&x, &mean]));
        let square = self.assembly.emit(site.part("square"), Call::new("Mul", &[&centred, &centred]));
        let variance = self.mean(site, "variance", &square);
        let epsilon = self.assembly.scalar(site.compute, epsilon);
        let variance = self.assembly.emit(site.part("add_epsilon"), Call::new("Add", &[&variance, &epsilon]));
        let deviation = self.assembly.emit(site.part("deviation"), Call::new("Sqrt", &[&variance]));
        let factor = self.assembly.emit(site.part("reciprocal"), Call::new("Reciprocal", &[&deviation]));
        let normal = self.assembly.emit(site.part("normalise"), Call::new("Mul", &[&centred, &factor]));
        let scaled = self.assembly.emit(site.part("scale"), Call::new("Mul", &[&normal, &gamma]));
        self.assembly.emit(site.name(), Call::new("Add", &[&scaled, &beta]))
    }

    /// Mean of the last dimension, which is kept with size 1; in `compute`, summed in `accumulate`.
    fn mean(&mut self, site: &Site<'_>, part: &str, x: &Tensor) -> Tensor {
        let below = |step: &str| site.part(&format!("{part}/{step}"));
        // The count itself is on the grid of `compute`.
        let count = site.compute.rounded(self.graph.dimensions.hidden as f64);
        match self.order {
            ReductionOrder::SumThenDivide => {
                let wide = site.compute.join(site.accumulate);
                let sum = self.sum(site, part, x);
                let sum = self.cast_to(below("widen"), &sum, wide);
                let count = self.assembly.scalar(wide, count);
                let mean = self.assembly.emit(site.part(part), Call::new("Div", &[&sum, &count]));
                self.cast_to(below("cast"), &mean, site.compute)
            }
            ReductionOrder::DivideFirst => {
                let count = self.assembly.scalar(site.compute, count);
                let shares = self.assembly.emit(below("divide"), Call::new("Div", &[x, &count]));
                let mean = self.sum(site, part, &shares);
                self.cast_to(below("cast"), &mean, site.compute)
            }
        }
    }

    /// Sum of the last dimension, which is kept with size 1, in `accumulate`.
    fn sum(&mut self, site: &Site<'_>, part: &str, x: &Tensor) -> Tensor {
        let below = |step: &str| site.part(&format!("{part}/{step}"));
        let x = self.cast_to(below("as_accumulator"), x, site.accumulate);
        self.reduce(below("sum"), "ReduceSum", &x)
    }

    fn reduce(&mut self, name: String, operator: &'static str, x: &Tensor) -> Tensor {
        let axes = self.assembly.integers(&[-1]);
        self.assembly.emit(name, Call::new(operator, &[x, &axes]).with(AttributeProto::int("keepdims", 1)))
    }

    fn cast_to(&mut self, name: String, x: &Tensor, element: Element) -> Tensor {
        match x.element == element {
            true => x.clone(),
            false => self.assembly.cast(name, x, element),
        }
    }

    /// Softmax over the keys. Those that are not permitted get the lowest finite score, by selection, and so probability
    /// 0: the exponential of anything that far below the maximum is 0 in every type.
    pub fn softmax(&mut self, site: &Site<'_>, mask: Mask) -> Tensor {
        let scores = self.operand(site, 0);
        let permitted = self.permitted(mask);
        let lowest = self.assembly.scalar(site.compute, site.compute.lowest());
        let select = Call::new("Where", &[&permitted, &scores, &lowest]).yielding(site.compute);
        let scores = self.assembly.emit(site.part("mask"), select);
        if site.is_plain_fp32() || (site.compute == Element::Fp64 && site.accumulate == Element::Fp64) {
            let call = Call::new("Softmax", &[&scores]).with(AttributeProto::int("axis", -1));
            return self.assembly.emit(site.name(), call);
        }
        let largest = self.reduce(site.part("maximum"), "ReduceMax", &scores);
        let shifted = self.assembly.emit(site.part("subtract"), Call::new("Sub", &[&scores, &largest]));
        let powers = self.assembly.emit(site.part("exponential"), Call::new("Exp", &[&shifted]));
        let total = self.sum(site, "total", &powers);
        let wide = site.compute.join(site.accumulate);
        let total = self.cast_to(site.part("total/widen"), &total, wide);
        let powers = self.cast_to(site.part("exponential/widen"), &powers, wide);
        let quotient = self.assembly.emit(site.name(), Call::new("Div", &[&powers, &total]));
        self.cast_to(site.part("round"), &quotient, site.compute)
    }
}
