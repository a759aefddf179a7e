//! How added and special tokens are written in the files of a tokenizer.

use serde_json::{Value, json};
use tokenizers::AddedToken;

/// A special token as it is written: its text alone, or with its flags.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spelling {
    Plain(String),
    Flagged(FlaggedToken),
}

/// A token with flags; `normalized` follows from `special` where it is not written.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub(super) struct FlaggedToken {
    pub content: String,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: Option<bool>,
    #[serde(default)]
    pub special: bool,
}

impl Spelling {
    pub fn of(value: &Value) -> Option<Spelling> {
        match value {
            Value::String(content) => Some(Spelling::Plain(content.clone())),
            Value::Object(token) if token.get("__type").is_some_and(|kind| kind == "AddedToken") => {
                serde_json::from_value(value.clone()).ok().map(Spelling::Flagged)
            }
            _ => None,
        }
    }

    pub fn content(&self) -> &str {
        match self {
            Spelling::Plain(content) => content,
            Spelling::Flagged(token) => &token.content,
        }
    }

    /// The token as it is added; those among the `named` are special whatever their flags say.
    pub fn added(self, named: &[&str]) -> AddedToken {
        let token = match self {
            Spelling::Plain(content) => FlaggedToken::plain(content, true),
            Spelling::Flagged(token) => token,
        };
        let special = token.special || named.contains(&token.content.as_str());
        AddedToken {
            normalized: token.normalized.unwrap_or(!special),
            content: token.content,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            special,
        }
    }
}

impl FlaggedToken {
    pub fn plain(content: String, special: bool) -> Self {
        FlaggedToken { content, single_word: false, lstrip: false, rstrip: false, normalized: None, special }
    }
}

/// The added tokens of `tokenizer.json` and the ids that it gives them, in its order.
pub(super) fn tokens_in_file(added: &Value) -> Result<Vec<(i64, FlaggedToken)>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct TokenInFile {
        id: i64,
        #[serde(flatten)]
        token: FlaggedToken,
    }
    let tokens: Option<Vec<TokenInFile>> = serde_json::from_value(added.clone())?;
    Ok(tokens.unwrap_or_default().into_iter().map(|TokenInFile { id, token }| (id, token)).collect())
}

/// A token with flags of `special_tokens_map.json`, which are special all.
pub(super) fn special(mut token: Value) -> Value {
    token["special"] = json!(true);
    token["__type"] = json!("AddedToken");
    token
}
