//! The settings that transformers 5 reads next to `tokenizer.json`, and the tokens that it adds because of them.
//!
//! `PreTrainedTokenizerBase._from_pretrained` and `TokenizersBackend.__init__` of transformers 5.24 are followed step by step,
//! because the order of tokens decides the ids of new ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::AddedToken;

use super::class::TokenizerClass;
use super::entries::Entries;
use super::spelling::{FlaggedToken, Spelling, special, tokens_in_file};
use super::{ADDED_TOKENS_FILE, CONFIG_FILE, SPECIAL_TOKENS_FILE, TOKENIZER_FILE};
use crate::model::{Family, ModelError};

/// Key of tokens under names of their own, as transformers 5 has it.
const SPECIFIC_TOKENS: &str = "model_specific_special_tokens";

/// The named special tokens, in the order in which transformers adds them.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What the files next to `tokenizer.json` say.
#[derive(Debug)]
pub(super) struct TokenizerSettings {
    /// How transformers makes the tokenizer.
    pub class: TokenizerClass,
    path: PathBuf,
    is_absent: bool,
    entries: Entries,
    /// Special tokens under names of their own: `image_token` and the like.
    own_names: Vec<(String, Value)>,
    /// Added tokens by the id that the files give them.
    added: BTreeMap<i64, FlaggedToken>,
    /// The added tokens of `tokenizer.json`.
    in_file: Vec<Spelling>,
}

/// The special tokens under the names of their uses, and those that only are special.
#[derive(Debug)]
struct SpecialTokens {
    named: Vec<Spelling>,
    extra: Vec<Spelling>,
}

impl TokenizerSettings {
    /// Reads the settings of `folder`. `added` are the added tokens of its `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] naming the file and the key.
    pub fn read(folder: &Path, family: Family, added: &Value) -> Result<TokenizerSettings, ModelError> {
        let path = folder.join(CONFIG_FILE);
        let read = Entries::read(&path)?;
        let (is_absent, entries) = (read.is_none(), read.unwrap_or_default());
        let class = TokenizerClass::of(folder, family, &entries)?;
        let in_file = tokens_in_file(added).map_err(|error| ModelError::Tokenizer {
            path: folder.join(TOKENIZER_FILE),
            message: format!("added_tokens: {error}"),
        })?;
        let tokens = in_file.iter().map(|(_, token)| Spelling::Flagged(token.clone())).collect();
        let mut settings = TokenizerSettings {
            class,
            path,
            is_absent,
            entries,
            own_names: Vec::new(),
            added: BTreeMap::new(),
            in_file: tokens,
        };
        settings.name_extra_tokens();
        match settings.entries.get("added_tokens_decoder").cloned() {
            Some(tokens) => settings.added = settings.listed_tokens(tokens)?,
            None => settings.read_older_files(folder, in_file)?,
        }
        Ok(settings)
    }

    /// Gives the additional tokens their newer name, and sorts out the tokens under names of their own.
    fn name_extra_tokens(&mut self) {
        let named = self.entries.get("extra_special_tokens").is_some_and(|value| !is_empty(value));
        if !named && let Some(tokens) = self.entries.take("additional_special_tokens") {
            self.entries.set("extra_special_tokens", tokens);
        }
        let own = |(key, value): &(String, Value)| is_own_name(key) && value.is_string();
        let (own_names, rest) = std::mem::take(&mut self.entries.0).into_iter().partition(own);
        self.own_names = own_names;
        self.entries.0 = rest;
        self.name_tokens_of_a_mapping();
    }

    fn name_tokens_of_a_mapping(&mut self) {
        if let Some(Value::Object(tokens)) = self.entries.get("extra_special_tokens") {
            self.own_names.extend(tokens.clone());
            self.entries.take("extra_special_tokens");
        }
        if let Some(Value::Object(tokens)) = self.entries.get(SPECIFIC_TOKENS).cloned() {
            self.entries.take(SPECIFIC_TOKENS);
            // Tokens under names of their own stand in the place of this mapping.
            if self.own_names.is_empty() {
                self.own_names.extend(tokens);
            }
        }
    }

    /// `added_tokens_decoder`: tokens by id.
    fn listed_tokens(&self, tokens: Value) -> Result<BTreeMap<i64, FlaggedToken>, ModelError> {
        let read: Result<BTreeMap<i64, FlaggedToken>, _> = serde_json::from_value(tokens);
        read.map_err(|error| self.refused("added_tokens_decoder", &format!("{error}; correct the key or remove it")))
    }

    /// Without `added_tokens_decoder`, the tokens come from the files of earlier versions and from `tokenizer.json`.
    fn read_older_files(&mut self, folder: &Path, in_file: Vec<(i64, FlaggedToken)>) -> Result<(), ModelError> {
        let path = folder.join(SPECIAL_TOKENS_FILE);
        let mut flagged = Vec::new();
        for (key, value) in Entries::read(&path)?.unwrap_or_default().0 {
            flagged.push(key.clone());
            let value = match value {
                Value::Object(_) if key != "extra_special_tokens" => special(value),
                Value::Array(tokens) if key == "extra_special_tokens" => self.with_extra_tokens(tokens),
                value => value,
            };
            self.entries.set(&key, value);
        }
        self.name_tokens_of_a_mapping();
        let path = folder.join(ADDED_TOKENS_FILE);
        let specials = self.special_contents(&flagged);
        for (content, id) in Entries::read(&path)?.unwrap_or_default().0 {
            let Some(id) = id.as_i64() else {
                return Err(ModelError::Tokenizer {
                    path,
                    message: format!("`{content}` has no whole number as its id"),
                });
            };
            let special = specials.contains(&content);
            self.added.insert(id, FlaggedToken { normalized: Some(!special), ..FlaggedToken::plain(content, special) });
        }
        self.added.extend(in_file);
        Ok(())
    }

    fn with_extra_tokens(&self, tokens: Vec<Value>) -> Value {
        let mut all = match self.entries.get("extra_special_tokens") {
            Some(Value::Array(known)) => known.clone(),
            _ => Vec::new(),
        };
        for token in tokens.into_iter().map(|token| if token.is_object() { special(token) } else { token }) {
            if !all.contains(&token) {
                all.push(token);
            }
        }
        Value::Array(all)
    }

    /// Texts of the special tokens that the files name, as transformers sees them at this point: a token with flags counts only
    /// under one of the keys `flagged`.
    fn special_contents(&self, flagged: &[String]) -> Vec<String> {
        let of = |key: &str| {
            let values = match self.entries.get(key) {
                Some(Value::Array(tokens)) => &tokens[..],
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            let counts = |value: &&Value| value.is_string() || flagged.iter().any(|name| name == key);
            values.iter().filter(counts).filter_map(Spelling::of).collect::<Vec<_>>()
        };
        let keys = NAMED.into_iter().chain(["extra_special_tokens"]);
        keys.flat_map(of).map(|token| token.content().to_owned()).collect()
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Whether there is no `tokenizer_config.json`.
    pub fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// A switch.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it is neither true nor false.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.entries.get(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => {
                Err(self.refused(key, &format!("{other} is neither true nor false; correct the key or remove it")))
            }
        }
    }

    /// A switch that may be left open.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it is neither true, false nor null.
    pub fn open_flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.entries.get(key) {
            Some(Value::Null) => Ok(None),
            found => found.map(|_| self.flag(key, false)).transpose(),
        }
    }

    /// Tokens of the longest sequence; `None` without a limit, which transformers writes as 1e30.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it is no number.
    pub fn longest_sequence(&self) -> Result<Option<usize>, ModelError> {
        let key = if self.entries.get("model_max_length").is_some() { "model_max_length" } else { "max_len" };
        match self.entries.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64().filter(|&limit| limit < 1e9).map(|limit| limit as usize)),
            Some(other) => {
                Err(self.refused(key, &format!("{other} is no number of tokens; correct the key or remove it")))
            }
        }
    }

    /// Text of a named special token; `None` where it is null.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it is no token.
    pub fn special_token(&self, name: &str) -> Result<Option<String>, ModelError> {
        Ok(self.named(name)?.map(|token| token.content().to_owned()))
    }

    fn named(&self, name: &str) -> Result<Option<Spelling>, ModelError> {
        match self.entries.get(name) {
            None => {
                let spelling = |content: &str| self.flagged(name, Spelling::Plain(content.to_owned()));
                Ok(self.class.special_token(name).map(spelling))
            }
            Some(Value::Null) => Ok(None),
            Some(value) => Ok(Some(self.flagged(name, self.spelling(name, value)?))),
        }
    }

    /// The token with the flags that its class gives to a plain one.
    fn flagged(&self, name: &str, spelling: Spelling) -> Spelling {
        match spelling {
            Spelling::Plain(content) if self.class.strips_before(name) => {
                Spelling::Flagged(FlaggedToken { lstrip: true, ..FlaggedToken::plain(content, true) })
            }
            spelling => spelling,
        }
    }

    fn spelling(&self, key: &str, value: &Value) -> Result<Spelling, ModelError> {
        Spelling::of(value)
            .ok_or_else(|| self.refused(key, &format!("{value} is no token; correct the key or remove it")))
    }

    /// All added tokens in order, each once. Of a token that comes with different flags, the last one counts, as it does in the
    /// library's version 0.23, but it stays special.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] naming a key that holds no token.
    pub fn added_tokens(&self) -> Result<Vec<AddedToken>, ModelError> {
        let specials = self.special_tokens()?;
        let named: Vec<&str> = specials.named.iter().map(Spelling::content).collect();
        let in_file = if self.class == TokenizerClass::General { &self.in_file[..] } else { &[] };
        let listed: Vec<Spelling> = self.added.values().cloned().map(Spelling::Flagged).collect();
        let known: Vec<&str> = in_file.iter().chain(&listed).map(Spelling::content).collect();
        let mut new: Vec<&Spelling> = Vec::new();
        for token in specials.named.iter().chain(&specials.extra) {
            if !known.contains(&token.content()) && !new.contains(&token) {
                new.push(token);
            }
        }
        let in_file = in_file.iter().map(|token| token.clone().added(&[]));
        let mut added: Vec<AddedToken> = Vec::new();
        for token in in_file.chain(listed.iter().chain(new).map(|token| token.clone().added(&named))) {
            match added.iter_mut().find(|one| one.content == token.content) {
                Some(one) => *one = AddedToken { special: one.special || token.special, ..token },
                None => added.push(token),
            }
        }
        Ok(added)
    }

    fn special_tokens(&self) -> Result<SpecialTokens, ModelError> {
        let own = self.entries.0.iter().filter(|(key, value)| is_own_name(key) && Spelling::of(value).is_some());
        let mut own_names: Vec<&(String, Value)> = own.collect();
        for named in &self.own_names {
            own_names.retain(|(key, _)| *key != named.0);
            own_names.push(named);
        }
        let mut named = NAMED.iter().filter_map(|name| self.named(name).transpose()).collect::<Result<Vec<_>, _>>()?;
        for (key, value) in own_names {
            named.push(self.spelling(key, value)?);
        }
        if let Some(other) = self.entries.get(SPECIFIC_TOKENS).filter(|value| !value.is_null()) {
            let reason = format!("{other} is no mapping from names to tokens; correct the key or remove it");
            return Err(self.refused(SPECIFIC_TOKENS, &reason));
        }
        let key = "extra_special_tokens";
        let extra = match self.entries.get(key).or(self.entries.get("additional_special_tokens")) {
            None => {
                let tokens = self.class.extra_special_tokens().iter();
                Ok(tokens.map(|&token| Spelling::Plain(token.to_owned())).collect())
            }
            Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(tokens)) => tokens.iter().map(|token| self.spelling(key, token)).collect(),
            Some(other) => {
                Err(self.refused(key, &format!("{other} is no list of tokens; correct the key or remove it")))
            }
        };
        Ok(SpecialTokens { named, extra: extra? })
    }

    /// An error about a key of `tokenizer_config.json`.
    pub fn refused(&self, key: &str, reason: &str) -> ModelError {
        ModelError::Tokenizer { path: self.path.clone(), message: format!("{key}: {reason}") }
    }
}

/// What Python takes for false.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(tokens) => tokens.is_empty(),
        Value::Object(tokens) => tokens.is_empty(),
        _ => false,
    }
}

fn is_own_name(key: &str) -> bool {
    key.ends_with("_token") && !NAMED.contains(&key)
}
