//! `config.json` as Hugging Face writes it: what all families have in common. A family's file reads the rest.

use std::path::Path;

use serde_json::Value;

use super::classes::class_names;
use super::family::Family;
use super::head::Head;
use super::keys::ConfigKeys;
use super::task::{ProblemType, dropped_head};
use super::{ModelError, quantization};
use crate::files::read_text;
use crate::graph::{Activation, Dimensions, Gelu, Token};

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

/// How layers share weights (ALBERT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedLayers {
    /// Groups of layers; the passes through the model are shared out among them in order.
    pub groups: usize,
    /// Layers of a group, one after the other.
    pub layers_of_group: usize,
}

/// What follows the trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskHead {
    /// Nothing: last hidden states.
    None,
    /// Classifier of sequences.
    Classifier {
        /// Classes.
        labels: usize,
    },
    /// Classifier of tokens.
    TokenClassifier {
        /// Classes.
        labels: usize,
    },
    /// Start and end of an answer.
    Spans,
    /// What stands at each token.
    MaskedLanguageModel,
    /// What follows each token.
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
    /// Width of the embeddings where a linear layer takes them to that of the stream; `None` where they have it.
    pub narrow_embedding: Option<usize>,
    /// Rows of the stored position table before that of the first token.
    pub first_position: usize,
    /// Token types; 0 of a family that has none.
    pub token_types: usize,
    /// Function between the linear layers of a feed-forward block.
    pub activation: Activation,
    /// Layer-norm epsilon.
    pub epsilon: f64,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
    /// Whether a query sees no key after it.
    pub is_causal: bool,
    /// Head.
    pub head: TaskHead,
    /// Whether a language-model head is the word table, and not a tensor of its own.
    pub tied_head: bool,
    /// Scale of attention scores.
    pub score_scale: ScoreScale,
    /// Sharing of weights among layers.
    pub shared_layers: SharedLayers,
    /// Class of the file whose head is not computed; `None` where there is none, or where the trunk's output is asked for.
    pub dropped_head: Option<String>,
    /// What a classifier was trained for, where the file says.
    pub problem_type: Option<ProblemType>,
    /// Id that pads short rows.
    pub pad_id: u32,
    /// Id that a decoder's classifier takes for padding wherever it stands: it pools the last token with another id.
    pub unpooled_id: Option<u32>,
    /// Id that has no position of its own inside a text (RoBERTa's padding): the tokens after it would be counted as if it were
    /// not there, which is not computed.
    pub skipped_id: Option<u32>,
    /// Names of the classes of a classifier, by index; those that config.json has for any head where the head is another.
    pub label_names: Vec<String>,
}

/// Sizes beyond this are refused: it bounds products of two sizes, and the graph, whatever the file says.
pub(super) const MAX_SIZE: usize = 1 << 20;
pub(super) const MAX_LAYERS: usize = 1000;

impl ModelConfig {
    /// A trunk of these sizes with what most families have.
    pub(super) fn base(family: Family, dimensions: Dimensions) -> Self {
        ModelConfig {
            family,
            dimensions,
            narrow_embedding: None,
            first_position: 0,
            token_types: 0,
            activation: Activation::Gelu(Gelu::Erf),
            epsilon: 1e-12,
            initializer_range: 0.02,
            is_causal: false,
            head: TaskHead::None,
            tied_head: true,
            score_scale: ScoreScale::default(),
            shared_layers: SharedLayers { groups: 1, layers_of_group: 1 },
            dropped_head: None,
            problem_type: None,
            pad_id: 0,
            unpooled_id: None,
            skipped_id: None,
            label_names: (0..2).map(|class| format!("LABEL_{class}")).collect(),
        }
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key; families that are not known are refused by name.
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
        let family = Family::of(&keys)?;
        let config = (family.definition().read)(&keys)?;
        // For random weights alone, so that no checkpoint is refused for it.
        let initializer_range = keys.positive("initializer_range", config.initializer_range);
        ModelConfig {
            problem_type: ProblemType::of(keys.get("problem_type"))?,
            tied_head: keys.flag("tie_word_embeddings", true)?,
            initializer_range: initializer_range.unwrap_or(config.initializer_range),
            ..config
        }
        .with_task(&keys)
    }

    /// The head of the class that the file names, and its classes. A checkpoint without a classifier has Hugging Face's two
    /// placeholder labels, too: only the class decides.
    fn with_task(mut self, keys: &ConfigKeys) -> Result<Self, String> {
        let class = keys.strings("architectures")?.first().copied();
        let definition = self.family.definition();
        let named = class.map(|class| self.family.task_of(class).and_then(Head::of_task));
        let head = match named {
            // A decoder without a class is a language model.
            None if !definition.is_encoder => Some(Head::CausalLm),
            None => Some(Head::Hidden),
            Some(head) => head.filter(|head| *head == Head::Hidden || definition.heads.contains(head)),
        };
        let names = class_names(keys);
        self.label_names = match head {
            Some(Head::SequenceClassification | Head::TokenClassification) => names?,
            _ => names.unwrap_or_default(),
        };
        self.head = head.unwrap_or(Head::Hidden).task(self.label_names.len());
        self.dropped_head = dropped_head(class.filter(|_| head.is_none()), class, keys.get("auto_map"));
        Ok(self)
    }

    /// The factor of attention scores in layer `layer`, from 0.
    pub(super) fn score_factor(&self, layer: usize) -> f64 {
        let ScoreScale { by_head_size, by_layer } = self.score_scale;
        let head_size = self.dimensions.hidden / self.dimensions.heads;
        let scale = if by_head_size { 1.0 / (head_size as f64).sqrt() } else { 1.0 };
        if by_layer { scale / (layer + 1) as f64 } else { scale }
    }

    /// Width of the embeddings.
    pub fn embedding_width(&self) -> usize {
        self.narrow_embedding.unwrap_or(self.dimensions.hidden)
    }

    /// The token that a decoder's classifier reads.
    pub(super) fn pooled_token(&self) -> Token {
        self.unpooled_id.map_or(Token::Last, Token::LastBut)
    }

    /// Refuses a row, without its padding, that holds an id which has no position.
    ///
    /// # Errors
    /// [`ModelError::Unplaced`].
    pub fn check_ids(&self, ids: &[u32]) -> Result<(), ModelError> {
        match self.skipped_id.filter(|id| ids.contains(id)) {
            Some(id) => Err(ModelError::Unplaced { id, family: self.family.name() }),
            None => Ok(()),
        }
    }

    /// An id to draw at random in place of `id`: itself, or the next one where it has no position.
    pub fn drawn_id(&self, id: u32) -> u32 {
        if self.skipped_id == Some(id) { (id + 1) % self.dimensions.vocabulary as u32 } else { id }
    }

    /// Name of a class: the checkpoint's, or its number.
    pub fn label(&self, class: usize) -> String {
        self.label_names.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
    }
}

pub(super) fn check_heads(dimensions: Dimensions, [size, count]: [&str; 2]) -> Result<(), String> {
    let Dimensions { hidden, heads, .. } = dimensions;
    if hidden % heads != 0 {
        return Err(format!("{size} {hidden} is not a multiple of {count} {heads}; correct one of the two"));
    }
    Ok(())
}

/// `pad_token_id` as PyTorch counts it: -1 is the last row. Row 0 where it is null, for no token attends to padding.
pub(super) fn padding_row(keys: &ConfigKeys, default: i64, vocabulary: usize) -> Result<u32, String> {
    let Some(id) = keys.token("pad_token_id", default)? else { return Ok(0) };
    let row = if id < 0 { id.saturating_add(vocabulary as i64) } else { id };
    match u32::try_from(row).ok().filter(|&row| (row as usize) < vocabulary) {
        Some(row) => Ok(row),
        None => Err(format!("pad_token_id {id} is outside the vocabulary of {vocabulary}; write null where none is")),
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
        assert_eq!(config.activation, Activation::Gelu(Gelu::Tanh));
        // transformers computes without an epsilon, too.
        assert_eq!(ModelConfig::parse(&GPT2.replace("1e-5", "0.0")).unwrap().epsilon, 0.0);
        assert_eq!(ModelConfig::parse(&BERT.replace("1e-12", "0")).unwrap().epsilon, 0.0);
    }

    /// A config.json of defaults and one key.
    fn of(model_type: &str, key: &str) -> String {
        format!(r#"{{"model_type":"{model_type}",{key}}}"#)
    }

    #[test]
    fn a_class_names_its_head_and_one_that_is_not_computed_is_dropped() {
        let of = |model_type: &str, class: &str| {
            ModelConfig::parse(&of(model_type, &format!(r#""architectures":["{class}"]"#))).unwrap()
        };
        let cases = [
            ("xlm-roberta", "XLMRobertaForMaskedLM", TaskHead::MaskedLanguageModel),
            ("camembert", "CamembertForTokenClassification", TaskHead::TokenClassifier { labels: 2 }),
            ("distilbert", "DistilBertForQuestionAnswering", TaskHead::Spans),
            ("opt", "OPTForCausalLM", TaskHead::LanguageModel { last_token: false }),
            ("gpt2", "GPT2ForSequenceClassification", TaskHead::Classifier { labels: 2 }),
            ("albert", "AlbertModel", TaskHead::None),
        ];
        for (model_type, class, head) in cases {
            let config = of(model_type, class);
            assert_eq!((config.head, config.dropped_head), (head, None), "{class}");
        }
        // OPT has no classifier of tokens in transformers.
        for (model_type, class) in [
            ("electra", "ElectraForPreTraining"),
            ("gpt2", "GPT2DoubleHeadsModel"),
            ("opt", "OPTForTokenClassification"),
            ("bert", "BertForMultipleChoice"),
        ] {
            let config = of(model_type, class);
            assert_eq!((config.head, config.dropped_head.as_deref()), (TaskHead::None, Some(class)), "{class}");
        }
    }

    #[test]
    fn an_id_without_a_position_is_neither_drawn_nor_taken_from_a_text() {
        let roberta = ModelConfig::parse(&of("roberta", r#""vocab_size":4"#)).unwrap();
        assert_eq!([0, 1, 2, 3].map(|id| roberta.drawn_id(id)), [0, 2, 2, 3]);
        assert!(roberta.check_ids(&[0, 3, 2]).is_ok());
        let error = roberta.check_ids(&[0, 1, 2]).unwrap_err().to_string();
        assert!(error.contains("the token 1, which pads the rows of `roberta`"), "{error}");
        let opt = ModelConfig::parse(&of("opt", r#""pad_token_id":1"#)).unwrap();
        assert!(opt.check_ids(&[0, 1, 2]).is_ok(), "its positions count every token");
        assert_eq!((opt.drawn_id(1), opt.pooled_token()), (1, Token::LastBut(1)));
    }

    #[test]
    fn unusable_configurations_name_the_key() {
        let cases = [
            (GPT2.replace("gpt2", "llama"), "`llama` is not supported"),
            (GPT2.replace("gelu_new", "prelu"), "activation_function `prelu`"),
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
            (
                GPT2.replace("1e-5", "-Infinity"),
                "layer_norm_epsilon is `\"-Infinity\"`; write a number that is not negative",
            ),
            (
                GPT2.replace("{", r#"{"tie_word_embeddings":null,"#),
                "tie_word_embeddings is `null`; write true or false",
            ),
            (of("opt", r#""do_layer_norm_before":false"#), "do_layer_norm_before false is not supported, only true"),
            (
                of("opt", r#""word_embed_proj_dim":512"#),
                "word_embed_proj_dim 512 is not supported, only hidden_size, 768",
            ),
            (of("roberta", r#""pad_token_id":null"#), "pad_token_id is no token id; positions begin after it"),
            (of("roberta", r#""max_position_embeddings":2"#), "leaves no position after pad_token_id 1"),
            (of("roberta", r#""position_embedding_type":"relative_key""#), "`\"relative_key\"` is not supported"),
            (of("albert", r#""num_hidden_groups":13"#), "num_hidden_groups is `13`; write a whole number from 1 to 12"),
            (of("albert", r#""inner_group_num":100"#), "num_hidden_layers times inner_group_num is 1200, over 1000"),
            (
                of("electra", r#""hidden_act":"xielu""#),
                "hidden_act `xielu` is not supported; the functions of transformers",
            ),
            (GPT2.replace("{", r#"{"architectures":["BertModel"],"#), "`BertModel`, which is of another family"),
            (GPT2.replace(r#""model_type":"gpt2","#, ""), "model_type is missing, and architectures names no class"),
            (GPT2.replace(r#""model_type":"gpt2""#, r#""model_type":2"#), "model_type is `2`; the families are"),
            (GPT2.replace("{", r#"{"per_layer_config":{"0":{"n_head":2}},"#), "per_layer_config is not supported"),
        ];
        refused(&cases);
    }

    fn refused(cases: &[(String, &str)]) {
        for (text, expected) in cases {
            let error = ModelConfig::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error} does not contain {expected}");
        }
    }

    #[test]
    fn unusable_configurations_of_bert_name_the_key() {
        refused(&[
            (BERT.replace("\"type_vocab_size\":2", "\"type_vocab_size\":0"), "type_vocab_size is `0`"),
            (BERT.replace("{\"0\":\"a\"}", "{}"), "id2label is `{}`; write"),
            (BERT.replace("{\"0\":\"a\"}", r#"["a"]"#), "id2label is `[\"a\"]`; write"),
            (BERT.replace("{\"0\":\"a\"}", r#"{"one":"a"}"#), "id2label has the key `one`; number the classes from 0"),
            (
                BERT.replace("{\"0\":\"a\"}", r#"{"1":"a","2":"b"}"#),
                "id2label names 2 classes; number them from 0 to 1",
            ),
            (BERT.replace("{\"model", "{\"num_labels\":2,\"model"), "num_labels is 2 and id2label names 1 classes"),
            (BERT.replace("{\"model", "{\"is_decoder\":1,\"model"), "is_decoder is `1`; write true or false"),
            (
                BERT.replace("{\"model", "{\"pad_token_id\":100,\"model"),
                "pad_token_id 100 is outside the vocabulary of 100",
            ),
            (
                BERT.replace("{\"model", "{\"position_embedding_type\":\"relative_key\",\"model"),
                "`\"relative_key\"` is not",
            ),
        ]);
    }
}
