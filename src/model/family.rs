//! The families of models: what each file of a family says about itself, and which family a config.json names.

use serde_json::Value;

use super::Head;
use super::config::ModelConfig;
use super::keys::{ConfigKeys, quoted};
use super::{albert, bert, distilbert, electra, gpt2, opt, roberta};
use crate::graph::Graph;

/// A model's family: which graph is built and how tensors are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// BERT.
    Bert,
    /// RoBERTa, DistilRoBERTa, XLM-RoBERTa and CamemBERT.
    Roberta,
    /// DistilBERT.
    DistilBert,
    /// ELECTRA, discriminator and generator.
    Electra,
    /// ALBERT.
    Albert,
    /// GPT-2.
    Gpt2,
    /// OPT.
    Opt,
}

/// What a family's file says.
pub(super) struct FamilyDefinition {
    /// Values of `model_type`.
    pub model_types: &'static [&'static str],
    /// What the names of its classes in transformers begin with: `Bert` of `BertForMaskedLM`.
    pub classes: &'static [&'static str],
    /// Prefix that some checkpoints put before the name of every tensor of the trunk.
    pub prefix: &'static str,
    /// Names without the prefix of tensors that are one: first the word table and the projection of a language-model head,
    /// then others, which are one whether or not the first are.
    pub tied: &'static [[&'static str; 2]],
    /// Whether a query sees the keys after it, so that sentences stand between markers.
    pub is_encoder: bool,
    /// The heads that its classes have in transformers.
    pub heads: &'static [Head],
    /// Reads what the family has for itself: sizes, constants, defaults. Heads and labels are read for all families.
    pub read: fn(&ConfigKeys) -> Result<ModelConfig, String>,
    /// The graph with the configuration's head.
    pub graph: fn(&ModelConfig) -> Graph,
}

impl Family {
    const ALL: [Family; 7] =
        [Family::Bert, Family::Roberta, Family::DistilBert, Family::Electra, Family::Albert, Family::Gpt2, Family::Opt];

    pub(super) fn definition(self) -> &'static FamilyDefinition {
        match self {
            Family::Bert => &bert::DEFINITION,
            Family::Roberta => &roberta::DEFINITION,
            Family::DistilBert => &distilbert::DEFINITION,
            Family::Electra => &electra::DEFINITION,
            Family::Albert => &albert::DEFINITION,
            Family::Gpt2 => &gpt2::DEFINITION,
            Family::Opt => &opt::DEFINITION,
        }
    }

    /// Its first `model_type`.
    pub fn name(self) -> &'static str {
        self.definition().model_types[0]
    }

    /// Prefix that some checkpoints put before the name of every tensor of the trunk.
    pub fn prefix(self) -> &'static str {
        self.definition().prefix
    }

    /// Whether sentences stand between markers, as BERT's between `[CLS]` and `[SEP]`.
    pub fn is_encoder(self) -> bool {
        self.definition().is_encoder
    }

    /// Pairs of names, without the prefix, of tensors that are one.
    pub(super) fn tied(self) -> &'static [[&'static str; 2]] {
        self.definition().tied
    }

    /// The heads that it has, for messages.
    pub(super) fn heads(self) -> String {
        let heads = self.definition().heads.iter().map(|head| format!("`{}`", head.name()));
        heads.collect::<Vec<_>>().join(", ")
    }

    /// The part of a class of transformers after the family's name: `ForMaskedLM` of `BertForMaskedLM`; `None` of another
    /// family's.
    pub(super) fn task_of(self, class: &str) -> Option<&str> {
        let is_task =
            |task: &&str| task.starts_with("For") || ["Model", "LMHeadModel", "DoubleHeadsModel"].contains(task);
        self.definition().classes.iter().filter_map(|name| class.strip_prefix(name)).find(is_task)
    }

    /// The family that `model_type` names, or without it the class of the checkpoint.
    pub(super) fn of(keys: &ConfigKeys) -> Result<Family, String> {
        let architectures = keys.strings("architectures")?;
        let of_class = |class: &str| Family::ALL.into_iter().find(|family| family.task_of(class).is_some());
        let class = architectures.iter().find_map(|class| Some((*class, of_class(class)?)));
        let family = match (keys.get("model_type"), class) {
            (None, Some((_, family))) => return Ok(family),
            (None, None) => {
                let missing = "model_type is missing, and architectures names no class of a family";
                return Err(format!("{missing}; {}", model_types()));
            }
            (Some(kind), _) => Self::of_model_type(kind)?,
        };
        match class.filter(|(_, named)| *named != family) {
            Some((class, _)) => {
                Err(format!("architectures names `{class}`, which is of another family than model_type"))
            }
            None => Ok(family),
        }
    }

    fn of_model_type(kind: &Value) -> Result<Family, String> {
        let Some(name) = kind.as_str() else {
            return Err(format!("model_type is {}; {}", quoted(kind), model_types()));
        };
        let family = Family::ALL.into_iter().find(|family| family.definition().model_types.contains(&name));
        family.ok_or_else(|| format!("model_type `{name}` is not supported; {}", model_types()))
    }
}

/// ``the families are `bert`, …``, for messages.
fn model_types() -> String {
    let all: Vec<&str> = Family::ALL.iter().flat_map(|family| family.definition().model_types).copied().collect();
    let (last, others) = all.split_last().unwrap_or((&"", &[]));
    format!("the families are `{}` and `{last}`", others.join("`, `"))
}
