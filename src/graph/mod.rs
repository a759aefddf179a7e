//! A model as a list of typed operations, built once per checkpoint and read by every backend.
//!
//! Values are symbolic in batch and sequence; parameters name the checkpoint tensors they are made of.

pub mod activation;
pub mod cost;
mod output;
pub mod policy;
mod sizes;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::sha256;
pub use activation::{Activation, Gelu};
pub use cost::CostSummary;
pub use output::OutputKind;
pub use policy::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding};

/// Batch size and padded sequence length of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Sequences per forward pass.
    pub batch: usize,
    /// Tokens per sequence, padding included.
    pub sequence: usize,
}

impl Shape {
    /// Tokens per forward pass.
    pub fn tokens(self) -> usize {
        self.batch * self.sequence
    }
}

/// Index into [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueId(pub usize);

/// Index into [`Graph::params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParamId(pub usize);

/// The symbolic shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueShape {
    /// `[batch, sequence, width]`
    Tokens(usize),
    /// `[batch, width]`
    Sequences(usize),
    /// `[batch, heads, sequence, sequence]`
    Scores(usize),
}

impl ValueShape {
    /// Concrete dimensions.
    pub fn dims(self, shape: Shape) -> Vec<usize> {
        match self {
            ValueShape::Tokens(width) => vec![shape.batch, shape.sequence, width],
            ValueShape::Sequences(width) => vec![shape.batch, width],
            ValueShape::Scores(heads) => vec![shape.batch, heads, shape.sequence, shape.sequence],
        }
    }

    /// Elements of a row of tokens or sequences; heads of scores, whose rows are as long as a sequence.
    pub fn width(self) -> usize {
        match self {
            ValueShape::Tokens(width) | ValueShape::Sequences(width) | ValueShape::Scores(width) => width,
        }
    }

    /// The same shape with rows of another width.
    pub fn with_width(self, width: usize) -> Self {
        match self {
            ValueShape::Tokens(_) => ValueShape::Tokens(width),
            ValueShape::Sequences(_) => ValueShape::Sequences(width),
            ValueShape::Scores(_) => ValueShape::Scores(width),
        }
    }

    /// Number of elements.
    pub fn elements(self, shape: Shape) -> usize {
        self.dims(shape).iter().product()
    }
}

/// An intermediate tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Name of the op that produces it.
    pub name: String,
    /// Symbolic shape.
    pub shape: ValueShape,
}

/// One checkpoint tensor that makes up (part of) a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorPart {
    /// Tensor name in the checkpoint, without the family's optional prefix.
    pub tensor: String,
    /// Stored `[in, out]` (GPT-2's Conv1D) and transposed when loaded.
    pub transposed: bool,
    /// The first of its rows that belongs to the parameter; those before it are left out. 0 of a transposed tensor.
    pub first_row: usize,
}

impl TensorPart {
    /// A tensor as it is stored.
    pub fn whole(tensor: &str) -> Self {
        TensorPart { tensor: tensor.to_owned(), transposed: false, first_row: 0 }
    }
}

/// A parameter: one or more checkpoint tensors concatenated along the first dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// `layer.3/attention/qkv/weight`
    pub name: String,
    /// `[out, in]` for weights, `[rows, width]` for tables, `[width]` for vectors.
    pub dims: Vec<usize>,
    /// Where it comes from, in order.
    pub parts: Vec<TensorPart>,
    /// How random checkpoints fill it.
    pub init: Init,
}

impl Param {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Initialisation of a parameter in a random checkpoint (Hugging Face defaults).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation.
    Normal(f64),
    /// All zeros (biases, layer-norm beta).
    Zeros,
    /// All ones (layer-norm gamma).
    Ones,
}

/// Which keys a query may attend to. Masked keys get probability 0 by selection, never by adding a large constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// Keys inside the row's length.
    Padding,
    /// Keys inside the row's length and not after the query.
    Causal,
}

/// Where the output of a linear layer goes. Policies distinguish the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearRole {
    /// Into an attention product or an activation.
    Inner,
    /// Into the residual stream.
    Residual,
    /// Out of the model, as logits.
    Output,
}

/// Which token of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    /// The first one (BERT's pooler).
    First,
    /// The last one that is no padding, from which the next token is predicted.
    Last,
    /// The last one that is no padding and has another id; the first where there is none.
    LastBut(u32),
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
pub enum OpKind {
    /// `(word[id] + token_type[type]) + position[index]`, summed in this order (Hugging Face's).
    Embedding {
        /// `[vocabulary, hidden]`
        word: ParamId,
        /// `[positions, hidden]`
        position: ParamId,
        /// `[types, hidden]`; `None` of a model without token types.
        token_type: Option<ParamId>,
    },
    /// `(x - mean) / sqrt(var + epsilon) * gamma + beta` over the last dimension.
    LayerNorm {
        /// Scale.
        gamma: ParamId,
        /// Shift.
        beta: ParamId,
        /// Added to the variance.
        epsilon: f64,
    },
    /// `x Wᵀ + b` with W `[out, in]`; the bias is added in the accumulator's format.
    Linear {
        /// Where the output goes.
        role: LinearRole,
        /// `[out, in]`
        weight: ParamId,
        /// `[out]`
        bias: Option<ParamId>,
    },
    /// Scaled `Q Kᵀ` per head from the packed `[.., 3 hidden]` projection (queries, keys, values).
    AttentionScores {
        /// Number of heads; the head size is hidden / heads.
        heads: usize,
        /// `1 / sqrt(head size)` in most models, applied to the stored product.
        scale: f64,
    },
    /// Softmax over permitted keys.
    Softmax(Mask),
    /// `P V` per head, heads concatenated. Inputs: probabilities, packed projection.
    AttentionContext {
        /// Number of heads.
        heads: usize,
    },
    /// Element-wise function between linear layers.
    Activation(Activation),
    /// Element-wise tanh of a pooler or a head.
    Tanh,
    /// Element-wise sum of two inputs.
    Residual,
    /// One token of every sequence: `[B, S, W]` to `[B, W]`.
    Select(Token),
}

impl OpKind {
    /// Its class in a precision policy.
    pub fn class(&self) -> OpClass {
        match self {
            OpKind::Embedding { .. } => OpClass::Embedding,
            OpKind::LayerNorm { .. } => OpClass::LayerNorm,
            OpKind::Linear { role: LinearRole::Inner, .. } => OpClass::Linear,
            OpKind::Linear { role: LinearRole::Residual, .. } => OpClass::ResidualLinear,
            OpKind::Linear { role: LinearRole::Output, .. } => OpClass::OutputLinear,
            OpKind::AttentionScores { .. } => OpClass::AttentionScores,
            OpKind::Softmax(_) => OpClass::Softmax,
            OpKind::AttentionContext { .. } => OpClass::AttentionContext,
            OpKind::Activation(_) => OpClass::Gelu,
            OpKind::Tanh => OpClass::Tanh,
            OpKind::Residual => OpClass::Residual,
            OpKind::Select(_) => OpClass::Select,
        }
    }
}

/// One operation of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// `layer.3/attention/softmax`; unique.
    pub name: String,
    /// Its class in a precision policy.
    pub class: OpClass,
    /// What it does.
    pub kind: OpKind,
    /// Inputs in the order [`OpKind`] gives.
    pub inputs: Vec<ValueId>,
    /// The one output.
    pub output: ValueId,
}

impl Op {
    /// The transformer layer it belongs to, from 0; `None` before the first and after the last.
    pub fn layer(&self) -> Option<u64> {
        self.name.strip_prefix("layer.")?.split('/').next()?.parse().ok()
    }
}

/// Sizes every backend needs without walking the ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimensions {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub inner: usize,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Longest sequence, and rows of the position table from the first token's on.
    pub positions: usize,
}

/// A model as typed operations in execution order.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Sizes.
    pub dimensions: Dimensions,
    /// Parameters.
    pub params: Vec<Param>,
    /// Intermediate tensors.
    pub values: Vec<Value>,
    /// Operations, each after its inputs.
    pub ops: Vec<Op>,
    /// The result.
    pub output: ValueId,
    /// What the result is.
    pub output_kind: OutputKind,
}

/// A policy does not fit the graph.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum PolicyError {
    /// An override names no op of this graph.
    #[error(
        "precision policy `{policy}` overrides op `{op}`, which this model does not have; its ops are named like `{example}`"
    )]
    UnknownOp { policy: String, op: String, example: String },
}

impl Graph {
    /// The formats of every op under `policy`, in op order.
    ///
    /// # Errors
    /// [`PolicyError::UnknownOp`] when an override names no op of this graph.
    pub fn roundings(&self, policy: &PrecisionPolicy) -> Result<Vec<Rounding>, PolicyError> {
        if let Some(op) = policy.overrides.keys().find(|name| !self.ops.iter().any(|op| op.name == **name)) {
            return Err(PolicyError::UnknownOp {
                policy: policy.name.clone(),
                op: op.clone(),
                example: self.ops.last().map(|op| op.name.clone()).unwrap_or_default(),
            });
        }
        Ok(self.ops.iter().map(|op| policy.rounding(&op.name, op.class)).collect())
    }

    /// SHA-256 over everything that the graph says: operations, constants, parameters, sizes and output. Two models with one
    /// digest compute the same function of their weights and ids.
    pub fn sha256(&self) -> String {
        sha256(format!("{self:?}").as_bytes())
    }

    /// Name and symbolic shape of a value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// A parameter.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }
}

/// Builds a graph op by op; models use it so that names, ids and shapes stay consistent.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    params: Vec<Param>,
    by_parts: HashMap<Vec<TensorPart>, ParamId>,
    values: Vec<Value>,
    ops: Vec<Op>,
}

impl GraphBuilder {
    /// Adds a parameter made of `parts`, or returns the one that has the same parts (tied embeddings are stored once).
    pub fn param(&mut self, name: &str, dims: Vec<usize>, parts: Vec<TensorPart>, init: Init) -> ParamId {
        let next = ParamId(self.params.len());
        let id = *self.by_parts.entry(parts.clone()).or_insert(next);
        if id == next {
            self.params.push(Param { name: name.to_owned(), dims, parts, init });
        }
        id
    }

    /// The shape of a value.
    pub fn shape(&self, id: ValueId) -> ValueShape {
        self.values[id.0].shape
    }

    /// The dimensions of a parameter.
    pub fn param_dims(&self, id: ParamId) -> &[usize] {
        &self.params[id.0].dims
    }

    /// Adds an op and returns its output value.
    pub fn op(&mut self, name: &str, kind: OpKind, inputs: &[ValueId], shape: ValueShape) -> ValueId {
        let output = ValueId(self.values.len());
        self.values.push(Value { name: name.to_owned(), shape });
        self.ops.push(Op { name: name.to_owned(), class: kind.class(), kind, inputs: inputs.to_vec(), output });
        output
    }

    /// Ends the graph at `output`.
    pub fn finish(self, dimensions: Dimensions, output: ValueId, output_kind: OutputKind) -> Graph {
        Graph { dimensions, params: self.params, values: self.values, ops: self.ops, output, output_kind }
    }
}
