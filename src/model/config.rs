//! `config.json` of the two families, as Hugging Face writes it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::Architecture;
use super::ModelError;
use crate::graph::{Dimensions, Gelu};

/// A model's family: which graph is built and how tensors are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Encoder with post-layer-norm; tensor prefix `bert.`.
    Bert,
    /// Decoder with pre-layer-norm; tensor prefix `transformer.`.
    Gpt2,
}

impl Family {
    /// Prefix that some checkpoints put before the name of every tensor of the trunk.
    pub fn prefix(self) -> &'static str {
        match self {
            Family::Bert => "bert.",
            Family::Gpt2 => "transformer.",
        }
    }
}

/// What follows the trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskHead {
    /// Nothing: last hidden states.
    None,
    /// Pooler and classifier.
    Classifier {
        /// Classes.
        labels: usize,
    },
    /// Projection on the vocabulary, tied to the word table.
    LanguageModel {
        /// Whether only the last token of every sequence is projected.
        last_token: bool,
    },
}

/// Everything the graph needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Family.
    pub family: Family,
    /// Sizes.
    pub dimensions: Dimensions,
    /// Token types; 0 for GPT-2.
    pub token_types: usize,
    /// GELU form.
    pub gelu: Gelu,
    /// Layer-norm epsilon.
    pub epsilon: f64,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
    /// Head.
    pub head: TaskHead,
    /// Id that pads short rows.
    pub pad_id: u32,
    /// Names of the classes, by index; may be fewer than there are.
    pub label_names: Vec<String>,
}

#[derive(Deserialize)]
struct FamilyTag {
    model_type: String,
}

#[derive(Deserialize)]
struct BertJson {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
    type_vocab_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    #[serde(default = "default_initializer_range")]
    initializer_range: f64,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    id2label: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Gpt2Json {
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    #[serde(default)]
    n_inner: Option<usize>,
    n_positions: usize,
    vocab_size: usize,
    #[serde(default = "default_gpt2_activation")]
    activation_function: String,
    layer_norm_epsilon: f64,
    #[serde(default = "default_initializer_range")]
    initializer_range: f64,
    #[serde(default)]
    eos_token_id: Option<u32>,
    #[serde(default = "default_true")]
    tie_word_embeddings: bool,
    #[serde(default = "default_true")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    architectures: Vec<String>,
}

fn default_initializer_range() -> f64 {
    0.02
}
fn default_gpt2_activation() -> String {
    "gelu_new".to_owned()
}
fn default_true() -> bool {
    true
}

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key; families other than `bert` and `gpt2` are refused by name.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::io(path, source))?;
        Self::parse(&text).map_err(|message| ModelError::Config { path: path.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let tag: FamilyTag = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let config = match tag.model_type.as_str() {
            "bert" => Self::from_bert(serde_json::from_str(text).map_err(|error| error.to_string())?)?,
            "gpt2" => Self::from_gpt2(serde_json::from_str(text).map_err(|error| error.to_string())?)?,
            other => return Err(format!("model_type `{other}` is not supported; the families are `bert` and `gpt2`")),
        };
        config.check()?;
        Ok(config)
    }

    fn from_bert(json: BertJson) -> Result<Self, String> {
        if let Some(kind) = json.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return Err(format!("position_embedding_type `{kind}` is not supported, only `absolute`"));
        }
        if json.is_decoder {
            return Err("is_decoder: true is not supported; a BERT decoder attends causally".to_owned());
        }
        // A checkpoint without a classifier has Hugging Face's two placeholder labels too: only the architecture decides.
        let head = match json.architectures.first().map(String::as_str) {
            Some("BertForSequenceClassification") => {
                TaskHead::Classifier { labels: json.id2label.as_ref().map_or(2, |labels| labels.len()) }
            }
            _ => TaskHead::None,
        };
        Ok(ModelConfig {
            family: Family::Bert,
            dimensions: Dimensions {
                layers: json.num_hidden_layers,
                hidden: json.hidden_size,
                heads: json.num_attention_heads,
                inner: json.intermediate_size,
                vocabulary: json.vocab_size,
                positions: json.max_position_embeddings,
            },
            token_types: json.type_vocab_size,
            gelu: gelu_form("hidden_act", &json.hidden_act)?,
            epsilon: json.layer_norm_eps,
            initializer_range: json.initializer_range,
            head,
            pad_id: json.pad_token_id.unwrap_or(0),
            label_names: label_names(json.id2label),
        })
    }

    fn from_gpt2(json: Gpt2Json) -> Result<Self, String> {
        if !json.tie_word_embeddings {
            return Err("tie_word_embeddings: false is not supported".to_owned());
        }
        if !json.scale_attn_weights || json.scale_attn_by_inverse_layer_idx {
            return Err("only attention scaled by 1/sqrt(head size) is supported".to_owned());
        }
        let head = match json.architectures.first().map(String::as_str) {
            Some("GPT2Model") => TaskHead::None,
            Some("GPT2LMHeadModel") | None => TaskHead::LanguageModel { last_token: false },
            Some(other) => {
                return Err(format!("architecture `{other}` is not supported; `GPT2LMHeadModel` and `GPT2Model` are"));
            }
        };
        Ok(ModelConfig {
            family: Family::Gpt2,
            dimensions: Dimensions {
                layers: json.n_layer,
                hidden: json.n_embd,
                heads: json.n_head,
                inner: json.n_inner.unwrap_or(json.n_embd.saturating_mul(4)),
                vocabulary: json.vocab_size,
                positions: json.n_positions,
            },
            token_types: 0,
            gelu: gelu_form("activation_function", &json.activation_function)?,
            epsilon: json.layer_norm_epsilon,
            initializer_range: json.initializer_range,
            head,
            pad_id: json.eos_token_id.unwrap_or(0),
            label_names: Vec::new(),
        })
    }

    fn check(&self) -> Result<(), String> {
        let Dimensions { layers, hidden, heads, inner, vocabulary, positions } = self.dimensions;
        if [layers, hidden, heads, inner, vocabulary, positions].contains(&0) {
            return Err(format!("a size is zero: {:?}", self.dimensions));
        }
        // Bounds products of two sizes, and the graph, whatever the file says. Tensors are checked before any is read.
        if layers > 1000 || [hidden, heads, inner, vocabulary, positions].iter().any(|&size| size > 1 << 20) {
            return Err(format!("a size is over 1048576, or there are over 1000 layers: {:?}", self.dimensions));
        }
        if self.family == Family::Bert && !(1..=1 << 20).contains(&self.token_types) {
            return Err(format!("type_vocab_size is {}; BERT has at least one token type", self.token_types));
        }
        if let TaskHead::Classifier { labels } = self.head
            && !(1..=255).contains(&labels)
        {
            return Err(format!("id2label names {labels} classes; 1 to 255 are supported"));
        }
        if hidden % heads != 0 {
            return Err(format!("hidden size {hidden} is not a multiple of {heads} heads"));
        }
        if self.pad_id as usize >= vocabulary {
            return Err(format!("pad or end token {} is outside the vocabulary of {vocabulary}", self.pad_id));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err(format!("layer-norm epsilon {} is not a positive number", self.epsilon));
        }
        Ok(())
    }

    /// Name of a class: the checkpoint's, or its number.
    pub fn label(&self, class: usize) -> String {
        self.label_names.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// The configuration of a named architecture.
    pub fn of(architecture: Architecture) -> Self {
        let (family, layers, hidden, heads, vocabulary) = match architecture {
            Architecture::BertBase => (Family::Bert, 12, 768, 12, 30522),
            Architecture::Gpt2 => (Family::Gpt2, 12, 768, 12, 50257),
            Architecture::BertTiny => (Family::Bert, 2, 64, 2, 1000),
            Architecture::Gpt2Tiny => (Family::Gpt2, 2, 64, 2, 1000),
        };
        let positions = architecture.positions();
        let dimensions = Dimensions { layers, hidden, heads, inner: 4 * hidden, vocabulary, positions };
        let (token_types, gelu, epsilon, head) = match family {
            Family::Bert => (2, Gelu::Erf, 1e-12, TaskHead::None),
            Family::Gpt2 => (0, Gelu::Tanh, 1e-5, TaskHead::LanguageModel { last_token: false }),
        };
        ModelConfig {
            family,
            dimensions,
            token_types,
            gelu,
            epsilon,
            initializer_range: 0.02,
            head,
            pad_id: 0,
            label_names: Vec::new(),
        }
    }
}

/// `id2label` by index; its keys are numbers written as strings.
fn label_names(labels: Option<BTreeMap<String, String>>) -> Vec<String> {
    let labels = labels.unwrap_or_default();
    let mut numbered: Vec<(usize, String)> =
        labels.into_iter().filter_map(|(key, name)| Some((key.parse().ok()?, name))).collect();
    numbered.sort();
    numbered.into_iter().map(|(_, name)| name).collect()
}

fn gelu_form(key: &str, value: &str) -> Result<Gelu, String> {
    match value {
        "gelu" => Ok(Gelu::Erf),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Gelu::Tanh),
        other => Err(format!("{key} `{other}` is not supported; `gelu` (erf) and `gelu_new` (tanh) are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPT2: &str = r#"{"model_type":"gpt2","n_embd":256,"n_layer":6,"n_head":4,"n_inner":null,
        "n_positions":1024,"vocab_size":50257,"activation_function":"gelu_new","layer_norm_epsilon":1e-5}"#;

    const BERT: &str = r#"{"model_type":"bert","hidden_size":64,"num_hidden_layers":2,"num_attention_heads":2,
        "intermediate_size":128,"max_position_embeddings":32,"vocab_size":100,"type_vocab_size":2,"hidden_act":"gelu",
        "layer_norm_eps":1e-12,"architectures":["BertForSequenceClassification"],"id2label":{"0":"a"}}"#;

    #[test]
    fn sizes_come_from_the_file() {
        assert_eq!(ModelConfig::parse(BERT).unwrap().head, TaskHead::Classifier { labels: 1 });
        let config = ModelConfig::parse(GPT2).unwrap();
        assert_eq!(config.dimensions.inner, 1024);
        assert_eq!(config.head, TaskHead::LanguageModel { last_token: false });
        assert_eq!(config.gelu, Gelu::Tanh);
    }

    #[test]
    fn unusable_configurations_name_the_key() {
        let cases = [
            (GPT2.replace("gpt2", "llama"), "`llama` is not supported"),
            (GPT2.replace("gelu_new", "relu"), "activation_function `relu`"),
            (GPT2.replace("\"n_head\":4", "\"n_head\":5"), "not a multiple of 5 heads"),
            (GPT2.replace("\"n_layer\":6,", ""), "missing field `n_layer`"),
            (GPT2.replace("50257", "99999999999"), "a size is over"),
            (GPT2.replace("50257", "-3"), "expected usize"),
            (GPT2.replace("\"n_embd\":256", "\"n_embd\":9223372036854775807"), "a size is over"),
            (GPT2.replace("\"n_layer\":6", "\"n_layer\":60000"), "over 1000 layers"),
            (
                GPT2.replace("{", r#"{"architectures":["GPT2ForSequenceClassification"],"#),
                "GPT2ForSequenceClassification",
            ),
            (BERT.replace("\"type_vocab_size\":2", "\"type_vocab_size\":0"), "type_vocab_size is 0"),
            (BERT.replace("{\"0\":\"a\"}", "{}"), "id2label names 0 classes"),
            (BERT.replace("{\"model", "{\"is_decoder\":true,\"model"), "is_decoder"),
        ];
        for (text, expected) in cases {
            let error = ModelConfig::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error} does not contain {expected}");
        }
    }
}
