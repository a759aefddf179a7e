//! The parts that both families share: parameters by checkpoint name, linear layers, layer norms, the attention core.

use super::config::ModelConfig;
use crate::graph::{Activation, Gelu, OutputKind};
use crate::graph::{Graph, GraphBuilder, Init, LinearRole, Mask, OpKind, ParamId, TensorPart, ValueId, ValueShape};

/// A graph under construction together with the model's sizes.
pub(super) struct LayerBuilder<'a> {
    pub graph: GraphBuilder,
    pub config: &'a ModelConfig,
    /// Whether linear weights are stored `[in, out]`.
    pub transposed: bool,
}

/// A linear layer: names, width and role.
pub(super) struct LinearSpec<'a> {
    /// Op name.
    pub name: &'a str,
    /// Checkpoint names without `.weight` and `.bias`, concatenated along the output dimension.
    pub tensors: &'a [String],
    /// Output features of all tensors together.
    pub width: usize,
    /// Input features.
    pub inputs: usize,
    /// Where its output goes.
    pub role: LinearRole,
}

/// Checkpoint names of an attention block, without `.weight` and `.bias`.
pub(super) struct AttentionTensors<'a> {
    /// Queries, keys and values: three layers or one packed one.
    pub qkv: &'a [String],
    pub output: &'a str,
}

/// Checkpoint names of a feed-forward block, without `.weight` and `.bias`.
pub(super) struct MlpTensors<'a> {
    pub fc1: &'a str,
    pub fc2: &'a str,
}

impl<'a> LayerBuilder<'a> {
    pub fn new(config: &'a ModelConfig, transposed: bool) -> Self {
        LayerBuilder { graph: GraphBuilder::default(), config, transposed }
    }

    pub fn hidden(&self) -> usize {
        self.config.dimensions.hidden
    }

    /// A table or vector that is stored in the order it is used in.
    pub fn param(&mut self, name: &str, tensor: &str, dims: Vec<usize>, init: Init) -> ParamId {
        let parts = vec![TensorPart { tensor: tensor.to_owned(), transposed: false }];
        self.graph.param(name, dims, parts, init)
    }

    /// An embedding table of `rows` rows.
    pub fn table(&mut self, name: &str, tensor: &str, rows: usize) -> ParamId {
        let init = Init::Normal(self.config.initializer_range);
        let dims = vec![rows, self.hidden()];
        self.param(name, tensor, dims, init)
    }

    pub fn layer_norm(&mut self, name: &str, tensor: &str, input: ValueId) -> ValueId {
        let width = self.hidden();
        let gamma = self.param(&format!("{name}/gamma"), &format!("{tensor}.weight"), vec![width], Init::Ones);
        let beta = self.param(&format!("{name}/beta"), &format!("{tensor}.bias"), vec![width], Init::Zeros);
        let kind = OpKind::LayerNorm { gamma, beta, epsilon: self.config.epsilon };
        self.graph.op(name, kind, &[input], ValueShape::Tokens(width))
    }

    /// A linear layer over tokens, or over sequences when `shape` says so.
    pub fn linear(&mut self, spec: LinearSpec<'_>, input: ValueId, shape: fn(usize) -> ValueShape) -> ValueId {
        let parts = |suffix: &str, transposed: bool| {
            spec.tensors.iter().map(|t| TensorPart { tensor: format!("{t}.{suffix}"), transposed }).collect::<Vec<_>>()
        };
        let init = Init::Normal(self.config.initializer_range);
        let weight_dims = vec![spec.width, spec.inputs];
        let weight_parts = parts("weight", self.transposed);
        let weight = self.graph.param(&format!("{}/weight", spec.name), weight_dims, weight_parts, init);
        let bias_parts = parts("bias", false);
        let bias = self.graph.param(&format!("{}/bias", spec.name), vec![spec.width], bias_parts, Init::Zeros);
        let kind = OpKind::Linear { role: spec.role, weight, bias: Some(bias) };
        self.graph.op(spec.name, kind, &[input], shape(spec.width))
    }

    /// Packed projection, scores, softmax, context and output projection of layer `index`.
    pub fn attention(&mut self, index: usize, tensors: AttentionTensors<'_>, mask: Mask, input: ValueId) -> ValueId {
        let (hidden, layer) = (self.hidden(), format!("layer.{index}"));
        let qkv = LinearSpec {
            name: &format!("{layer}/attention/qkv"),
            tensors: tensors.qkv,
            width: 3 * hidden,
            inputs: hidden,
            role: LinearRole::Inner,
        };
        let qkv = self.linear(qkv, input, ValueShape::Tokens);
        let context = self.attention_core(index, qkv, mask);
        let output = LinearSpec {
            name: &format!("{layer}/attention/output"),
            tensors: &[tensors.output.to_owned()],
            width: hidden,
            inputs: hidden,
            role: LinearRole::Residual,
        };
        self.linear(output, context, ValueShape::Tokens)
    }

    /// FC1, GELU and FC2 of one layer.
    pub fn mlp(&mut self, layer: &str, tensors: MlpTensors<'_>, input: ValueId) -> ValueId {
        let (hidden, inner) = (self.hidden(), self.config.dimensions.inner);
        let fc1 = LinearSpec {
            name: &format!("{layer}/mlp/fc1"),
            tensors: &[tensors.fc1.to_owned()],
            width: inner,
            inputs: hidden,
            role: LinearRole::Inner,
        };
        let fc1 = self.linear(fc1, input, ValueShape::Tokens);
        let activated = self.gelu(&format!("{layer}/mlp/gelu"), self.config.gelu, fc1);
        let fc2 = LinearSpec {
            name: &format!("{layer}/mlp/fc2"),
            tensors: &[tensors.fc2.to_owned()],
            width: hidden,
            inputs: inner,
            role: LinearRole::Residual,
        };
        self.linear(fc2, activated, ValueShape::Tokens)
    }

    /// Scores, softmax and context of layer `index` from its packed projection.
    fn attention_core(&mut self, index: usize, qkv: ValueId, mask: Mask) -> ValueId {
        let (hidden, heads, layer) = (self.hidden(), self.config.dimensions.heads, format!("layer.{index}"));
        let scale = self.config.score_factor(index);
        let scores = self.graph.op(
            &format!("{layer}/attention/scores"),
            OpKind::AttentionScores { heads, scale },
            &[qkv],
            ValueShape::Scores(heads),
        );
        let probabilities = self.graph.op(
            &format!("{layer}/attention/softmax"),
            OpKind::Softmax(mask),
            &[scores],
            ValueShape::Scores(heads),
        );
        self.graph.op(
            &format!("{layer}/attention/context"),
            OpKind::AttentionContext { heads },
            &[probabilities, qkv],
            ValueShape::Tokens(hidden),
        )
    }

    fn gelu(&mut self, name: &str, form: Gelu, input: ValueId) -> ValueId {
        let width = self.config.dimensions.inner;
        self.graph.op(name, OpKind::Activation(Activation::Gelu(form)), &[input], ValueShape::Tokens(width))
    }

    pub fn residual(&mut self, name: &str, stream: ValueId, update: ValueId) -> ValueId {
        let width = self.hidden();
        self.graph.op(name, OpKind::Residual, &[stream, update], ValueShape::Tokens(width))
    }

    pub fn finish(self, output: ValueId, kind: OutputKind) -> Graph {
        self.graph.finish(self.config.dimensions, output, kind)
    }
}
