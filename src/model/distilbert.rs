//! DistilBERT: BERT without token types and pooler. Sanh et al., arXiv 1910.01108; tensor names of Hugging Face
//! `modeling_distilbert.py`.

use super::activation::activation;
use super::config::{MAX_LAYERS, MAX_SIZE, ModelConfig, check_heads, padding_row};
use super::encoder::{self, EncoderLayer, EncoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::{EncoderHeads, MaskedHead};
use super::keys::ConfigKeys;
use crate::graph::{Activation, Dimensions};

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["distilbert"],
    classes: &["DistilBert"],
    prefix: "distilbert.",
    tied: &[["embeddings.word_embeddings.weight", "vocab_projector.weight"]],
    is_encoder: true,
    heads: &Head::OF_ENCODERS,
    read,
    graph: |config| encoder::graph(config, &NAMES),
};

const NAMES: EncoderNames = EncoderNames {
    projection: |_| None,
    layer: |_, index| {
        let tensor = format!("transformer.layer.{index}");
        EncoderLayer {
            qkv: ["q_lin", "k_lin", "v_lin"].map(|part| format!("{tensor}.attention.{part}")),
            attention_output: format!("{tensor}.attention.out_lin"),
            attention_norm: format!("{tensor}.sa_layer_norm"),
            fc1: format!("{tensor}.ffn.lin1"),
            fc2: format!("{tensor}.ffn.lin2"),
            output_norm: format!("{tensor}.output_layer_norm"),
        }
    },
    heads: EncoderHeads {
        pooler: "pre_classifier",
        pooler_activation: Activation::Relu,
        classifier: "classifier",
        language_model: MaskedHead {
            dense: "vocab_transform",
            activation: None,
            norm: "vocab_layer_norm",
            decoder: "vocab_projector",
        },
    },
};

/// Defaults are those of `DistilBertConfig`, which also has some sizes under the names that BERT has for them. The epsilon is a
/// constant of the class, 1e-12.
fn read(keys: &ConfigKeys) -> Result<ModelConfig, String> {
    let dimensions = Dimensions {
        layers: keys.size(&["num_hidden_layers", "n_layers"], 6, MAX_LAYERS)?,
        hidden: keys.size(&["hidden_size", "dim"], 768, MAX_SIZE)?,
        heads: keys.size(&["num_attention_heads", "n_heads"], 12, MAX_SIZE)?,
        inner: keys.size(&["hidden_dim"], 3072, MAX_SIZE)?,
        vocabulary: keys.size(&["vocab_size"], 30522, MAX_SIZE)?,
        positions: keys.size(&["max_position_embeddings"], 512, MAX_SIZE)?,
    };
    check_heads(dimensions, ["dim", "n_heads"])?;
    Ok(ModelConfig {
        activation: activation(keys, "activation", "gelu")?,
        pad_id: padding_row(keys, 0, dimensions.vocabulary)?,
        ..ModelConfig::base(Family::DistilBert, dimensions)
    })
}
