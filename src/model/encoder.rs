//! Encoders whose layer norms follow the residual sums: what BERT and its relatives share. A family's file has the names.
//!
//! Source: Devlin et al., arXiv 1810.04805; op order of Hugging Face `modeling_bert.py`.

use super::activation::activation;
use super::config::{MAX_LAYERS, MAX_SIZE, ModelConfig, check_heads, padding_row};
use super::family::Family;
use super::heads::{self, EncoderHeads};
use super::keys::{ConfigKeys, quoted};
use super::layers::{AttentionTensors, LayerBuilder, LinearSpec, MlpTensors};
use crate::graph::{Dimensions, Graph, Mask, OpKind, ValueId, ValueShape};

/// Checkpoint names of one layer, without `.weight` and `.bias`.
pub(super) struct EncoderLayer {
    /// Queries, keys and values.
    pub qkv: [String; 3],
    pub attention_output: String,
    pub attention_norm: String,
    pub fc1: String,
    pub fc2: String,
    pub output_norm: String,
}

/// Checkpoint names of an encoder.
pub(super) struct EncoderNames {
    /// The linear layer between embeddings and first layer, for a model that has one.
    pub projection: fn(&ModelConfig) -> Option<&'static str>,
    /// The names of a layer, from 0.
    pub layer: fn(&ModelConfig, usize) -> EncoderLayer,
    pub heads: EncoderHeads,
}

/// Defaults of the keys that `BertConfig` and its relatives have in common.
pub(super) struct EncoderDefaults {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub inner: usize,
    pub vocabulary: usize,
    pub activation: &'static str,
    pub padding: i64,
}

impl EncoderDefaults {
    /// Those of `BertConfig`.
    pub const BERT: EncoderDefaults = EncoderDefaults {
        layers: 12,
        hidden: 768,
        heads: 12,
        inner: 3072,
        vocabulary: 30522,
        activation: "gelu",
        padding: 0,
    };

    /// Reads the keys; `is_decoder` makes the attention causal.
    pub fn read(&self, keys: &ConfigKeys, family: Family) -> Result<ModelConfig, String> {
        let kind = keys.get("position_embedding_type");
        if let Some(kind) = kind.filter(|kind| kind.as_str() != Some("absolute")) {
            return Err(format!("position_embedding_type {} is not supported, only `absolute`", quoted(kind)));
        }
        let dimensions = Dimensions {
            layers: keys.size(&["num_hidden_layers"], self.layers, MAX_LAYERS)?,
            hidden: keys.size(&["hidden_size"], self.hidden, MAX_SIZE)?,
            heads: keys.size(&["num_attention_heads"], self.heads, MAX_SIZE)?,
            inner: keys.size(&["intermediate_size"], self.inner, MAX_SIZE)?,
            vocabulary: keys.size(&["vocab_size"], self.vocabulary, MAX_SIZE)?,
            positions: keys.size(&["max_position_embeddings"], 512, MAX_SIZE)?,
        };
        check_heads(dimensions, ["hidden_size", "num_attention_heads"])?;
        Ok(ModelConfig {
            token_types: keys.size(&["type_vocab_size"], 2, MAX_SIZE)?,
            activation: activation(keys, "hidden_act", self.activation)?,
            epsilon: keys.not_negative("layer_norm_eps", 1e-12)?,
            is_causal: keys.flag("is_decoder", false)?,
            pad_id: padding_row(keys, self.padding, dimensions.vocabulary)?,
            ..ModelConfig::base(family, dimensions)
        })
    }
}

/// Builds the graph with the configuration's head.
pub(super) fn graph(config: &ModelConfig, names: &EncoderNames) -> Graph {
    let mut builder = LayerBuilder::new(config);
    let mut stream = embeddings(&mut builder, names);
    for index in 0..config.dimensions.layers {
        stream = layer(&mut builder, index, &(names.layer)(config, index), stream);
    }
    names.heads.finish(builder, stream)
}

fn embeddings(builder: &mut LayerBuilder<'_>, names: &EncoderNames) -> ValueId {
    let config = builder.config;
    let table = |part: &str| format!("embeddings.{part}_embeddings.weight");
    let word = builder.table(heads::WORD_TABLE, &table("word"), config.dimensions.vocabulary);
    let position = builder.positions("embeddings/position", &table("position"));
    let types = (config.token_types > 0)
        .then(|| builder.table("embeddings/token_type", &table("token_type"), config.token_types));
    let kind = OpKind::Embedding { word, position, token_type: types };
    let sum = builder.graph.op("embeddings/sum", kind, &[], ValueShape::Tokens(config.embedding_width()));
    let normed = builder.layer_norm("embeddings/layer_norm", "embeddings.LayerNorm", sum);
    match (names.projection)(config) {
        None => normed,
        Some(tensor) => {
            let tensors = &[tensor.to_owned()];
            let spec = LinearSpec::residual("embeddings/projection", tensors, config.dimensions.hidden);
            builder.linear(spec, normed)
        }
    }
}

fn layer(builder: &mut LayerBuilder<'_>, index: usize, tensors: &EncoderLayer, stream: ValueId) -> ValueId {
    let name = format!("layer.{index}");
    let mask = if builder.config.is_causal { Mask::Causal } else { Mask::Padding };
    let attention = AttentionTensors { qkv: &tensors.qkv, output: &tensors.attention_output };
    let update = builder.attention(index, attention, mask, stream);
    let sum = builder.residual(&format!("{name}/attention/residual"), stream, update);
    let stream = builder.layer_norm(&format!("{name}/attention/layer_norm"), &tensors.attention_norm, sum);

    let update = builder.mlp(&name, MlpTensors { fc1: &tensors.fc1, fc2: &tensors.fc2 }, stream);
    let sum = builder.residual(&format!("{name}/mlp/residual"), stream, update);
    builder.layer_norm(&format!("{name}/mlp/layer_norm"), &tensors.output_norm, sum)
}
