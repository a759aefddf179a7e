//! GPT-2: embeddings, pre-layer-norm decoder, final layer norm, language-model head, most often tied to the word table.
//!
//! Source: Radford et al. 2019; op order and tensor names of Hugging Face `modeling_gpt2.py`, whose linear weights
//! (Conv1D) are stored `[in, out]`.

use super::config::{ModelConfig, TaskHead};
use super::layers::{AttentionTensors, LayerBuilder, MlpTensors};
use crate::graph::{Graph, LinearRole, Mask, OpKind, OutputKind, Token, ValueId, ValueShape};

/// Builds the graph with the configuration's head.
pub(super) fn graph(config: &ModelConfig) -> Graph {
    let dimensions = config.dimensions;
    let mut builder = LayerBuilder::new(config, true);
    let word = builder.table("embeddings/word", "wte.weight", dimensions.vocabulary);
    let position = builder.table("embeddings/position", "wpe.weight", dimensions.positions);
    let kind = OpKind::Embedding { word, position, token_type: None };
    let shape = ValueShape::Tokens(dimensions.hidden);
    let mut stream = builder.graph.op("embeddings/sum", kind, &[], shape);
    for index in 0..dimensions.layers {
        stream = layer(&mut builder, index, stream);
    }
    let hidden = builder.layer_norm("final/layer_norm", "ln_f", stream);
    match config.head {
        TaskHead::LanguageModel { last_token } => {
            let [_, head] = config.family.tied_names();
            let own = !config.tied_head;
            let weight = if own { builder.table("lm_head/weight", head, dimensions.vocabulary) } else { word };
            let kind = OpKind::Linear { role: LinearRole::Output, weight, bias: None };
            let width = dimensions.vocabulary;
            if last_token {
                let select = OpKind::Select(Token::Last);
                let last =
                    builder.graph.op("final/last_token", select, &[hidden], ValueShape::Sequences(dimensions.hidden));
                let logits = builder.graph.op("lm_head", kind, &[last], ValueShape::Sequences(width));
                return builder.finish(logits, OutputKind::LastTokenLogits);
            }
            let logits = builder.graph.op("lm_head", kind, &[hidden], ValueShape::Tokens(width));
            builder.finish(logits, OutputKind::TokenLogits)
        }
        TaskHead::None | TaskHead::Classifier { .. } => builder.finish(hidden, OutputKind::Hidden),
    }
}

fn layer(builder: &mut LayerBuilder<'_>, index: usize, stream: ValueId) -> ValueId {
    let name = format!("layer.{index}");
    let tensor = format!("h.{index}");
    let normed = builder.layer_norm(&format!("{name}/attention/layer_norm"), &format!("{tensor}.ln_1"), stream);
    let packed = [format!("{tensor}.attn.c_attn")];
    let tensors = AttentionTensors { qkv: &packed, output: &format!("{tensor}.attn.c_proj") };
    let update = builder.attention(index, tensors, Mask::Causal, normed);
    let stream = builder.residual(&format!("{name}/attention/residual"), stream, update);

    let normed = builder.layer_norm(&format!("{name}/mlp/layer_norm"), &format!("{tensor}.ln_2"), stream);
    let tensors = MlpTensors { fc1: &format!("{tensor}.mlp.c_fc"), fc2: &format!("{tensor}.mlp.c_proj") };
    let update = builder.mlp(&name, tensors, normed);
    builder.residual(&format!("{name}/mlp/residual"), stream, update)
}
