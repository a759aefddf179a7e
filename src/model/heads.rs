//! What follows the trunk: classifiers of sequences and of tokens, answers' spans, language models.

use super::config::{ModelConfig, TaskHead};
use super::layers::{LayerBuilder, LinearSpec};
use crate::graph::{Activation, Graph, Init, OutputKind, Token, ValueId};

/// Name of the word table among the parameters of every graph.
pub(super) const WORD_TABLE: &str = "embeddings/word";

/// Checkpoint names of an encoder's heads, without `.weight` and `.bias`. Heads of tokens are named alike in all families.
pub(super) struct EncoderHeads {
    /// The layer between the first token and the classifier of sequences.
    pub pooler: &'static str,
    /// Its function.
    pub pooler_activation: Activation,
    /// The classifier of sequences.
    pub classifier: &'static str,
    pub language_model: MaskedHead,
}

/// Checkpoint names of the head of a masked language model, without `.weight` and `.bias`.
pub(super) struct MaskedHead {
    pub dense: &'static str,
    /// Its function; `None` is that of the layers.
    pub activation: Option<Activation>,
    pub norm: &'static str,
    /// Projection on the vocabulary, whose weight may be the word table.
    pub decoder: &'static str,
}

/// Checkpoint names of a decoder's heads, without `.weight` and `.bias`.
pub(super) struct DecoderHeads {
    /// Projection on the vocabulary.
    pub language_model: &'static str,
    /// Classifier of the last token.
    pub classifier: &'static str,
}

impl EncoderHeads {
    /// Ends a graph whose last hidden state is `stream` with the configuration's head.
    pub fn finish(&self, mut builder: LayerBuilder<'_>, stream: ValueId) -> Graph {
        match builder.config.head {
            TaskHead::None => builder.finish(stream, OutputKind::Hidden),
            TaskHead::Classifier { labels } => {
                let first = builder.select("pooler/first", Token::First, stream);
                let width = builder.config.dimensions.hidden;
                let dense = builder.linear(LinearSpec::inner("pooler/dense", &[self.pooler.to_owned()], width), first);
                let pooled = builder.activation("pooler", self.pooler_activation, dense);
                let logits =
                    builder.linear(LinearSpec::output("classifier", &[self.classifier.to_owned()], labels), pooled);
                builder.finish(logits, OutputKind::ClassLogits)
            }
            TaskHead::TokenClassifier { labels } => token_classes(builder, stream, labels),
            TaskHead::Spans => spans(builder, stream),
            TaskHead::MaskedLanguageModel => {
                let logits = self.language_model.logits(&mut builder, stream);
                builder.finish(logits, OutputKind::MaskedTokenLogits)
            }
            TaskHead::LanguageModel { last_token: false } => {
                let logits = self.language_model.logits(&mut builder, stream);
                // A query that sees the keys after it has seen the next token.
                let causal = builder.config.is_causal;
                builder.finish(logits, if causal { OutputKind::TokenLogits } else { OutputKind::MaskedTokenLogits })
            }
            TaskHead::LanguageModel { last_token: true } => {
                let last = builder.select("final/last_token", Token::Last, stream);
                let logits = self.language_model.logits(&mut builder, last);
                builder.finish(logits, OutputKind::LastTokenLogits)
            }
        }
    }
}

impl MaskedHead {
    /// Linear layer, function, layer norm and projection on the vocabulary.
    fn logits(&self, builder: &mut LayerBuilder<'_>, stream: ValueId) -> ValueId {
        let ModelConfig { dimensions, activation, .. } = *builder.config;
        let width = builder.config.embedding_width();
        let dense = builder.linear(LinearSpec::inner("lm_head/dense", &[self.dense.to_owned()], width), stream);
        let activated = builder.activation("lm_head", self.activation.unwrap_or(activation), dense);
        let normed = builder.layer_norm("lm_head/layer_norm", self.norm, activated);
        let weight = builder.vocabulary_weight(self.decoder);
        let bias = format!("{}.bias", self.decoder);
        let bias = builder.param("lm_head/bias", &bias, vec![dimensions.vocabulary], Init::Zeros);
        builder.project("lm_head", weight, Some(bias), normed)
    }
}

impl DecoderHeads {
    /// Ends a graph whose last hidden state is `hidden` with the configuration's head.
    pub fn finish(&self, mut builder: LayerBuilder<'_>, hidden: ValueId) -> Graph {
        match builder.config.head {
            TaskHead::LanguageModel { last_token } => {
                let weight = builder.vocabulary_weight(self.language_model);
                if last_token {
                    let last = builder.select("final/last_token", Token::Last, hidden);
                    let logits = builder.project("lm_head", weight, None, last);
                    return builder.finish(logits, OutputKind::LastTokenLogits);
                }
                let logits = builder.project("lm_head", weight, None, hidden);
                builder.finish(logits, OutputKind::TokenLogits)
            }
            TaskHead::Classifier { labels } => {
                let last = builder.select("final/last_token", builder.config.pooled_token(), hidden);
                let init = Init::Normal(builder.config.initializer_range);
                let dims = vec![labels, builder.config.dimensions.hidden];
                let weight = builder.param("classifier/weight", &format!("{}.weight", self.classifier), dims, init);
                let logits = builder.project("classifier", weight, None, last);
                builder.finish(logits, OutputKind::ClassLogits)
            }
            TaskHead::TokenClassifier { labels } => token_classes(builder, hidden, labels),
            TaskHead::Spans => spans(builder, hidden),
            TaskHead::None | TaskHead::MaskedLanguageModel => builder.finish(hidden, OutputKind::Hidden),
        }
    }
}

fn token_classes(mut builder: LayerBuilder<'_>, hidden: ValueId, labels: usize) -> Graph {
    let logits = builder.linear(LinearSpec::output("classifier", &["classifier".to_owned()], labels), hidden);
    builder.finish(logits, OutputKind::TokenClassLogits)
}

fn spans(mut builder: LayerBuilder<'_>, hidden: ValueId) -> Graph {
    let logits = builder.linear(LinearSpec::output("qa_outputs", &["qa_outputs".to_owned()], SPAN_ENDS), hidden);
    builder.finish(logits, OutputKind::SpanLogits)
}

/// Columns of the logits of an answer: its start and its end.
const SPAN_ENDS: usize = 2;
