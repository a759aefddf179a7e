//! BERT: Devlin et al., arXiv 1810.04805; tensor names of Hugging Face `modeling_bert.py`.

use super::encoder::{self, EncoderDefaults, EncoderLayer, EncoderNames};
use super::family::{Family, FamilyDefinition};
use super::head::Head;
use super::heads::{EncoderHeads, MaskedHead};
use crate::graph::Activation;

pub(super) const DEFINITION: FamilyDefinition = FamilyDefinition {
    model_types: &["bert"],
    classes: &["Bert"],
    prefix: "bert.",
    tied: &[
        ["embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"],
        ["cls.predictions.bias", "cls.predictions.decoder.bias"],
    ],
    is_encoder: true,
    heads: &Head::OF_ENCODERS_AND_DECODERS,
    read: |keys| EncoderDefaults::BERT.read(keys, Family::Bert),
    graph: |config| encoder::graph(config, &NAMES),
};

const NAMES: EncoderNames = EncoderNames {
    projection: |_| None,
    layer: |_, index| layer(index),
    heads: EncoderHeads {
        pooler: "pooler.dense",
        pooler_activation: Activation::Tanh,
        classifier: "classifier",
        language_model: MaskedHead {
            dense: "cls.predictions.transform.dense",
            activation: None,
            norm: "cls.predictions.transform.LayerNorm",
            decoder: "cls.predictions.decoder",
        },
    },
};

/// The names of a layer, which RoBERTa and ELECTRA have as well.
pub(super) fn layer(index: usize) -> EncoderLayer {
    let tensor = format!("encoder.layer.{index}");
    EncoderLayer {
        qkv: ["query", "key", "value"].map(|part| format!("{tensor}.attention.self.{part}")),
        attention_output: format!("{tensor}.attention.output.dense"),
        attention_norm: format!("{tensor}.attention.output.LayerNorm"),
        fc1: format!("{tensor}.intermediate.dense"),
        fc2: format!("{tensor}.output.dense"),
        output_norm: format!("{tensor}.output.LayerNorm"),
    }
}
