//! ALBERT: layers that share their weights, and embeddings narrower than the stream. Lan et al., arXiv 1909.11942; tensor names of
//! Hugging Face `modeling_albert.py`.

use super::config::{MAX_LAYERS, MAX_SIZE, ModelConfig, SharedLayers};
use super::encoder::{self, EncoderDefaults, EncoderLayer, EncoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::{EncoderHeads, MaskedHead};
use super::keys::ConfigKeys;
use crate::graph::Activation;

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["albert"],
    classes: &["Albert"],
    prefix: "albert.",
    tied: &[
        ["embeddings.word_embeddings.weight", "predictions.decoder.weight"],
        ["predictions.bias", "predictions.decoder.bias"],
    ],
    is_encoder: true,
    heads: &Head::OF_ENCODERS,
    read,
    graph: |config| encoder::graph(config, &NAMES),
};

const NAMES: EncoderNames = EncoderNames {
    projection: |_| Some("encoder.embedding_hidden_mapping_in"),
    layer,
    heads: EncoderHeads {
        pooler: "pooler",
        pooler_activation: Activation::Tanh,
        classifier: "classifier",
        language_model: MaskedHead {
            dense: "predictions.dense",
            activation: None,
            norm: "predictions.LayerNorm",
            decoder: "predictions.decoder",
        },
    },
};

/// The names of a layer of the graph. A group of them repeats, by the arithmetic of `AlbertTransformer`.
fn layer(config: &ModelConfig, index: usize) -> EncoderLayer {
    let SharedLayers { groups, layers_of_group } = config.shared_layers;
    let passes = (config.dimensions.layers / layers_of_group) as f64;
    let group = ((index / layers_of_group) as f64 / (passes / groups as f64)) as usize;
    let tensor = format!("encoder.albert_layer_groups.{group}.albert_layers.{}", index % layers_of_group);
    EncoderLayer {
        qkv: ["query", "key", "value"].map(|part| format!("{tensor}.attention.{part}")),
        attention_output: format!("{tensor}.attention.dense"),
        attention_norm: format!("{tensor}.attention.LayerNorm"),
        fc1: format!("{tensor}.ffn"),
        fc2: format!("{tensor}.ffn_output"),
        output_norm: format!("{tensor}.full_layer_layer_norm"),
    }
}

/// Defaults are those of `AlbertConfig`, which are ALBERT-xxlarge's.
fn read(keys: &ConfigKeys) -> Result<ModelConfig, String> {
    let defaults = EncoderDefaults {
        hidden: 4096,
        heads: 64,
        inner: 16384,
        vocabulary: 30000,
        activation: "gelu_new",
        ..EncoderDefaults::BERT
    };
    let mut config = defaults.read(keys, Family::Albert)?;
    let layers_of_group = keys.size(&["inner_group_num"], 1, MAX_LAYERS)?;
    let groups = keys.size(&["num_hidden_groups"], 1, config.dimensions.layers)?;
    config.shared_layers = SharedLayers { groups, layers_of_group };
    config.dimensions.layers *= layers_of_group;
    if config.dimensions.layers > MAX_LAYERS {
        return Err(format!(
            "num_hidden_layers times inner_group_num is {}, over {MAX_LAYERS}",
            config.dimensions.layers
        ));
    }
    config.narrow_embedding = Some(keys.size(&["embedding_size"], 128, MAX_SIZE)?);
    // Its classes have no decoder.
    config.is_causal = false;
    Ok(config)
}
