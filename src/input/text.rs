//! Consecutive windows of a running text.

use std::path::PathBuf;

use super::truth::masked_tokens;
use super::{InputError, InputRow, Truth};
use crate::model::Tokenizer;

/// A text as one stream of tokens. For a model with sentence markers (BERT's `[CLS]` and `[SEP]`), a window begins and ends
/// with them and holds two tokens of text fewer.
#[derive(Debug)]
pub(super) struct Windows {
    path: PathBuf,
    tokens: Vec<u32>,
    markers: Option<(u32, u32)>,
    /// Whether tokens are masked and filled in.
    masks: bool,
}

impl Windows {
    pub fn new(path: PathBuf, text: &str, tokenizer: &Tokenizer, masks: bool) -> Result<Self, InputError> {
        let tokens = tokenizer.running_text(text)?;
        let markers = tokenizer.window_markers()?;
        Ok(Windows { path, tokens, markers, masks })
    }

    /// Tokens of text per window.
    fn step(&self, sequence: usize) -> usize {
        match self.markers {
            Some(_) => sequence.saturating_sub(2),
            None => sequence,
        }
    }

    /// Windows in the text. Without markers each also has a next token to predict.
    pub fn len(&self, sequence: usize) -> usize {
        let usable = if self.markers.is_some() { self.tokens.len() } else { self.tokens.len().saturating_sub(1) };
        usable.checked_div(self.step(sequence)).unwrap_or(0)
    }

    pub fn row(&self, sequence: usize, index: usize) -> Result<InputRow, InputError> {
        let (step, count) = (self.step(sequence), self.len(sequence));
        if count == 0 {
            let needed = if self.markers.is_some() { step.max(1) } else { sequence + 1 };
            return Err(InputError::Short { path: self.path.clone(), tokens: self.tokens.len(), sequence, needed });
        }
        let start = index % count * step;
        let window = &self.tokens[start..start + step];
        Ok(match self.markers {
            Some((first, last)) => {
                let ids: Vec<u32> = std::iter::once(first).chain(window.iter().copied()).chain([last]).collect();
                let text: Vec<usize> = (1..=step).collect();
                let truth = if self.masks { masked_tokens(&ids, &text, index % count) } else { None };
                InputRow { ids, truth, ..InputRow::default() }
            }
            None => {
                let next = self.tokens[start + 1..=start + step].to_vec();
                InputRow { ids: window.to_vec(), truth: Some(Truth::NextTokens(next)), ..InputRow::default() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(markers: Option<(u32, u32)>) -> Windows {
        Windows { path: "text".into(), tokens: (10..20).collect(), markers, masks: false }
    }

    #[test]
    fn windows_follow_each_other_and_know_the_next_token() {
        let windows = windows(None);
        assert_eq!(windows.len(4), 2);
        let row = windows.row(4, 1).unwrap();
        assert_eq!(row.ids, [14, 15, 16, 17]);
        assert_eq!(row.truth, Some(Truth::NextTokens(vec![15, 16, 17, 18])));
        assert_eq!(windows.row(4, 2).unwrap(), windows.row(4, 0).unwrap(), "wraps around");
    }

    #[test]
    fn sentence_markers_take_two_places() {
        let windows = windows(Some((1, 2)));
        assert_eq!(windows.row(5, 1).unwrap().ids, [1, 13, 14, 15, 2]);
        let masked = Windows { masks: true, ..windows }.row(5, 1).unwrap().truth;
        let Some(Truth::MaskedTokens(tokens)) = masked else { panic!("{masked:?}") };
        assert!(tokens.len() == 1 && (1..4).contains(&tokens[0].0), "no marker is masked: {tokens:?}");
        let windows = self::windows(Some((1, 2)));
        assert_eq!(windows.len(2), 0, "no room for text");
        assert!(windows.row(2, 0).is_err());
    }

    #[test]
    fn too_short_a_text_says_what_it_needs() {
        let error = windows(None).row(10, 0).unwrap_err().to_string();
        assert!(error.contains("holds 10 tokens") && error.contains("needs 11"), "{error}");
    }
}
