//! Decoders whose layer norms precede attention and feed-forward: what GPT-2 and OPT share. A family's file has the names.

use super::config::ModelConfig;
use super::heads::{self, DecoderHeads};
use super::layers::{AttentionTensors, LayerBuilder, MlpTensors};
use crate::graph::{Graph, Mask, OpKind, ValueId, ValueShape};

/// Checkpoint names of one layer, without `.weight` and `.bias`.
pub(super) struct DecoderLayer {
    pub attention_norm: String,
    /// Queries, keys and values: three layers or one packed one.
    pub qkv: Vec<String>,
    pub attention_output: String,
    pub mlp_norm: String,
    pub fc1: String,
    pub fc2: String,
}

/// Checkpoint names of a decoder.
pub(super) struct DecoderNames {
    /// Word table.
    pub word: &'static str,
    /// Position table.
    pub position: &'static str,
    /// The names of a layer, from 0.
    pub layer: fn(usize) -> DecoderLayer,
    /// The norm after the last layer, without `.weight` and `.bias`.
    pub final_norm: &'static str,
    /// Whether the weights of its layers are stored `[in, out]`.
    pub transposed: bool,
    pub heads: DecoderHeads,
}

/// Builds the graph with the configuration's head.
pub(super) fn graph(config: &ModelConfig, names: &DecoderNames) -> Graph {
    let mut builder = LayerBuilder { transposed: names.transposed, ..LayerBuilder::new(config) };
    let word = builder.table(heads::WORD_TABLE, names.word, config.dimensions.vocabulary);
    let position = builder.positions("embeddings/position", names.position);
    let kind = OpKind::Embedding { word, position, token_type: None };
    let shape = ValueShape::Tokens(config.embedding_width());
    let mut stream = builder.graph.op("embeddings/sum", kind, &[], shape);
    for index in 0..config.dimensions.layers {
        stream = layer(&mut builder, index, &(names.layer)(index), stream);
    }
    let hidden = builder.layer_norm("final/layer_norm", names.final_norm, stream);
    names.heads.finish(LayerBuilder { transposed: false, ..builder }, hidden)
}

fn layer(builder: &mut LayerBuilder<'_>, index: usize, tensors: &DecoderLayer, stream: ValueId) -> ValueId {
    let name = format!("layer.{index}");
    let normed = builder.layer_norm(&format!("{name}/attention/layer_norm"), &tensors.attention_norm, stream);
    let attention = AttentionTensors { qkv: &tensors.qkv, output: &tensors.attention_output };
    let update = builder.attention(index, attention, Mask::Causal, normed);
    let stream = builder.residual(&format!("{name}/attention/residual"), stream, update);

    let normed = builder.layer_norm(&format!("{name}/mlp/layer_norm"), &tensors.mlp_norm, stream);
    let update = builder.mlp(&name, MlpTensors { fc1: &tensors.fc1, fc2: &tensors.fc2 }, normed);
    builder.residual(&format!("{name}/mlp/residual"), stream, update)
}
