//! BERT: embeddings, post-layer-norm encoder, optional pooler and classifier.
//!
//! Source: Devlin et al., arXiv 1810.04805; op order and tensor names of Hugging Face `modeling_bert.py`.

use super::config::{ModelConfig, TaskHead};
use super::layers::{LayerBuilder, LinearSpec};
use crate::graph::{Graph, LinearRole, Mask, OpKind, OutputKind, ValueId, ValueShape};

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
        TaskHead::None | TaskHead::LanguageModel => builder.finish(stream, OutputKind::Hidden),
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
    let (hidden, inner) = (builder.hidden(), builder.config.dimensions.inner);
    let name = format!("layer.{index}");
    let tensor = format!("encoder.layer.{index}");
    let packed = ["query", "key", "value"].map(|part| format!("{tensor}.attention.self.{part}"));
    let qkv = LinearSpec {
        name: &format!("{name}/attention/qkv"),
        tensors: &packed,
        width: 3 * hidden,
        inputs: hidden,
        role: LinearRole::Inner,
    };
    let qkv = builder.linear(qkv, stream, ValueShape::Tokens);
    let context = builder.attention(&name, qkv, Mask::Padding);
    let output = LinearSpec {
        name: &format!("{name}/attention/output"),
        tensors: &[format!("{tensor}.attention.output.dense")],
        width: hidden,
        inputs: hidden,
        role: LinearRole::Residual,
    };
    let output = builder.linear(output, context, ValueShape::Tokens);
    let sum = builder.residual(&format!("{name}/attention/residual"), stream, output);
    let norm = format!("{tensor}.attention.output.LayerNorm");
    let stream = builder.layer_norm(&format!("{name}/attention/layer_norm"), &norm, sum);

    let fc1 = LinearSpec {
        name: &format!("{name}/mlp/fc1"),
        tensors: &[format!("{tensor}.intermediate.dense")],
        width: inner,
        inputs: hidden,
        role: LinearRole::Inner,
    };
    let fc1 = builder.linear(fc1, stream, ValueShape::Tokens);
    let activated = builder.gelu(&format!("{name}/mlp/gelu"), builder.config.gelu, fc1);
    let fc2 = LinearSpec {
        name: &format!("{name}/mlp/fc2"),
        tensors: &[format!("{tensor}.output.dense")],
        width: hidden,
        inputs: inner,
        role: LinearRole::Residual,
    };
    let fc2 = builder.linear(fc2, activated, ValueShape::Tokens);
    let sum = builder.residual(&format!("{name}/mlp/residual"), stream, fc2);
    builder.layer_norm(&format!("{name}/mlp/layer_norm"), &format!("{tensor}.output.LayerNorm"), sum)
}

/// Pooler (first token, linear, tanh) and classifier.
fn classifier(builder: &mut LayerBuilder<'_>, stream: ValueId, labels: usize) -> ValueId {
    let hidden = builder.hidden();
    let shape = ValueShape::Sequences(hidden);
    let first = builder.graph.op("pooler/first", OpKind::SelectFirst, &[stream], shape);
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
