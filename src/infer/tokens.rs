//! Answers that are tokens of the text: the class of each, a masked one, the span of an answer.

use serde::Serialize;

use super::LabelProbability;
use crate::numerics::negative_log_likelihood;

/// The likeliest class of a row of logits with its softmax; `None` where a value is not finite.
pub(super) fn likeliest_class(row: &[f32], label: impl Fn(usize) -> String) -> Option<LabelProbability> {
    if row.iter().any(|logit| !logit.is_finite()) {
        return None;
    }
    let (class, _) = row.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    let probability = (-negative_log_likelihood(row, class as u32)).exp();
    Some(LabelProbability { label: label(class), probability })
}

/// The span of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnswerSpan {
    /// Index of its first token.
    pub start: usize,
    /// Index of its last token.
    pub end: usize,
}

/// The span whose logits of start and end have the largest sum and whose end is not before its start, the first one of a tie.
/// `None` where a value is not finite.
pub(super) fn best_span(logits: &[f32]) -> Option<AnswerSpan> {
    if logits.iter().any(|logit| !logit.is_finite()) {
        return None;
    }
    let (mut start, mut best) = (0, None::<(f32, AnswerSpan)>);
    for (end, row) in logits.chunks_exact(2).enumerate() {
        if row[0] > logits[2 * start] {
            start = end;
        }
        let sum = logits[2 * start] + row[1];
        if best.as_ref().is_none_or(|(most, _)| sum > *most) {
            best = Some((sum, AnswerSpan { start, end }));
        }
    }
    best.map(|(_, span)| span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_where_start_and_end_together_are_largest() {
        let span = |rows: &[[f32; 2]]| best_span(rows.as_flattened()).map(|span| (span.start, span.end));
        assert_eq!(span(&[[0.0, 9.0], [5.0, 0.0], [1.0, 4.5]]), Some((1, 2)), "0 to 0 sums to 9, 1 to 2 to 9.5");
        assert_eq!(span(&[[0.0, 9.0], [5.0, 0.0], [1.0, 3.0]]), Some((0, 0)));
        assert_eq!(span(&[[0.0, f32::NAN]]), None);
    }
}
