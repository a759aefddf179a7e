//! Texts and pairs of texts as rows for a model: cut to a length as transformers cuts them, between the special tokens, with
//! the type of each token.

use serde_json::{Value, json};
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};
use tokenizers::{Encoding, PostProcessor};

use super::class::TokenizerClass;
use super::settings::TokenizerSettings;
use super::{ModelError, Tokenizer};
use crate::panics::catch;

/// A text as tokens, without special tokens around it.
#[derive(Debug, Clone)]
pub struct TokenizedText {
    ids: Vec<u32>,
    /// Characters of the text that each token stands for: first and end.
    offsets: Vec<(usize, usize)>,
}

/// Where a token of a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPlace {
    /// 0 of the first text, 1 of its pair.
    pub text: usize,
    /// First character, from 0.
    pub start: usize,
    /// The character behind the last.
    pub end: usize,
}

/// One row: a text or a pair between special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramedText {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Type of each token; empty where transformers gives the model none.
    pub types: Vec<u32>,
    /// Place of each token; `None` of one that the tokenizer put in.
    pub places: Vec<Option<TokenPlace>>,
}

impl TokenizedText {
    fn encoding(&self) -> Encoding {
        let zeros = vec![0; self.ids.len()];
        Encoding::new(
            self.ids.clone(),
            zeros.clone(),
            vec![String::new(); self.ids.len()],
            vec![None; self.ids.len()],
            self.offsets.clone(),
            zeros,
            vec![1; self.ids.len()],
            Vec::new(),
            Default::default(),
        )
    }
}

impl TokenizerSettings {
    /// Whether transformers gives the model the types of tokens: where `model_input_names` says so, and without the key for the
    /// classes that do, BERT's but for DistilBERT's.
    pub fn gives_token_types(&self) -> bool {
        let distilbert = |class: &Value| class.as_str().is_some_and(|class| class.starts_with("DistilBert"));
        match self.value("model_input_names").and_then(Value::as_array) {
            Some(names) => names.contains(&json!("token_type_ids")),
            None => self.class == TokenizerClass::Bert && !self.value("tokenizer_class").is_some_and(distilbert),
        }
    }

    /// The id of the token that stands for a masked one.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] for a `mask_token` that is no token.
    pub fn mask_id(&self, tokenizer: &tokenizers::Tokenizer) -> Result<Option<u32>, ModelError> {
        Ok(self.special_token("mask_token")?.and_then(|token| tokenizer.token_to_id(&token)))
    }

    /// Whether a long text loses its beginning, not its end.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] for another value of the key.
    pub fn cuts_left(&self) -> Result<bool, ModelError> {
        match self.value("truncation_side").map(Value::as_str) {
            None | Some(Some("right")) => Ok(false),
            Some(Some("left")) => Ok(true),
            Some(_) => Err(self.refused("truncation_side", "it is neither `right` nor `left`; correct the key")),
        }
    }
}

impl Tokenizer {
    /// The tokens of `text` without special tokens around it.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn tokenized(&self, text: &str) -> Result<TokenizedText, ModelError> {
        let encoding = self.caught(|| self.inner.encode_char_offsets(text, false))?;
        self.check_ids(encoding.get_ids())?;
        Ok(TokenizedText { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
    }

    /// Number of special tokens around a text, or around and between two.
    pub fn special_tokens(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair))
    }

    /// A row of a text or a pair, of at most `longest` tokens: the longer text is cut first, as `longest_first` of transformers
    /// does. `None` for a row that is never cut.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`], also where the special tokens leave no room.
    pub fn framed(
        &self,
        text: &TokenizedText,
        pair: Option<&TokenizedText>,
        longest: Option<usize>,
    ) -> Result<FramedText, ModelError> {
        let (mut first, mut second) = (text.encoding(), pair.map(TokenizedText::encoding));
        if let Some(longest) = longest {
            let special = self.special_tokens(pair.is_some());
            let texts = 1 + usize::from(pair.is_some());
            let room = longest.checked_sub(special).filter(|room| *room >= texts).ok_or_else(|| {
                let message = format!(
                    "a sequence of {longest} has no room for {texts} texts beside {special} special tokens; use longer \
                     sequences"
                );
                ModelError::Tokenizer { path: self.path.clone(), message }
            })?;
            let direction = if self.cuts_left { TruncationDirection::Left } else { TruncationDirection::Right };
            let limits = TruncationParams { max_length: room, direction, ..TruncationParams::default() };
            (first, second) = self.caught(|| truncate_encodings(first, second, &limits))?;
        }
        let row = self.caught(|| self.inner.post_process(first, second, true))?;
        self.check_ids(row.get_ids())?;
        let special = row.get_special_tokens_mask();
        let place = |(index, &(start, end)): (usize, &(usize, usize))| {
            let text = row.token_to_sequence(index).filter(|_| special[index] == 0)?;
            Some(TokenPlace { text, start, end })
        };
        let places = row.get_offsets().iter().enumerate().map(place).collect();
        let types = if self.gives_token_types { row.get_type_ids().to_vec() } else { Vec::new() };
        Ok(FramedText { ids: row.get_ids().to_vec(), types, places })
    }

    /// Runs code of the library, whose panics become errors.
    pub(super) fn caught<T>(&self, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, ModelError> {
        let failed = |message: String| ModelError::Tokenizer { path: self.path.clone(), message };
        catch(run).map_err(failed)?.map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FOLDERS, opened};
    use super::*;

    /// What transformers made of pairs; `tests/golden/tokenizers/pairs.py` wrote it.
    #[test]
    fn pairs_are_cut_and_joined_as_in_transformers() {
        let read = |path: &str| serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (folders, recorded) = (read(FOLDERS), read(&FOLDERS.replace("folders", "pairs")));
        let list = |of: &Value| of.as_array().unwrap().clone();
        let (mut cut, mut typed) = (0, 0);
        for case in list(&recorded["cases"]) {
            let folder = tempfile::tempdir().unwrap();
            let tokenizer = opened(folder.path(), &folders, &case).unwrap();
            for (pair, rows) in list(&recorded["pairs"]).iter().zip(list(&case["rows"])) {
                let text = |index: usize| pair[index].as_str().map(|text| tokenizer.tokenized(text).unwrap());
                let (first, second) = (text(0).unwrap(), text(1));
                for (length, row) in list(&recorded["lengths"]).iter().zip(list(&rows)) {
                    let longest = length.as_u64().map(|length| length as usize);
                    let ours = tokenizer.framed(&first, second.as_ref(), longest).unwrap();
                    assert_eq!(json!(ours.ids), row[0], "{pair} {length} {case}");
                    let types = if ours.types.is_empty() { Value::Null } else { json!(ours.types) };
                    assert_eq!(types, row[1], "{pair} {length} {case}");
                    assert_eq!(ours.places.len(), ours.ids.len());
                    cut += usize::from(longest == Some(ours.ids.len()));
                    typed += usize::from(ours.types.contains(&1));
                }
            }
        }
        assert!(cut > 100 && typed > 60, "{cut} {typed}");
    }

    #[test]
    fn a_length_without_room_for_a_token_of_each_text_is_refused() {
        let folders: Value = serde_json::from_str(&std::fs::read_to_string(FOLDERS).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let case = json!({"base": "bert", "tokenizer": {}, "files": {}});
        let tokenizer = opened(folder.path(), &folders, &case).unwrap();
        let text = tokenizer.tokenized("the film").unwrap();
        let error = tokenizer.framed(&text, Some(&text), Some(4)).unwrap_err().to_string();
        assert!(error.contains("a sequence of 4 has no room for 2 texts beside 3 special tokens"), "{error}");
        let row = tokenizer.framed(&text, Some(&text), Some(5)).unwrap();
        let place = |text, start, end| Some(TokenPlace { text, start, end });
        assert_eq!(row.places, [None, place(0, 0, 3), None, place(1, 0, 3), None]);
    }
}
