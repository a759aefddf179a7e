//! `config.json` of the two families, as Hugging Face writes it.

use std::path::Path;

use serde_json::Value;

use super::{Architecture, ModelError, quantization};
use super::classes::class_names;
use super::keys::{ConfigKeys, quoted};
use super::task::{ProblemType, dropped_head};
use crate::files::read_text;
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

    /// Names, without the prefix, of the word table and of the language-model head that is tied to it.
    pub(super) fn tied_names(self) -> [&'static str; 2] {
        match self {
            Family::Bert => ["embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"],
            Family::Gpt2 => ["wte.weight", "lm_head.weight"],
        }
    }

    /// The family of a class of `modeling_bert.py` or `modeling_gpt2.py`.
    fn of_class(class: &str) -> Option<Family> {
        let bert = matches!(class, "BertModel" | "BertLMHeadModel") || class.starts_with("BertFor");
        let gpt2 = class.starts_with("GPT2");
        if bert { Some(Family::Bert) } else { gpt2.then_some(Family::Gpt2) }
    }
}

/// What attention scores are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreScale {
    /// The square root of the head's size.
    pub by_head_size: bool,
    /// The layer's number, from 1.
    pub by_layer: bool,
}

impl Default for ScoreScale {
    fn default() -> Self {
        ScoreScale { by_head_size: true, by_layer: false }
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
    /// Projection on the vocabulary.
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
    /// Whether a language-model head is the word table, and not a tensor of its own.
    pub tied_head: bool,
    /// Scale of attention scores.
    pub score_scale: ScoreScale,
    /// Class of the file whose head is not computed; `None` where there is none, or where the trunk's output is asked for.
    pub dropped_head: Option<String>,
    /// What a classifier was trained for, where the file says.
    pub problem_type: Option<ProblemType>,
    /// Id that pads short rows.
    pub pad_id: u32,
    /// Names of the classes of a classifier, by index.
    pub label_names: Vec<String>,
}

/// Sizes beyond this are refused: it bounds products of two sizes, and the graph, whatever the file says.
pub(super) const MAX_SIZE: usize = 1 << 20;
const MAX_LAYERS: usize = 1000;

/// Classes of BERT that are computed as a whole.
const COMPUTED: [&str; 2] = ["BertModel", "BertForSequenceClassification"];

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key; families other than `bert` and `gpt2` are refused by name.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = read_text(path)?;
        Self::parse(&text).map_err(|message| ModelError::Config { path: path.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let keys = ConfigKeys::parse(text)?;
        if keys.get("per_layer_config").and_then(Value::as_object).is_some_and(|layers| !layers.is_empty()) {
            return Err("per_layer_config is not supported: every layer must be the same".to_owned());
        }
        quantization::check(&keys)?;
        match family(&keys)? {
            Family::Bert => Self::from_bert(&keys),
            Family::Gpt2 => Self::from_gpt2(&keys),
        }
    }

    /// Defaults are those of transformers' `BertConfig`; tests/golden/configs.json has a record of them.
    fn from_bert(keys: &ConfigKeys) -> Result<Self, String> {
        let kind = keys.get("position_embedding_type");
        if let Some(kind) = kind.filter(|kind| kind.as_str() != Some("absolute")) {
            return Err(format!("position_embedding_type {} is not supported, only `absolute`", quoted(kind)));
        }
        if keys.flag("is_decoder", false)? {
            return Err("is_decoder: true is not supported, for it attends causally; only encoders are".to_owned());
        }
        let dimensions = Dimensions {
            layers: keys.size(&["num_hidden_layers"], 12, MAX_LAYERS)?,
            hidden: keys.size(&["hidden_size"], 768, MAX_SIZE)?,
            heads: keys.size(&["num_attention_heads"], 12, MAX_SIZE)?,
            inner: keys.size(&["intermediate_size"], 3072, MAX_SIZE)?,
            vocabulary: keys.size(&["vocab_size"], 30522, MAX_SIZE)?,
            positions: keys.size(&["max_position_embeddings"], 512, MAX_SIZE)?,
        };
        check_heads(dimensions, ["hidden_size", "num_attention_heads"])?;
        // A checkpoint without a classifier has Hugging Face's two placeholder labels too: only the architecture decides.
        let architecture = keys.strings("architectures")?.first().copied();
        let (head, label_names) = match architecture {
            Some("BertForSequenceClassification") => {
                let names = class_names(keys)?;
                (TaskHead::Classifier { labels: names.len() }, names)
            }
            _ => (TaskHead::None, Vec::new()),
        };
        Ok(ModelConfig {
            family: Family::Bert,
            dimensions,
            token_types: keys.size(&["type_vocab_size"], 2, MAX_SIZE)?,
            gelu: gelu_form(keys, "hidden_act", "gelu")?,
            epsilon: keys.positive("layer_norm_eps", 1e-12)?,
            initializer_range: initializer_range(keys),
            head,
            dropped_head: dropped_head(architecture, keys.get("auto_map"), &COMPUTED),
            problem_type: ProblemType::of(keys.get("problem_type"))?,
            tied_head: keys.flag("tie_word_embeddings", true)?,
            score_scale: ScoreScale::default(),
            pad_id: padding_row(keys, dimensions.vocabulary)?,
            label_names,
        })
    }

    /// Defaults are those of transformers' `GPT2Config`, which also has each size under the name that BERT has for it.
    fn from_gpt2(keys: &ConfigKeys) -> Result<Self, String> {
        let head = match keys.strings("architectures")?.first() {
            Some(&"GPT2Model") => TaskHead::None,
            Some(&"GPT2LMHeadModel") | None => TaskHead::LanguageModel { last_token: false },
            Some(other) => {
                return Err(format!("architecture `{other}` is not supported; `GPT2LMHeadModel` and `GPT2Model` are"));
            }
        };
        let hidden = keys.size(&["hidden_size", "n_embd"], 768, MAX_SIZE)?;
        let dimensions = Dimensions {
            layers: keys.size(&["num_hidden_layers", "n_layer"], 12, MAX_LAYERS)?,
            hidden,
            heads: keys.size(&["num_attention_heads", "n_head"], 12, MAX_SIZE)?,
            inner: match keys.get("n_inner") {
                Some(_) => keys.size(&["n_inner"], 4 * hidden, 4 * MAX_SIZE)?,
                None => 4 * hidden,
            },
            vocabulary: keys.size(&["vocab_size"], 50257, MAX_SIZE)?,
            positions: keys.size(&["max_position_embeddings", "n_positions"], 1024, MAX_SIZE)?,
        };
        check_heads(dimensions, ["n_embd", "n_head"])?;
        // The end of a text pads rows. No token attends to padding, so that any other row of the table does as well.
        let end = keys.token("eos_token_id", 50256)?.and_then(|id| u32::try_from(id).ok());
        Ok(ModelConfig {
            family: Family::Gpt2,
            dimensions,
            token_types: 0,
            gelu: gelu_form(keys, "activation_function", "gelu_new")?,
            epsilon: keys.positive("layer_norm_epsilon", 1e-5)?,
            initializer_range: initializer_range(keys),
            head,
            dropped_head: dropped_head(None, keys.get("auto_map"), &[]),
            problem_type: None,
            tied_head: keys.flag("tie_word_embeddings", true)?,
            score_scale: ScoreScale {
                by_head_size: keys.flag("scale_attn_weights", true)?,
                by_layer: keys.flag("scale_attn_by_inverse_layer_idx", false)?,
            },
            pad_id: end.filter(|&id| (id as usize) < dimensions.vocabulary).unwrap_or(0),
            label_names: Vec::new(),
        })
    }

    /// The factor of attention scores in layer `layer`, from 0.
    pub(super) fn score_factor(&self, layer: usize) -> f64 {
        let ScoreScale { by_head_size, by_layer } = self.score_scale;
        let head_size = self.dimensions.hidden / self.dimensions.heads;
        let scale = if by_head_size { 1.0 / (head_size as f64).sqrt() } else { 1.0 };
        if by_layer { scale / (layer + 1) as f64 } else { scale }
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
            tied_head: true,
            score_scale: ScoreScale::default(),
            dropped_head: None,
            problem_type: None,
            pad_id: 0,
            label_names: Vec::new(),
        }
    }
}

/// The family that `model_type` names, or without it the class of the checkpoint.
fn family(keys: &ConfigKeys) -> Result<Family, String> {
    let architectures = keys.strings("architectures")?;
    let class = architectures.iter().find_map(|class| Some((*class, Family::of_class(class)?)));
    let families = "the families are `bert` and `gpt2`";
    let family = match (keys.get("model_type"), class) {
        (None, Some((_, family))) => return Ok(family),
        (None, None) => {
            return Err(format!("model_type is missing, and architectures names no class of a family; {families}"));
        }
        (Some(kind), _) => match kind.as_str() {
            Some("bert") => Family::Bert,
            Some("gpt2") => Family::Gpt2,
            Some(other) => return Err(format!("model_type `{other}` is not supported; {families}")),
            None => return Err(format!("model_type is {}; {families}", quoted(kind))),
        },
    };
    match class.filter(|(_, named)| *named != family) {
        Some((class, _)) => Err(format!("architectures names `{class}`, which is of another family than model_type")),
        None => Ok(family),
    }
}

fn check_heads(dimensions: Dimensions, [size, count]: [&str; 2]) -> Result<(), String> {
    let Dimensions { hidden, heads, .. } = dimensions;
    if hidden % heads != 0 {
        return Err(format!("{size} {hidden} is not a multiple of {count} {heads}; correct one of the two"));
    }
    Ok(())
}

/// `pad_token_id` as PyTorch counts it: -1 is the last row. Row 0 where it is null, for no token attends to padding.
fn padding_row(keys: &ConfigKeys, vocabulary: usize) -> Result<u32, String> {
    let Some(id) = keys.token("pad_token_id", 0)? else { return Ok(0) };
    let row = if id < 0 { id.saturating_add(vocabulary as i64) } else { id };
    match u32::try_from(row).ok().filter(|&row| (row as usize) < vocabulary) {
        Some(row) => Ok(row),
        None => Err(format!("pad_token_id {id} is outside the vocabulary of {vocabulary}; write null where none is")),
    }
}

/// For random weights alone, so that no checkpoint is refused for it.
fn initializer_range(keys: &ConfigKeys) -> f64 {
    keys.positive("initializer_range", 0.02).unwrap_or(0.02)
}

fn gelu_form(keys: &ConfigKeys, key: &str, default: &str) -> Result<Gelu, String> {
    match keys.text(key, default)? {
        "gelu" | "gelu_python" => Ok(Gelu::Erf),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Gelu::Tanh),
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
            (GPT2.replace("\"n_head\":4", "\"n_head\":5"), "n_embd 256 is not a multiple of n_head 5"),
            (
                GPT2.replace("50257", "99999999999"),
                "vocab_size is `99999999999`; write a whole number from 1 to 1048576",
            ),
            (GPT2.replace("50257", "-3"), "vocab_size is `-3`"),
            (GPT2.replace("\"n_embd\":256", "\"n_embd\":9223372036854775807"), "n_embd is `9223372036854775807`"),
            (
                GPT2.replace("\"n_layer\":6", "\"n_layer\":60000"),
                "n_layer is `60000`; write a whole number from 1 to 1000",
            ),
            (GPT2.replace("1e-5", "-Infinity"), "layer_norm_epsilon is `\"-Infinity\"`; write a positive number"),
            (
                GPT2.replace("{", r#"{"tie_word_embeddings":null,"#),
                "tie_word_embeddings is `null`; write true or false",
            ),
            (
                GPT2.replace("{", r#"{"architectures":["GPT2ForSequenceClassification"],"#),
                "GPT2ForSequenceClassification",
            ),
            (GPT2.replace("{", r#"{"architectures":["BertModel"],"#), "`BertModel`, which is of another family"),
            (GPT2.replace(r#""model_type":"gpt2","#, ""), "model_type is missing, and architectures names no class"),
            (GPT2.replace(r#""model_type":"gpt2""#, r#""model_type":2"#), "model_type is `2`; the families are"),
            (GPT2.replace("{", r#"{"per_layer_config":{"0":{"n_head":2}},"#), "per_layer_config is not supported"),
            (BERT.replace("\"type_vocab_size\":2", "\"type_vocab_size\":0"), "type_vocab_size is `0`"),
            (BERT.replace("{\"0\":\"a\"}", "{}"), "id2label is `{}`; write"),
            (BERT.replace("{\"0\":\"a\"}", r#"["a"]"#), "id2label is `[\"a\"]`; write"),
            (BERT.replace("{\"0\":\"a\"}", r#"{"one":"a"}"#), "id2label has the key `one`"),
            (
                BERT.replace("{\"0\":\"a\"}", r#"{"1":"a","2":"b"}"#),
                "id2label names 2 classes; number them from 0 to 1",
            ),
            (BERT.replace("{\"model", "{\"num_labels\":2,\"model"), "num_labels is 2 and id2label names 1 classes"),
            (BERT.replace("{\"model", "{\"is_decoder\":true,\"model"), "is_decoder"),
            (
                BERT.replace("{\"model", "{\"pad_token_id\":100,\"model"),
                "pad_token_id 100 is outside the vocabulary of 100",
            ),
            (
                BERT.replace("{\"model", "{\"position_embedding_type\":\"relative_key\",\"model"),
                "`\"relative_key\"` is not",
            ),
        ];
        for (text, expected) in cases {
            let error = ModelConfig::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error} does not contain {expected}");
        }
    }
}
