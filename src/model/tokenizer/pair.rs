//! Texts and pairs of texts as rows for a model: cut to a length as transformers cuts them, between the special tokens, with
//! the type of each token.

use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};
use tokenizers::{Encoding, PostProcessor};

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
