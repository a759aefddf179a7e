//! GPT-2: Radford et al. 2019; tensor names of Hugging Face `modeling_gpt2.py`, whose linear weights (Conv1D) are stored
//! `[in, out]`.

use super::activation::activation;
use super::config::{MAX_LAYERS, MAX_SIZE, ModelConfig, ScoreScale, check_heads};
use super::decoder::{self, DecoderLayer, DecoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::DecoderHeads;
use super::keys::ConfigKeys;
use crate::graph::Dimensions;

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["gpt2"],
    classes: &["GPT2"],
    prefix: "transformer.",
    tied: &[["wte.weight", "lm_head.weight"]],
    is_encoder: false,
    heads: &[Head::SequenceClassification, Head::TokenClassification, Head::QuestionAnswering, Head::CausalLm],
    read,
    graph: |config| decoder::graph(config, &NAMES),
};

const NAMES: DecoderNames = DecoderNames {
    word: "wte.weight",
    position: "wpe.weight",
    layer: |index| {
        let tensor = format!("h.{index}");
        DecoderLayer {
            attention_norm: format!("{tensor}.ln_1"),
            qkv: vec![format!("{tensor}.attn.c_attn")],
            attention_output: format!("{tensor}.attn.c_proj"),
            mlp_norm: format!("{tensor}.ln_2"),
            fc1: format!("{tensor}.mlp.c_fc"),
            fc2: format!("{tensor}.mlp.c_proj"),
        }
    },
    final_norm: "ln_f",
    transposed: true,
    heads: DecoderHeads { language_model: "lm_head", classifier: "score" },
};

/// Defaults are those of `GPT2Config`, which also has each size under the name that BERT has for it.
fn read(keys: &ConfigKeys) -> Result<ModelConfig, String> {
    let hidden = keys.size(&["hidden_size", "n_embd"], 768, MAX_SIZE)?;
    let dimensions = Dimensions {
        layers: keys.size(&["num_hidden_layers", "n_layer"], 12, MAX_LAYERS)?,
        hidden,
        heads: keys.size(&["num_attention_heads", "n_head"], 12, MAX_SIZE)?,
        inner: match keys.get("n_inner") {
            Some(_) => keys.size(&["n_inner"], 4 * hidden, 4 * MAX_SIZE)?,
            None => 4 * hidden,
        },
        vocabulary: keys.size(&["vocab_size"], 50257, MAX_SIZE)?,
        positions: keys.size(&["max_position_embeddings", "n_positions"], 1024, MAX_SIZE)?,
    };
    check_heads(dimensions, ["n_embd", "n_head"])?;
    // The end of a text pads rows. No token attends to padding, so that any other row of the table does as well.
    let end = keys.token("eos_token_id", 50256)?.and_then(|id| u32::try_from(id).ok());
    Ok(ModelConfig {
        activation: activation(keys, "activation_function", "gelu_new")?,
        epsilon: keys.not_negative("layer_norm_epsilon", 1e-5)?,
        is_causal: true,
        score_scale: ScoreScale {
            by_head_size: keys.flag("scale_attn_weights", true)?,
            by_layer: keys.flag("scale_attn_by_inverse_layer_idx", false)?,
        },
        pad_id: end.filter(|&id| (id as usize) < dimensions.vocabulary).unwrap_or(0),
        unpooled_id: keys.optional_token("pad_token_id", None)?.and_then(|id| u32::try_from(id).ok()),
        ..ModelConfig::base(Family::Gpt2, dimensions)
    })
}
