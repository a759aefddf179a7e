//! The span that start and end logits answer with, and how near it is to a right one: the rules of SQuAD's evaluation
//! (Rajpurkar et al. 2016, 2018).

use std::collections::BTreeMap;

use crate::input::{RightSpans, SpanTruth};

/// Longest answer, tokens, as in transformers' `run_qa.py`.
const LONGEST_ANSWER: usize = 30;

/// Whether the answer of a row is exactly a right one, and its F1 with the nearest; `None` where a logit that decides is NaN.
/// `values` has the logits of each token: start, end.
pub(super) fn score(values: &[f32], truth: &SpanTruth) -> Option<(bool, f64)> {
    let decides = |token: usize| token == 0 && truth.may_be_none || truth.places[token].is_some();
    if (0..truth.places.len())
        .filter(|&token| decides(token))
        .any(|at| values[2 * at].is_nan() || values[2 * at + 1].is_nan())
    {
        return None;
    }
    let found = best(values, truth);
    Some(match &truth.right {
        RightSpans::Texts { context, answers } => {
            let text: String = found.map_or_else(String::new, |(start, end)| context[start..end].iter().collect());
            let found = normalised(&text);
            let right =
                if answers.is_empty() { vec![vec![]] } else { answers.iter().map(|text| normalised(text)).collect() };
            nearest(right.iter().map(|right| (found == *right, overlap(&found, right))))
        }
        RightSpans::Tokens(right) => {
            let (start, end) = found.unwrap_or((0, 0));
            let none = [(0, 0)];
            let right = if right.is_empty() { &none[..] } else { &right[..] };
            nearest(right.iter().map(|&(first, behind)| {
                let both = end.min(behind).saturating_sub(start.max(first));
                let lengths = (end - start) + (behind - first);
                let f1 = if lengths == 0 { 1.0 } else { 2.0 * both as f64 / lengths as f64 };
                ((start, end) == (first, behind), f1)
            }))
        }
    })
}

fn nearest(scores: impl Iterator<Item = (bool, f64)>) -> (bool, f64) {
    scores.fold((false, 0.0), |(exact, f1), (of, nearer)| (exact || of, f1.max(nearer)))
}

/// The likeliest span: the largest sum of a start's and an end's logit, the end not before the start and not too far behind it.
/// `None` where the first token, which stands for no answer, has a larger one, or where no token has a place in the text.
fn best(values: &[f32], truth: &SpanTruth) -> Option<(usize, usize)> {
    let logits = |token: usize| (values[2 * token], values[2 * token + 1]);
    let mut best: Option<(f32, (usize, usize))> = None;
    for (start, from) in truth.places.iter().enumerate() {
        let Some(from) = from else { continue };
        let ends = truth.places.iter().enumerate().skip(start).take(LONGEST_ANSWER);
        for (end, to) in ends.filter_map(|(end, to)| Some((end, (*to)?))) {
            let sum = logits(start).0 + logits(end).1;
            if best.is_none_or(|(known, _)| sum > known) {
                best = Some((sum, (from.0, to.1)));
            }
        }
    }
    let none = logits(0).0 + logits(0).1;
    best.filter(|(sum, _)| !(truth.may_be_none && none > *sum)).map(|(_, span)| span)
}

/// Words of a text without case, punctuation and articles.
fn normalised(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    plain.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).map(str::to_owned).collect()
}

/// F1 of two bags of words; 1 where both are empty.
fn overlap(found: &[String], right: &[String]) -> f64 {
    if found.is_empty() || right.is_empty() {
        return f64::from(u8::from(found == right));
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    right.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let both = found
        .iter()
        .filter(|word| left.get_mut(word.as_str()).filter(|count| **count > 0).map(|count| *count -= 1).is_some());
    2.0 * both.count() as f64 / (found.len() + right.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[CLS] who [SEP] the cat sat [SEP]`, whose context is `the cat sat`.
    fn truth(answers: &[&str], may_be_none: bool) -> SpanTruth {
        let places = vec![None, None, None, Some((0, 3)), Some((4, 7)), Some((8, 11)), None];
        let context = "the cat sat".chars().collect();
        let answers = answers.iter().map(|text| (*text).to_owned()).collect();
        SpanTruth { places, right: RightSpans::Texts { context, answers }, may_be_none }
    }

    fn score(values: &[f32], truth: &SpanTruth) -> (bool, f64) {
        super::score(values, truth).unwrap()
    }

    /// Logits that are 0 but for these starts and ends.
    fn logits(starts: &[(usize, f32)], ends: &[(usize, f32)]) -> Vec<f32> {
        let mut values = vec![0.0; 14];
        starts.iter().for_each(|&(token, logit)| values[2 * token] = logit);
        ends.iter().for_each(|&(token, logit)| values[2 * token + 1] = logit);
        values
    }

    #[test]
    fn the_likeliest_span_of_the_context_is_compared_with_the_nearest_right_one() {
        let values = logits(&[(3, 1.0)], &[(4, 2.0)]);
        assert_eq!(
            score(&values, &truth(&["sat", "Cat."], false)),
            (true, 1.0),
            "articles and punctuation do not count"
        );
        let (exact, f1) = score(&values, &truth(&["cat sat"], false));
        assert!(!exact && (f1 - 2.0 / 3.0).abs() < 1e-12, "{f1}");
        let outside = logits(&[(1, 9.0), (4, 9.0)], &[(6, 9.0), (3, 5.0), (5, 1.0)]);
        assert_eq!(
            score(&outside, &truth(&["cat sat"], false)),
            (true, 1.0),
            "in the context, the end behind the start"
        );
    }

    /// Where no answer is right, logits that are no numbers must not pass for it.
    #[test]
    fn logits_that_decide_and_are_nan_answer_nothing() {
        let with_nan = |token: usize| {
            let mut values = vec![0.0; 14];
            values[2 * token + 1] = f32::NAN;
            values
        };
        for truth in [truth(&["cat"], false), truth(&[], true)] {
            assert_eq!(super::score(&with_nan(4), &truth), None);
            assert!(super::score(&with_nan(1), &truth).is_some(), "the question's tokens decide nothing");
            assert_eq!(super::score(&with_nan(0), &truth).is_some(), !truth.may_be_none);
        }
    }

    #[test]
    fn no_answer_is_one_where_the_file_has_such_examples() {
        let values = logits(&[(0, 3.0), (3, 1.0)], &[(4, 1.0)]);
        assert_eq!(score(&values, &truth(&[], true)), (true, 1.0));
        assert_eq!(score(&values, &truth(&["cat"], true)), (false, 0.0));
        assert_eq!(score(&values, &truth(&["cat"], false)), (true, 1.0));
        assert_eq!(score(&logits(&[(4, 4.0)], &[]), &truth(&[], true)), (false, 0.0));
    }

    #[test]
    fn spans_of_ids_are_compared_by_tokens() {
        let right = RightSpans::Tokens(vec![(1, 3), (2, 5)]);
        let truth = SpanTruth { places: (0..6).map(|at| Some((at, at + 1))).collect(), right, may_be_none: false };
        let (exact, f1) = score(&logits(&[(2, 2.0)], &[(3, 2.0)]), &truth);
        assert!(!exact && (f1 - 0.8).abs() < 1e-12, "{f1}");
        assert_eq!(score(&logits(&[(1, 2.0)], &[(2, 2.0)]), &truth), (true, 1.0));
    }

    /// SQuAD 1.1's `evaluate-v1.1.py`: `normalize_answer` and `f1_score`.
    #[test]
    fn words_overlap_as_in_squads_program() {
        let f1 = |a: &str, b: &str| overlap(&normalised(a), &normalised(b));
        assert!((f1("the cat the cat sat", "cat sat, sat") - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!(f1("The", "an"), 1.0, "both are empty");
        assert_eq!((f1("dog", "cat"), f1("the", "cat")), (0.0, 0.0));
    }
}
