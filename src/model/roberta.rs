//! RoBERTa and the families that took its architecture (XLM-RoBERTa, CamemBERT): BERT with positions that begin after the padding
//! token's, and heads of its own. Liu et al., arXiv 1907.11692; tensor names of Hugging Face `modeling_roberta.py`.

use super::bert;
use super::config::ModelConfig;
use super::encoder::{self, EncoderDefaults, EncoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::{EncoderHeads, MaskedHead};
use super::keys::ConfigKeys;
use crate::graph::{Activation, Gelu};

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["roberta", "xlm-roberta", "camembert"],
    classes: &["Roberta", "XLMRoberta", "Camembert"],
    prefix: "roberta.",
    tied: &[["embeddings.word_embeddings.weight", "lm_head.decoder.weight"], ["lm_head.bias", "lm_head.decoder.bias"]],
    is_encoder: true,
    heads: &Head::OF_ENCODERS_AND_DECODERS,
    read,
    graph: |config| encoder::graph(config, &NAMES),
};

const NAMES: EncoderNames = EncoderNames {
    projection: |_| None,
    layer: |_, index| bert::layer(index),
    heads: EncoderHeads {
        pooler: "classifier.dense",
        pooler_activation: Activation::Tanh,
        classifier: "classifier.out_proj",
        language_model: MaskedHead {
            dense: "lm_head.dense",
            activation: Some(Activation::Gelu(Gelu::Erf)),
            norm: "lm_head.layer_norm",
            decoder: "lm_head.decoder",
        },
    },
};

/// Defaults are those of `RobertaConfig`; the other two differ in the vocabulary.
fn read(keys: &ConfigKeys) -> Result<ModelConfig, String> {
    let vocabulary = if keys.get("model_type").is_none_or(|kind| kind == "roberta") { 50265 } else { 30522 };
    let defaults = EncoderDefaults { vocabulary, padding: 1, ..EncoderDefaults::BERT };
    let mut config = defaults.read(keys, Family::Roberta)?;
    let Some(padding) = keys.token("pad_token_id", 1)?.and_then(|id| usize::try_from(id).ok()) else {
        return Err("pad_token_id is no token id; positions begin after it: write 1, as RoBERTa has it".to_owned());
    };
    // The row of the padding token and those before it belong to no position.
    let rows = config.dimensions.positions;
    config.first_position = padding + 1;
    config.skipped_id = Some(config.pad_id);
    config.dimensions.positions = rows.checked_sub(padding + 1).filter(|&left| left > 0).ok_or_else(|| {
        format!(
            "max_position_embeddings {rows} leaves no position after pad_token_id {padding}; correct one of the two"
        )
    })?;
    Ok(config)
}
