//! The output that is asked of a model, and the heads that transformers' classes have.

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::config::{ModelConfig, TaskHead};

/// The output that is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The output of the checkpoint's class: logits where it has a head that is computed, hidden states otherwise.
    #[default]
    Natural,
    /// Last hidden state.
    Hidden,
    /// Class logits of every sequence.
    SequenceClassification,
    /// Class logits of every token.
    TokenClassification,
    /// Logits of every token as the start and the end of an answer.
    QuestionAnswering,
    /// Logits of what stands at every token.
    MaskedLm,
    /// Logits of what follows every token.
    CausalLm,
    /// A language model's logits of the last token of every sequence: what generating one token needs.
    LastToken,
}

impl Head {
    /// Every head.
    pub const ALL: [Head; 8] = [
        Head::Natural,
        Head::Hidden,
        Head::SequenceClassification,
        Head::TokenClassification,
        Head::QuestionAnswering,
        Head::MaskedLm,
        Head::CausalLm,
        Head::LastToken,
    ];

    /// Those of a family of encoders.
    pub(super) const OF_ENCODERS: [Head; 4] =
        [Head::SequenceClassification, Head::TokenClassification, Head::QuestionAnswering, Head::MaskedLm];

    /// Those of a family of encoders whose attention may be causal.
    pub(super) const OF_ENCODERS_AND_DECODERS: [Head; 5] = [
        Head::SequenceClassification,
        Head::TokenClassification,
        Head::QuestionAnswering,
        Head::MaskedLm,
        Head::CausalLm,
    ];

    /// The spelling in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Head::Natural => "natural",
            Head::Hidden => "hidden",
            Head::SequenceClassification => "sequence-classification",
            Head::TokenClassification => "token-classification",
            Head::QuestionAnswering => "question-answering",
            Head::MaskedLm => "masked-lm",
            Head::CausalLm => "causal-lm",
            Head::LastToken => "last-token",
        }
    }

    /// The head of a class of transformers, by the part of its name after the family's; `None` of a class whose head is not
    /// computed.
    pub(super) fn of_task(task: &str) -> Option<Head> {
        Some(match task {
            "Model" => Head::Hidden,
            "ForSequenceClassification" => Head::SequenceClassification,
            "ForTokenClassification" => Head::TokenClassification,
            "ForQuestionAnswering" => Head::QuestionAnswering,
            "ForMaskedLM" => Head::MaskedLm,
            "ForCausalLM" | "LMHeadModel" => Head::CausalLm,
            _ => return None,
        })
    }

    /// The head of a graph, `labels` classes wide where it has classes.
    pub(super) fn task(self, labels: usize) -> TaskHead {
        match self {
            Head::Natural | Head::Hidden => TaskHead::None,
            Head::SequenceClassification => TaskHead::Classifier { labels },
            Head::TokenClassification => TaskHead::TokenClassifier { labels },
            Head::QuestionAnswering => TaskHead::Spans,
            Head::MaskedLm => TaskHead::MaskedLanguageModel,
            Head::CausalLm => TaskHead::LanguageModel { last_token: false },
            Head::LastToken => TaskHead::LanguageModel { last_token: true },
        }
    }
}

/// The configuration of model `name` with the head that is asked for.
///
/// # Errors
/// [`ModelError::NoLanguageModel`] or [`ModelError::NoHead`] where it cannot have the head.
pub(super) fn with_head(name: &str, mut config: ModelConfig, head: Head) -> Result<ModelConfig, ModelError> {
    let heads = config.family.definition().heads;
    match head {
        Head::Natural => return Ok(config),
        Head::LastToken if !matches!(config.head, TaskHead::LanguageModel { .. }) => {
            return Err(ModelError::NoLanguageModel { model: name.to_owned() });
        }
        Head::Hidden | Head::LastToken => {}
        head if heads.contains(&head) => {}
        head => {
            let (model, heads) = (name.to_owned(), config.family.heads());
            return Err(ModelError::NoHead { model, head: head.name(), family: config.family.name(), heads });
        }
    }
    config.dropped_head = None;
    config.head = head.task(config.label_names.len());
    Ok(config)
}
