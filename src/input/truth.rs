//! What a row is scored against.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Share of a row's tokens of text that are masked for pseudo-perplexity, as in BERT's training (Devlin et al. 2019).
pub const MASKED_SHARE: f64 = 0.15;

/// Seed of the draw of masked tokens: every run and every policy masks the same ones.
const MASK_SEED: u64 = 15;

/// What is right for one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Its class.
    Class(u32),
    /// The classes that hold, any number of them.
    Classes(Vec<u32>),
    /// Its number.
    Number(f64),
    /// Class of each of its tokens; `None` of those that are not scored.
    TokenClasses(Vec<Option<u32>>),
    /// The token that follows each of its first tokens.
    NextTokens(Vec<u32>),
    /// The tokens to mask, which the model fills in: position and id.
    MaskedTokens(Vec<(usize, u32)>),
    /// The part of it that answers a question.
    Span(SpanTruth),
}

/// A right answer within a row, and where one may lie.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanTruth {
    /// Of each token, the characters of the context that it stands for, or itself in a row of ids: first, and behind the last.
    /// `None` of a token that no answer may begin or end with.
    pub places: Vec<Option<(usize, usize)>>,
    /// The right answers; none where the row has no answer.
    pub right: RightSpans,
    /// Whether the model may say that there is no answer, by the first token.
    pub may_be_none: bool,
}

/// Right answers.
#[derive(Debug, Clone, PartialEq)]
pub enum RightSpans {
    /// Parts of a context.
    Texts {
        /// The characters of the context.
        context: Arc<[char]>,
        /// The answers.
        answers: Vec<String>,
    },
    /// Ranges of tokens: first, and behind the last.
    Tokens(Vec<(usize, usize)>),
}

/// The tokens of row `index` to mask, drawn from the positions of its tokens of text: [`MASKED_SHARE`] of them, at least one. The
/// same row of the same length has the same ones. `None` where there is nothing to mask.
pub(super) fn masked_tokens(ids: &[u32], text: &[usize], index: usize) -> Option<Truth> {
    let count = ((MASKED_SHARE * text.len() as f64).round() as usize).max(1);
    if text.is_empty() {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(MASK_SEED);
    rng.set_stream(index as u64);
    let mut positions = text.to_vec();
    // The first steps of a shuffle (Fisher and Yates 1938) draw without replacement.
    for place in 0..count {
        let left = (positions.len() - place) as u64;
        let other = place + ((u64::from(rng.next_u32()) * left) >> 32) as usize;
        positions.swap(place, other);
    }
    positions.truncate(count);
    positions.sort_unstable();
    Some(Truth::MaskedTokens(positions.into_iter().map(|position| (position, ids[position])).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(index: usize, text: &[usize]) -> Vec<usize> {
        let ids: Vec<u32> = (100..200).collect();
        match masked_tokens(&ids, text, index) {
            Some(Truth::MaskedTokens(tokens)) => {
                assert!(tokens.iter().all(|&(position, id)| id == ids[position]));
                tokens.into_iter().map(|(position, _)| position).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_share_of_the_text_is_masked_and_every_token_as_often() {
        let text: Vec<usize> = (1..41).collect();
        let mut often = [0; 100];
        for index in 0..4000 {
            let masked = positions(index, &text);
            assert_eq!(masked, positions(index, &text), "the same each time");
            assert_eq!(masked.len(), 6, "15 % of 40");
            assert!(masked.is_sorted_by(|a, b| a < b));
            masked.iter().for_each(|&position| often[position] += 1);
        }
        assert!(often[..1].iter().chain(&often[41..]).all(|count| *count == 0));
        // 4000 draws of 15 %: 600, with a standard deviation of 23.
        assert!(often[1..41].iter().all(|count| (490..710).contains(count)), "{often:?}");
        assert_eq!(positions(3, &[7]), [7], "at least one");
        assert_eq!(masked_tokens(&[1], &[], 0), None);
    }
}
