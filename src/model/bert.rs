//! BERT: embeddings, post-layer-norm encoder, optional pooler and classifier.
//!
//! Source: Devlin et al., arXiv 1810.04805; op order and tensor names of Hugging Face `modeling_bert.py`.

use super::config::{ModelConfig, TaskHead};
use super::layers::{AttentionTensors, LayerBuilder, LinearSpec, MlpTensors};
use crate::graph::{Graph, LinearRole, Mask, OpKind, OutputKind, Token, ValueId, ValueShape};

/// Builds the graph with the configuration's head.
pub(super) fn graph(config: &ModelConfig) -> Graph {
    let mut builder = LayerBuilder::new(config, false);
    let mut stream = embeddings(&mut builder);
    for index in 0..config.dimensions.layers {
        stream = layer(&mut builder, index, stream);
    }
    match config.head {
        TaskHead::Classifier { labels } => {
            let logits = classifier(&mut builder, stream, labels);
            builder.finish(logits, OutputKind::ClassLogits)
        }
        TaskHead::None | TaskHead::LanguageModel { .. } => builder.finish(stream, OutputKind::Hidden),
    }
}

fn embeddings(builder: &mut LayerBuilder<'_>) -> ValueId {
    let dimensions = builder.config.dimensions;
    let table = |part: &str| format!("embeddings.{part}_embeddings.weight");
    let word = builder.table("embeddings/word", &table("word"), dimensions.vocabulary);
    let position = builder.table("embeddings/position", &table("position"), dimensions.positions);
    let types = builder.config.token_types;
    let token_type = builder.table("embeddings/token_type", &table("token_type"), types);
    let kind = OpKind::Embedding { word, position, token_type: Some(token_type) };
    let shape = ValueShape::Tokens(dimensions.hidden);
    let sum = builder.graph.op("embeddings/sum", kind, &[], shape);
    builder.layer_norm("embeddings/layer_norm", "embeddings.LayerNorm", sum)
}

fn layer(builder: &mut LayerBuilder<'_>, index: usize, stream: ValueId) -> ValueId {
    let name = format!("layer.{index}");
    let tensor = format!("encoder.layer.{index}");
    let packed = ["query", "key", "value"].map(|part| format!("{tensor}.attention.self.{part}"));
    let tensors = AttentionTensors { qkv: &packed, output: &format!("{tensor}.attention.output.dense") };
    let update = builder.attention(index, tensors, Mask::Padding, stream);
    let sum = builder.residual(&format!("{name}/attention/residual"), stream, update);
    let norm = format!("{tensor}.attention.output.LayerNorm");
    let stream = builder.layer_norm(&format!("{name}/attention/layer_norm"), &norm, sum);

    let tensors = MlpTensors { fc1: &format!("{tensor}.intermediate.dense"), fc2: &format!("{tensor}.output.dense") };
    let update = builder.mlp(&name, tensors, stream);
    let sum = builder.residual(&format!("{name}/mlp/residual"), stream, update);
    builder.layer_norm(&format!("{name}/mlp/layer_norm"), &format!("{tensor}.output.LayerNorm"), sum)
}

/// Pooler (first token, linear, tanh) and classifier.
fn classifier(builder: &mut LayerBuilder<'_>, stream: ValueId, labels: usize) -> ValueId {
    let hidden = builder.hidden();
    let shape = ValueShape::Sequences(hidden);
    let first = builder.graph.op("pooler/first", OpKind::Select(Token::First), &[stream], shape);
    let dense = LinearSpec {
        name: "pooler/dense",
        tensors: &["pooler.dense".to_owned()],
        width: hidden,
        inputs: hidden,
        role: LinearRole::Inner,
    };
    let dense = builder.linear(dense, first, ValueShape::Sequences);
    let pooled = builder.graph.op("pooler/tanh", OpKind::Tanh, &[dense], shape);
    let classifier = LinearSpec {
        name: "classifier",
        tensors: &["classifier".to_owned()],
        width: labels,
        inputs: hidden,
        role: LinearRole::Output,
    };
    builder.linear(classifier, pooled, ValueShape::Sequences)
}
