//! What a class of transformers 5 rebuilds from `tokenizer.json` and the settings, again in the form of that file.

use serde_json::{Value, json};

use super::class::TokenizerClass;
use super::settings::TokenizerSettings;
use super::{CONFIG_FILE, TOKENIZER_FILE};
use crate::model::ModelError;

/// `file` as the class reads it, without its added tokens, which come with those of the settings.
///
/// # Errors
/// [`ModelError::Tokenizer`] naming a key with a wrong value.
pub(super) fn rebuilt(mut file: Value, settings: &TokenizerSettings) -> Result<Value, ModelError> {
    let class = settings.class;
    check(class, &file, settings)?;
    file["added_tokens"] = json!([]);
    let (pre_tokenizer, normalizer, decoder) = match class {
        TokenizerClass::General => return Ok(file),
        TokenizerClass::Bert => {
            let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
            (json!({"type": "BertPreTokenizer"}), bert_normalizer(settings)?, decoder)
        }
        TokenizerClass::Gpt2 | TokenizerClass::Roberta => {
            let prefix = settings.flag("add_prefix_space", false)?;
            let bytes =
                json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
            (bytes.clone(), Value::Null, bytes)
        }
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert | TokenizerClass::Albert => {
            let scheme = if settings.flag("add_prefix_space", true)? { "always" } else { "never" };
            let metaspace =
                json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true});
            let pre_tokenizers = json!([{"type": "WhitespaceSplit"}, metaspace.clone()]);
            let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": pre_tokenizers});
            (pre_tokenizer, unigram_normalizer(&file["normalizer"], settings)?, metaspace)
        }
    };
    let keeps = matches!(class, TokenizerClass::Gpt2 | TokenizerClass::Albert);
    let post_processor = if keeps { file["post_processor"].take() } else { Value::Null };
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model(&mut file, settings)?,
    }))
}

fn model(file: &mut Value, settings: &TokenizerSettings) -> Result<Value, ModelError> {
    let mut part = |name: &str| file["model"].get_mut(name).map_or(Value::Null, Value::take);
    let vocab = part("vocab");
    Ok(match settings.class {
        TokenizerClass::Bert => json!({
            "type": "WordPiece",
            "unk_token": settings.special_token("unk_token")?.unwrap_or_else(none),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        }),
        TokenizerClass::XlmRoberta => unigram(vocab, 3),
        TokenizerClass::Albert => unigram(vocab, 1),
        TokenizerClass::Camembert => {
            let unknown = settings.special_token("unk_token")?.unwrap_or_else(none);
            let pieces = vocab.as_array().map_or(&[][..], Vec::as_slice);
            let index = pieces.iter().position(|piece| piece[0] == unknown.as_str()).unwrap_or(0);
            unigram(vocab, index)
        }
        _ => {
            let merges = Some(part("merges")).filter(|merges| !merges.is_null()).unwrap_or_else(|| json!([]));
            json!({
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": false,
                "vocab": vocab,
                "merges": merges,
            })
        }
    })
}

fn unigram(vocab: Value, unknown: usize) -> Value {
    json!({"type": "Unigram", "unk_id": unknown, "byte_fallback": false, "vocab": vocab})
}

fn bert_normalizer(settings: &TokenizerSettings) -> Result<Value, ModelError> {
    Ok(json!({
        "type": "BertNormalizer",
        "clean_text": true,
        "handle_chinese_chars": settings.flag("tokenize_chinese_chars", true)?,
        "strip_accents": settings.open_flag("strip_accents")?,
        "lowercase": settings.flag("do_lower_case", true)?,
    }))
}

/// sentencepiece's own normalization as `tokenizer.json` keeps it, and before it ALBERT's.
fn unigram_normalizer(in_file: &Value, settings: &TokenizerSettings) -> Result<Value, ModelError> {
    let steps = match in_file["normalizers"].as_array() {
        Some(steps) if in_file["type"] == "Sequence" => steps.iter().collect(),
        _ => vec![in_file],
    };
    let precompiled = steps.into_iter().find(|step| step["type"] == "Precompiled").cloned();
    if settings.class != TokenizerClass::Albert {
        return Ok(precompiled.unwrap_or(Value::Null));
    }
    let quote = |two: &str| json!({"type": "Replace", "pattern": {"String": two}, "content": "\""});
    let mut normalizers = vec![quote("``"), quote("''")];
    if !settings.flag("keep_accents", false)? {
        normalizers.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
    }
    if settings.flag("do_lower_case", true)? {
        normalizers.push(json!({"type": "Lowercase"}));
    }
    normalizers.extend(precompiled);
    Ok(json!({"type": "Sequence", "normalizers": normalizers}))
}

/// Refuses a file that is plainly meant otherwise than the class would read it.
fn check(class: TokenizerClass, file: &Value, settings: &TokenizerSettings) -> Result<(), ModelError> {
    let (kind, flag) = match class {
        TokenizerClass::General => return Ok(()),
        TokenizerClass::Bert => ("WordPiece", Some(("normalizer", "lowercase", "do_lower_case", true))),
        TokenizerClass::Gpt2 | TokenizerClass::Roberta => {
            ("BPE", Some(("pre_tokenizer", "add_prefix_space", "add_prefix_space", false)))
        }
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert | TokenizerClass::Albert => ("Unigram", None),
    };
    if let Some(other) = file["model"]["type"].as_str().filter(|other| *other != kind) {
        let reason = format!(
            "the model of {TOKENIZER_FILE} is {other}, of which the class {} makes {kind}; name `PreTrainedTokenizerFast` to use \
             it as it is",
            class.name()
        );
        return Err(settings.refused("tokenizer_class", &reason));
    }
    // Where the settings are absent they may have been lost on the way.
    if let Some((part, flag, key, default)) = flag
        && settings.is_absent()
        && file[part][flag] == json!(!default)
    {
        let reason = format!(
            "{TOKENIZER_FILE} has {flag}: {}, but without {CONFIG_FILE} transformers takes {default}; write the key into that \
             file",
            !default
        );
        return Err(settings.refused(key, &reason));
    }
    Ok(())
}

/// Python's text of an absent token.
pub(super) fn none() -> String {
    "None".to_owned()
}
