//! Which tokenizer transformers 5 makes of a folder. Its own classes for a family take the vocabulary of `tokenizer.json` and
//! rebuild the rest from the settings; the general class takes the file as it is.

use std::path::Path;

use serde_json::{Value, json};

use super::entries::Entries;
use super::{CONFIG_FILE, TOKENIZER_FILE};
use crate::model::{Family, ModelError};

/// A class of transformers 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenizerClass {
    /// WordPiece after BERT's normalizer, between the tokens of a class and of a separator.
    Bert,
    /// Byte-level BPE.
    Gpt2,
    /// The same between the tokens of a class and of a separator.
    Roberta,
    /// Unigrams of a sentencepiece model, between the tokens of a beginning and of an end.
    XlmRoberta,
    /// The same, with tokens of its own.
    Camembert,
    /// Unigrams after a normalizer, between `[CLS]` and `[SEP]`.
    Albert,
    /// The file as it is.
    General,
}

impl TokenizerClass {
    /// The class that the folder names, or that of the model's family.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] for a class with rules of its own.
    pub fn of(folder: &Path, family: Family, entries: &Entries) -> Result<Self, ModelError> {
        let refused = |file: &str, message: String| ModelError::Tokenizer { path: folder.join(file), message };
        if entries.get("auto_map").is_some_and(|map| !map.is_null()) {
            let reason = "auto_map: code in the folder makes the tokens, and it is not run; save the tokenizer with \
                          tokenizer_class `PreTrainedTokenizerFast`";
            return Err(refused(CONFIG_FILE, reason.to_owned()));
        }
        if let Some(files) = entries.get("fast_tokenizer_files").filter(|files| **files != json!([TOKENIZER_FILE])) {
            let reason =
                format!("fast_tokenizer_files: {files} are not read; leave {TOKENIZER_FILE} alone and remove the key");
            return Err(refused(CONFIG_FILE, reason));
        }
        let model = Entries::read(&folder.join("config.json"))?.unwrap_or_default();
        let named = |entries: &Entries| entries.get("tokenizer_class").filter(|class| !class.is_null()).cloned();
        let (file, class) = match (named(entries), named(&model)) {
            (Some(class), _) => (CONFIG_FILE, class),
            (None, Some(class)) => ("config.json", class),
            (None, None) => {
                let model_type = model.get("model_type").and_then(Value::as_str);
                let without = if family.is_encoder() { Self::Bert } else { Self::Gpt2 };
                return Ok(model_type.and_then(Self::of_model_type).unwrap_or(without));
            }
        };
        let name = class.as_str().unwrap_or_default();
        Ok(match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "DistilBertTokenizer"
            | "ElectraTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer"
            | "LayoutLMTokenizer"
            | "LxmertTokenizer" => Self::Bert,
            "GPT2Tokenizer" => Self::Gpt2,
            "RobertaTokenizer" => Self::Roberta,
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            "CamembertTokenizer" => Self::Camembert,
            "AlbertTokenizer" => Self::Albert,
            "PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend" => Self::General,
            _ => {
                let reason = format!(
                    "tokenizer_class: {class} has rules that are not known here; those of {} and `PreTrainedTokenizerFast` are; \
                     where {TOKENIZER_FILE} says all, name the last",
                    Self::REBUILT.map(|class| format!("`{}`", class.name())).join(", ")
                );
                return Err(refused(file, reason));
            }
        })
    }

    /// The class that transformers takes for a `model_type` where no file names one.
    fn of_model_type(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "bert" | "distilbert" | "electra" => Self::Bert,
            "gpt2" | "opt" => Self::Gpt2,
            "roberta" => Self::Roberta,
            "xlm-roberta" => Self::XlmRoberta,
            "camembert" => Self::Camembert,
            "albert" => Self::Albert,
            _ => return None,
        })
    }

    /// The classes that rebuild what is in `tokenizer.json`.
    const REBUILT: [Self; 6] = [Self::Bert, Self::Gpt2, Self::Roberta, Self::XlmRoberta, Self::Camembert, Self::Albert];

    /// Its name in transformers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "BertTokenizer",
            Self::Gpt2 => "GPT2Tokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::Camembert => "CamembertTokenizer",
            Self::Albert => "AlbertTokenizer",
            Self::General => "PreTrainedTokenizerFast",
        }
    }

    /// Text of a special token that no file names.
    pub fn special_token(self, name: &str) -> Option<&'static str> {
        match (self, name) {
            (Self::Roberta | Self::XlmRoberta | Self::Camembert, _) => match name {
                "bos_token" | "cls_token" => Some("<s>"),
                "eos_token" | "sep_token" => Some("</s>"),
                "unk_token" => Some("<unk>"),
                "pad_token" => Some("<pad>"),
                "mask_token" => Some("<mask>"),
                _ => None,
            },
            (Self::Albert, "bos_token" | "cls_token") => Some("[CLS]"),
            (Self::Albert, "eos_token" | "sep_token") => Some("[SEP]"),
            (Self::Albert, "unk_token") => Some("<unk>"),
            (Self::Albert, "pad_token") => Some("<pad>"),
            (Self::Albert, "mask_token") => Some("[MASK]"),
            (Self::Bert, "unk_token") => Some("[UNK]"),
            (Self::Bert, "sep_token") => Some("[SEP]"),
            (Self::Bert, "pad_token") => Some("[PAD]"),
            (Self::Bert, "cls_token") => Some("[CLS]"),
            (Self::Bert, "mask_token") => Some("[MASK]"),
            (Self::Gpt2, "bos_token" | "eos_token" | "unk_token") => Some("<|endoftext|>"),
            _ => None,
        }
    }

    /// Further special tokens that no file names.
    pub fn extra_special_tokens(self) -> &'static [&'static str] {
        if self == Self::Camembert { &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"] } else { &[] }
    }

    /// Whether the mask takes the space before it, where no file says its flags.
    pub fn strips_before(self, name: &str) -> bool {
        self == Self::Camembert && name == "mask_token"
    }
}
