//! ELECTRA, discriminator and generator: BERT's trunk, whose embeddings may be narrower than the stream, and heads of its own.
//! Clark et al., arXiv 2003.10555; tensor names of Hugging Face `modeling_electra.py`.

use super::bert;
use super::config::{MAX_SIZE, ModelConfig};
use super::encoder::{self, EncoderDefaults, EncoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::{EncoderHeads, MaskedHead};
use super::keys::ConfigKeys;
use crate::graph::{Activation, Gelu};

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["electra"],
    classes: &["Electra"],
    prefix: "electra.",
    tied: &[["embeddings.word_embeddings.weight", "generator_lm_head.weight"]],
    is_encoder: true,
    heads: &Head::OF_ENCODERS_AND_DECODERS,
    read,
    graph: |config| encoder::graph(config, &NAMES),
};

const NAMES: EncoderNames = EncoderNames {
    projection: |config| (config.embedding_width() != config.dimensions.hidden).then_some("embeddings_project"),
    layer: |_, index| bert::layer(index),
    heads: EncoderHeads {
        pooler: "classifier.dense",
        pooler_activation: Activation::Gelu(Gelu::Erf),
        classifier: "classifier.out_proj",
        language_model: MaskedHead {
            dense: "generator_predictions.dense",
            activation: Some(Activation::Gelu(Gelu::Erf)),
            norm: "generator_predictions.LayerNorm",
            decoder: "generator_lm_head",
        },
    },
};

/// Defaults are those of `ElectraConfig`.
fn read(keys: &ConfigKeys) -> Result<ModelConfig, String> {
    let defaults = EncoderDefaults { hidden: 256, heads: 4, inner: 1024, ..EncoderDefaults::BERT };
    let narrow_embedding = Some(keys.size(&["embedding_size"], 128, MAX_SIZE)?);
    Ok(ModelConfig { narrow_embedding, ..defaults.read(keys, Family::Electra)? })
}
