//! Which tokenizer transformers 5 makes of a folder. Its own classes for BERT and GPT-2 take the vocabulary of
//! `tokenizer.json` and rebuild the rest from the settings; the general class takes the file as it is.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::processors::template::TemplateProcessing;

use super::entries::Entries;
use super::settings::TokenizerSettings;
use super::{CONFIG_FILE, TOKENIZER_FILE};
use crate::model::{Family, ModelError};

/// A class of transformers 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenizerClass {
    /// WordPiece after BERT's normalizer, between the tokens of a class and of a separator.
    Bert,
    /// Byte-level BPE.
    Gpt2,
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
            (None, None) => return Ok(if family == Family::Gpt2 { Self::Gpt2 } else { Self::Bert }),
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
            "PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend" => Self::General,
            _ => {
                let reason = format!(
                    "tokenizer_class: {class} has rules that are not known here; `BertTokenizer`, `GPT2Tokenizer` and \
                     `PreTrainedTokenizerFast` are; where {TOKENIZER_FILE} says all, name the last"
                );
                return Err(refused(file, reason));
            }
        })
    }

    /// Text of a special token that no file names.
    pub fn special_token(self, name: &str) -> Option<&'static str> {
        match (self, name) {
            (Self::Bert, "unk_token") => Some("[UNK]"),
            (Self::Bert, "sep_token") => Some("[SEP]"),
            (Self::Bert, "pad_token") => Some("[PAD]"),
            (Self::Bert, "cls_token") => Some("[CLS]"),
            (Self::Bert, "mask_token") => Some("[MASK]"),
            (Self::Gpt2, "bos_token" | "eos_token" | "unk_token") => Some("<|endoftext|>"),
            _ => None,
        }
    }

    /// `tokenizer.json` as the class reads it, without its added tokens, which come with those of the settings.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] naming a key with a wrong value.
    pub fn document(self, mut file: Value, settings: &TokenizerSettings) -> Result<Value, ModelError> {
        self.check(&file, settings)?;
        file["added_tokens"] = json!([]);
        let mut part = |name: &str| file["model"].get_mut(name).map(Value::take);
        let (pre_tokenizer, normalizer, decoder, model) = match self {
            Self::General => return Ok(file),
            Self::Bert => {
                let normalizer = json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": settings.flag("tokenize_chinese_chars", true)?,
                    "strip_accents": settings.open_flag("strip_accents")?,
                    "lowercase": settings.flag("do_lower_case", true)?,
                });
                let model = json!({
                    "type": "WordPiece",
                    "unk_token": settings.special_token("unk_token")?.unwrap_or_else(none),
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100,
                    "vocab": part("vocab"),
                });
                let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
                (json!({"type": "BertPreTokenizer"}), normalizer, decoder, model)
            }
            Self::Gpt2 => {
                let prefix = settings.flag("add_prefix_space", false)?;
                let bytes =
                    json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
                let model = json!({
                    "type": "BPE",
                    "dropout": null,
                    "unk_token": null,
                    "continuing_subword_prefix": "",
                    "end_of_word_suffix": "",
                    "fuse_unk": false,
                    "vocab": part("vocab"),
                    "merges": part("merges").unwrap_or_else(|| json!([])),
                });
                (bytes.clone(), Value::Null, bytes, model)
            }
        };
        Ok(json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": if self == Self::Bert { Value::Null } else { file["post_processor"].take() },
            "decoder": decoder,
            "model": model,
        }))
    }

    /// Refuses a file that is plainly meant otherwise than the class would read it.
    fn check(self, file: &Value, settings: &TokenizerSettings) -> Result<(), ModelError> {
        let (kind, part, flag, key, default) = match self {
            Self::General => return Ok(()),
            Self::Bert => ("WordPiece", "normalizer", "lowercase", "do_lower_case", true),
            Self::Gpt2 => ("BPE", "pre_tokenizer", "add_prefix_space", "add_prefix_space", false),
        };
        if let Some(other) = file["model"]["type"].as_str().filter(|other| *other != kind) {
            let reason = format!(
                "the model of {TOKENIZER_FILE} is {other}, of which the class {} makes {kind}; name `PreTrainedTokenizerFast` to use \
                 it as it is",
                if self == Self::Bert { "BertTokenizer" } else { "GPT2Tokenizer" }
            );
            return Err(settings.refused("tokenizer_class", &reason));
        }
        // Where the settings are absent they may have been lost on the way.
        if settings.is_absent() && file[part][flag] == json!(!default) {
            let reason = format!(
                "{TOKENIZER_FILE} has {flag}: {}, but without {CONFIG_FILE} transformers takes {default}; write the key into that \
                 file",
                !default
            );
            return Err(settings.refused(key, &reason));
        }
        Ok(())
    }

    /// Puts the tokens of a class and of a separator around a sentence, for BERT.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] where the tokens cannot be put into a template.
    pub fn frame(self, tokenizer: &mut tokenizers::Tokenizer, settings: &TokenizerSettings) -> Result<(), ModelError> {
        if self != Self::Bert {
            return Ok(());
        }
        // transformers spells an absent token `None`, and gives it the id of Google's vocabularies in its own order.
        let marker = |name: &str, absent: u32| {
            let Some(token) = settings.special_token(name)? else { return Ok((none(), absent)) };
            let id = tokenizer.token_to_id(&token).unwrap_or(absent);
            Ok::<_, ModelError>((token, id))
        };
        let (first, last) = (marker("cls_token", 2)?, marker("sep_token", 3)?);
        let single = format!("{}:0 $A:0 {}:0", first.0, last.0);
        let pair = format!("{single} $B:1 {}:1", last.0);
        let template = TemplateProcessing::builder()
            .try_single(single)
            .map_err(|error| settings.refused("cls_token or sep_token", &error))?
            .try_pair(pair)
            .map_err(|error| settings.refused("cls_token or sep_token", &error))?
            .special_tokens(vec![first, last])
            .build()
            .map_err(|error| settings.refused("cls_token or sep_token", &error.to_string()))?;
        tokenizer.with_post_processor(Some(template));
        Ok(())
    }
}

/// Python's text of an absent token.
fn none() -> String {
    "None".to_owned()
}
