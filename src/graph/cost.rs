//! Work of one forward pass, counted from the graph: floating-point operations and bytes.
//!
//! A multiply-add is two operations. Element-wise classes use fixed counts per element (documented at
//! [`flops_per_element`] and [`Activation::flops`](super::Activation::flops)); together they are under 1 % of a transformer's work, so their exact value does not matter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Format, Graph, Op, OpClass, OpKind, ParamId, PolicyError, PrecisionPolicy, Rounding, Shape};

/// Work of one forward pass, counted from the graph under its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CostSummary {
    /// Floating-point operations (a multiply-add is two).
    pub flops: u64,
    /// Parameters in the policy's storage formats, bytes.
    pub policy_weights_bytes: u64,
    /// Sum of all intermediate tensors in the policy's storage formats, bytes.
    pub policy_activations_bytes: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes that a forward pass must move however it is fused: parameters once, token ids, output. `None` in older journals.
    #[serde(default)]
    pub compulsory_bytes: Option<u64>,
}

/// Work and traffic of one op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpCost {
    /// Floating-point operations.
    pub flops: u64,
    /// Parameters read, bytes. An embedding reads only the rows of the batch's tokens.
    pub param_bytes: u64,
    /// Inputs read, bytes.
    pub read_bytes: u64,
    /// Output written, bytes.
    pub write_bytes: u64,
}

/// Operations per output element of the classes that are not products.
pub fn flops_per_element(class: OpClass) -> u64 {
    match class {
        // Two additions over three tables: BERT's count, one more than GPT-2's.
        OpClass::Embedding => 2,
        // Mean, deviation, square, variance, normalise, scale, shift.
        OpClass::LayerNorm => 8,
        // Maximum, subtraction, exponential, sum, division.
        OpClass::Softmax => 5,
        OpClass::Residual | OpClass::Tanh => 1,
        _ => 0,
    }
}

/// Parameters an op reads.
pub fn params_of(op: &Op) -> Vec<ParamId> {
    match &op.kind {
        OpKind::Embedding { word, position, token_type } => {
            [Some(*word), Some(*position), *token_type].into_iter().flatten().collect()
        }
        OpKind::LayerNorm { gamma, beta, .. } => vec![*gamma, *beta],
        OpKind::Linear { weight, bias, .. } => std::iter::once(*weight).chain(*bias).collect(),
        _ => Vec::new(),
    }
}

/// Parameters that an op reads and the formats they are stored in: a bias in the format of the output, so that an epilogue
/// can add it (cuBLASLt requires this), everything else in `compute`.
pub fn param_formats(op: &Op, rounding: Rounding) -> Vec<(ParamId, Format)> {
    let bias = match op.kind {
        OpKind::Linear { bias, .. } => bias,
        _ => None,
    };
    let format = |id| if Some(id) == bias { rounding.store } else { rounding.compute };
    params_of(op).into_iter().map(|id| (id, format(id))).collect()
}

impl Graph {
    /// Work of every op under `policy`, in op order.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy does not fit the graph.
    pub fn costs(&self, policy: &PrecisionPolicy, shape: Shape) -> Result<Vec<OpCost>, PolicyError> {
        let roundings = self.roundings(policy)?;
        let stored: Vec<Format> = self.value_formats(&roundings);
        let cost = |(op, rounding): (&Op, &Rounding)| {
            let output = self.value(op.output).shape.elements(shape) as u64;
            let read = op.inputs.iter().map(|id| {
                self.value(*id).shape.elements(shape) as u64 * stored[id.0].bytes() / self.share_divisor(op, shape)
            });
            OpCost {
                flops: self.flops(op, shape),
                param_bytes: self.param_traffic(op, shape) * rounding.compute.bytes(),
                read_bytes: read.sum(),
                write_bytes: output * rounding.store.bytes(),
            }
        };
        Ok(self.ops.iter().zip(&roundings).map(cost).collect())
    }

    /// Totals of a forward pass: operations, parameter bytes and intermediate bytes in the policy's formats.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy does not fit the graph.
    pub fn cost(&self, policy: &PrecisionPolicy, shape: Shape) -> Result<CostSummary, PolicyError> {
        let roundings = self.roundings(policy)?;
        let costs = self.costs(policy, shape)?;
        // A parameter used in two formats is stored twice; TF32 reads FP32 storage.
        let stored: BTreeSet<(usize, Format)> = self
            .ops
            .iter()
            .zip(&roundings)
            .flat_map(|(op, rounding)| param_formats(op, *rounding))
            .map(|(id, format)| (id.0, format.storage()))
            .collect();
        Ok(CostSummary {
            compulsory_bytes: Some(self.compulsory_bytes(&roundings, shape)),
            flops: costs.iter().map(|cost| cost.flops).sum(),
            policy_weights_bytes: stored.iter().map(|&(id, f)| self.params[id].elements() as u64 * f.bytes()).sum(),
            policy_activations_bytes: costs.iter().map(|cost| cost.write_bytes).sum(),
            parameters: self.parameter_count(),
        })
    }

    /// Bytes that a forward pass must move however it is fused: every parameter once per storage format, the token ids, and
    /// the output. A table that is only looked up counts with the rows of the batch's tokens.
    fn compulsory_bytes(&self, roundings: &[Rounding], shape: Shape) -> u64 {
        let mut read: BTreeMap<(usize, Format), u64> = BTreeMap::new();
        for (op, rounding) in self.ops.iter().zip(roundings) {
            for (id, format) in param_formats(op, *rounding) {
                let whole = self.param(id).elements() as u64;
                let elements = match op.kind {
                    OpKind::Embedding { .. } => self.rows_of_tokens(id, shape),
                    _ => whole,
                };
                let most = read.entry((id.0, format.storage())).or_default();
                *most = elements.max(*most);
            }
        }
        let parameters: u64 = read.iter().map(|((_, format), elements)| elements * format.bytes()).sum();
        let output_format = self.value_formats(roundings)[self.output.0];
        let output = self.value(self.output).shape.elements(shape) as u64 * output_format.bytes();
        parameters + output + (shape.tokens() * size_of::<u32>()) as u64
    }

    /// Whether a parameter is the weight of linear layers and nothing else, so that it may be stored in the order that suits
    /// their product. A table that is also looked up by rows (a tied head) may not.
    pub fn is_product_weight(&self, id: ParamId) -> bool {
        let multiplies = |op: &Op| matches!(op.kind, OpKind::Linear { weight, .. } if weight == id);
        let mut readers = self.ops.iter().filter(|op| params_of(op).contains(&id)).peekable();
        readers.peek().is_some() && readers.all(multiplies)
    }

    /// The format each value is stored in, by value id.
    pub fn value_formats(&self, roundings: &[Rounding]) -> Vec<Format> {
        let mut formats = vec![Format::Fp32; self.values.len()];
        for (op, rounding) in self.ops.iter().zip(roundings) {
            formats[op.output.0] = rounding.store;
        }
        formats
    }

    fn flops(&self, op: &Op, shape: Shape) -> u64 {
        let output = self.value(op.output).shape.elements(shape) as u64;
        let per_output = match &op.kind {
            OpKind::Linear { weight, .. } => 2 * self.param(*weight).dims[1] as u64,
            OpKind::AttentionScores { heads, .. } => 2 * (self.dimensions.hidden / heads) as u64,
            OpKind::AttentionContext { .. } => 2 * shape.sequence as u64,
            OpKind::Activation(function) => function.flops(),
            _ => flops_per_element(op.class),
        };
        output * per_output
    }

    /// Parameter elements that an op reads in one forward pass.
    fn param_traffic(&self, op: &Op, shape: Shape) -> u64 {
        let params = params_of(op).into_iter();
        match op.kind {
            OpKind::Embedding { .. } => params.map(|id| self.rows_of_tokens(id, shape)).sum(),
            _ => params.map(|id| self.param(id).elements() as u64).sum(),
        }
    }

    /// Elements of a table's rows, one for each token, or all of them where the batch has more tokens.
    fn rows_of_tokens(&self, table: ParamId, shape: Shape) -> u64 {
        let [rows, width] = [0, 1].map(|axis| self.param(table).dims[axis]);
        (rows.min(shape.tokens()) * width) as u64
    }

    /// Selecting one token per sequence reads only that token.
    fn share_divisor(&self, op: &Op, shape: Shape) -> u64 {
        match op.kind {
            OpKind::Select(_) => shape.sequence as u64,
            _ => 1,
        }
    }
}
