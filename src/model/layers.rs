//! The parts that all families share: parameters by checkpoint name, linear layers, layer norms, the attention core.

use super::config::ModelConfig;
use super::heads;
use crate::graph::{
    Activation, Graph, GraphBuilder, Init, LinearRole, Mask, OpKind, OutputKind, ParamId, TensorPart, Token, ValueId,
    ValueShape,
};

/// A graph under construction together with the model's configuration.
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
    /// Where its output goes.
    pub role: LinearRole,
}

impl<'a> LinearSpec<'a> {
    pub fn inner(name: &'a str, tensors: &'a [String], width: usize) -> Self {
        LinearSpec { name, tensors, width, role: LinearRole::Inner }
    }

    pub fn output(name: &'a str, tensors: &'a [String], width: usize) -> Self {
        LinearSpec { name, tensors, width, role: LinearRole::Output }
    }

    pub fn residual(name: &'a str, tensors: &'a [String], width: usize) -> Self {
        LinearSpec { name, tensors, width, role: LinearRole::Residual }
    }
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
    pub fn new(config: &'a ModelConfig) -> Self {
        LayerBuilder { graph: GraphBuilder::default(), config, transposed: false }
    }

    fn hidden(&self) -> usize {
        self.config.dimensions.hidden
    }

    /// A table or vector that is stored in the order it is used in.
    pub fn param(&mut self, name: &str, tensor: &str, dims: Vec<usize>, init: Init) -> ParamId {
        self.graph.param(name, dims, vec![TensorPart::whole(tensor)], init)
    }

    /// An embedding table of `rows` rows.
    pub fn table(&mut self, name: &str, tensor: &str, rows: usize) -> ParamId {
        let init = Init::Normal(self.config.initializer_range);
        self.param(name, tensor, vec![rows, self.config.embedding_width()], init)
    }

    /// The table of positions, from the row of the first token on.
    pub fn positions(&mut self, name: &str, tensor: &str) -> ParamId {
        let init = Init::Normal(self.config.initializer_range);
        let dims = vec![self.config.dimensions.positions, self.config.embedding_width()];
        let part = TensorPart { first_row: self.config.first_position, ..TensorPart::whole(tensor) };
        self.graph.param(name, dims, vec![part], init)
    }

    /// The weight of the projection on the vocabulary, whose name is `tensor` where it is not the word table.
    pub fn vocabulary_weight(&mut self, tensor: &str) -> ParamId {
        let rows = self.config.dimensions.vocabulary;
        match self.config.tied_head {
            true => self.table(heads::WORD_TABLE, self.config.family.tied()[0][0], rows),
            false => self.table("lm_head/weight", &format!("{tensor}.weight"), rows),
        }
    }

    pub fn layer_norm(&mut self, name: &str, tensor: &str, input: ValueId) -> ValueId {
        let shape = self.graph.shape(input);
        let dims = vec![shape.width()];
        let gamma = self.param(&format!("{name}/gamma"), &format!("{tensor}.weight"), dims.clone(), Init::Ones);
        let beta = self.param(&format!("{name}/beta"), &format!("{tensor}.bias"), dims, Init::Zeros);
        let kind = OpKind::LayerNorm { gamma, beta, epsilon: self.config.epsilon };
        self.graph.op(name, kind, &[input], shape)
    }

    /// A linear layer over the rows of its input.
    pub fn linear(&mut self, spec: LinearSpec<'_>, input: ValueId) -> ValueId {
        let parts = |suffix: &str, transposed: bool| {
            let part = |name: &String| TensorPart { transposed, ..TensorPart::whole(&format!("{name}.{suffix}")) };
            spec.tensors.iter().map(part).collect::<Vec<_>>()
        };
        let init = Init::Normal(self.config.initializer_range);
        let shape = self.graph.shape(input);
        let dims = vec![spec.width, shape.width()];
        let weight = self.graph.param(&format!("{}/weight", spec.name), dims, parts("weight", self.transposed), init);
        let bias =
            self.graph.param(&format!("{}/bias", spec.name), vec![spec.width], parts("bias", false), Init::Zeros);
        let kind = OpKind::Linear { role: spec.role, weight, bias: Some(bias) };
        self.graph.op(spec.name, kind, &[input], shape.with_width(spec.width))
    }

    /// A product with `weight` that yields logits.
    pub fn project(&mut self, name: &str, weight: ParamId, bias: Option<ParamId>, input: ValueId) -> ValueId {
        let kind = OpKind::Linear { role: LinearRole::Output, weight, bias };
        let shape = self.graph.shape(input).with_width(self.graph.param_dims(weight)[0]);
        self.graph.op(name, kind, &[input], shape)
    }

    /// Packed projection, scores, softmax, context and output projection of layer `index`.
    pub fn attention(&mut self, index: usize, tensors: AttentionTensors<'_>, mask: Mask, input: ValueId) -> ValueId {
        let (hidden, layer) = (self.hidden(), format!("layer.{index}"));
        let qkv = self.linear(LinearSpec::inner(&format!("{layer}/attention/qkv"), tensors.qkv, 3 * hidden), input);
        let context = self.attention_core(index, qkv, mask);
        let output = &[tensors.output.to_owned()];
        self.linear(LinearSpec::residual(&format!("{layer}/attention/output"), output, hidden), context)
    }

    /// FC1, activation and FC2 of one layer.
    pub fn mlp(&mut self, layer: &str, tensors: MlpTensors<'_>, input: ValueId) -> ValueId {
        let (hidden, inner) = (self.hidden(), self.config.dimensions.inner);
        let fc1 = &[tensors.fc1.to_owned()];
        let fc1 = self.linear(LinearSpec::inner(&format!("{layer}/mlp/fc1"), fc1, inner), input);
        let activated = self.activation(&format!("{layer}/mlp"), self.config.activation, fc1);
        let fc2 = &[tensors.fc2.to_owned()];
        self.linear(LinearSpec::residual(&format!("{layer}/mlp/fc2"), fc2, hidden), activated)
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

    /// An element-wise function, named after itself below `parent`. A tanh outside of the layers is of a class of its own.
    pub fn activation(&mut self, parent: &str, function: Activation, input: ValueId) -> ValueId {
        let kind = match function {
            Activation::Tanh if !parent.starts_with("layer.") => OpKind::Tanh,
            function => OpKind::Activation(function),
        };
        self.graph.op(&format!("{parent}/{}", function.name()), kind, &[input], self.graph.shape(input))
    }

    /// One token of every sequence.
    pub fn select(&mut self, name: &str, token: Token, input: ValueId) -> ValueId {
        let shape = ValueShape::Sequences(self.graph.shape(input).width());
        self.graph.op(name, OpKind::Select(token), &[input], shape)
    }

    pub fn residual(&mut self, name: &str, stream: ValueId, update: ValueId) -> ValueId {
        self.graph.op(name, OpKind::Residual, &[stream, update], self.graph.shape(stream))
    }

    pub fn finish(self, output: ValueId, kind: OutputKind) -> Graph {
        self.graph.finish(self.config.dimensions, output, kind)
    }
}
