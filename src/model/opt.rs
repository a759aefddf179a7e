//! OPT: Zhang et al., arXiv 2205.01068; tensor names of Hugging Face `modeling_opt.py`. The 350m checkpoint has another order of
//! layer norms and is refused.

use super::activation::activation;
use super::config::{MAX_LAYERS, MAX_SIZE, ModelConfig, check_heads, padding_row};
use super::decoder::{self, DecoderLayer, DecoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::DecoderHeads;
use super::keys::ConfigKeys;
use crate::graph::Dimensions;

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["opt"],
    classes: &["OPT"],
    prefix: "model.",
    tied: &[["decoder.embed_tokens.weight", "lm_head.weight"]],
    is_encoder: false,
    heads: &[Head::SequenceClassification, Head::QuestionAnswering, Head::CausalLm],
    read,
    graph: |config| decoder::graph(config, &NAMES),
};

/// Rows of the position table before that of the first token (`OPTLearnedPositionalEmbedding`).
pub(super) const FIRST_POSITION: usize = 2;

const NAMES: DecoderNames = DecoderNames {
    word: "decoder.embed_tokens.weight",
    position: "decoder.embed_positions.weight",
    layer: |index| {
        let tensor = format!("decoder.layers.{index}");
        DecoderLayer {
            attention_norm: format!("{tensor}.self_attn_layer_norm"),
            qkv: ["q_proj", "k_proj", "v_proj"].map(|part| format!("{tensor}.self_attn.{part}")).to_vec(),
            attention_output: format!("{tensor}.self_attn.out_proj"),
            mlp_norm: format!("{tensor}.final_layer_norm"),
            fc1: format!("{tensor}.fc1"),
            fc2: format!("{tensor}.fc2"),
        }
    },
    final_norm: "decoder.final_layer_norm",
    transposed: false,
    heads: DecoderHeads { language_model: "lm_head", classifier: "score" },
};

/// Defaults are those of `OPTConfig`.
fn read(keys: &ConfigKeys) -> Result<ModelConfig, String> {
    // The key, and the value that is computed.
    let flags = [
        ("do_layer_norm_before", true),
        ("_remove_final_layer_norm", false),
        ("enable_bias", true),
        ("layer_norm_elementwise_affine", true),
    ];
    for (key, computed) in flags {
        if keys.flag(key, computed)? != computed {
            return Err(format!("{key} {} is not supported, only {computed}", !computed));
        }
    }
    let dimensions = Dimensions {
        layers: keys.size(&["num_hidden_layers"], 12, MAX_LAYERS)?,
        hidden: keys.size(&["hidden_size"], 768, MAX_SIZE)?,
        heads: keys.size(&["num_attention_heads"], 12, MAX_SIZE)?,
        inner: keys.size(&["ffn_dim"], 3072, MAX_SIZE)?,
        vocabulary: keys.size(&["vocab_size"], 50272, MAX_SIZE)?,
        positions: keys.size(&["max_position_embeddings"], 2048, MAX_SIZE)?,
    };
    check_heads(dimensions, ["hidden_size", "num_attention_heads"])?;
    let hidden = dimensions.hidden;
    let width = match keys.get("word_embed_proj_dim") {
        Some(_) => keys.size(&["word_embed_proj_dim"], hidden, MAX_SIZE)?,
        None => hidden,
    };
    if width != hidden {
        return Err(format!("word_embed_proj_dim {width} is not supported, only hidden_size, {hidden}"));
    }
    Ok(ModelConfig {
        activation: activation(keys, "activation_function", "relu")?,
        epsilon: 1e-5,
        initializer_range: keys.positive("init_std", 0.02).unwrap_or(0.02),
        is_causal: true,
        first_position: FIRST_POSITION,
        pad_id: padding_row(keys, 1, dimensions.vocabulary)?,
        unpooled_id: keys.optional_token("pad_token_id", Some(1))?.and_then(|id| u32::try_from(id).ok()),
        ..ModelConfig::base(Family::Opt, dimensions)
    })
}
