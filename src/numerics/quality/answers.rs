//! What a row of outputs answers, and what is right.

use super::{negative_log_likelihood, span};
use crate::graph::OutputKind;
use crate::input::Truth;
use crate::numerics::compare::argmax;
use crate::stats::scores::{Answers, ClassAnswer};

/// The output of one row of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// Its vectors one after the other: one, or one for each token.
    pub values: &'a [f32],
    /// Elements of a vector.
    pub width: usize,
    /// What they are.
    pub kind: OutputKind,
}

impl<'a> Row<'a> {
    fn vectors(self) -> impl Iterator<Item = &'a [f32]> {
        self.values.chunks(self.width)
    }

    /// The mean is over the tokens that have a right one; `None` where a logit is no number.
    fn likelihood(self, right: impl Iterator<Item = (usize, u32)>) -> (Option<f64>, u64) {
        let vector = |at: usize| &self.values[at * self.width..][..self.width];
        let nats: Vec<f64> = right.map(|(at, id)| negative_log_likelihood(vector(at), id)).collect();
        (Some(nats.iter().sum()).filter(|sum: &f64| sum.is_finite()), nats.len() as u64)
    }
}

fn class(logits: &[f32]) -> Option<u32> {
    argmax(logits).and_then(|class| u32::try_from(class).ok())
}

/// Answers as rows come in.
pub(super) struct AnswersSoFar {
    /// `None` where the head gives none to such examples.
    answers: Option<Answers>,
    /// Examples whose outputs are no numbers.
    unanswered: usize,
}

impl AnswersSoFar {
    pub fn of(truth: &Truth, row: &Row<'_>) -> Self {
        let empty = match (truth, row.kind) {
            (Truth::Class(_), OutputKind::ClassLogits) => {
                Answers::Classes { of: row.width as u32, positive: 1, rows: vec![] }
            }
            (Truth::Classes(_), OutputKind::ClassLogits) => Answers::ClassSets(vec![]),
            (Truth::Number(_), OutputKind::ClassLogits) => Answers::Numbers(vec![]),
            (Truth::TokenClasses(_), OutputKind::TokenClassLogits) => Answers::TokenClasses(vec![]),
            (Truth::Span(_), OutputKind::SpanLogits) => Answers::Spans(vec![]),
            (Truth::MaskedTokens(_), OutputKind::MaskedTokenLogits) => {
                Answers::Likelihoods { masked: true, rows: vec![] }
            }
            (Truth::NextTokens(_), OutputKind::TokenLogits) => Answers::Likelihoods { masked: false, rows: vec![] },
            _ => return AnswersSoFar { answers: None, unanswered: 0 },
        };
        AnswersSoFar { answers: Some(empty), unanswered: 0 }
    }

    pub fn add(&mut self, truth: &Truth, row: &Row<'_>) {
        let is_answered = match (&mut self.answers, truth) {
            (Some(Answers::Classes { rows, .. }), Truth::Class(right)) => {
                let answer = class(row.values);
                rows.push((answer, *right));
                answer.is_some()
            }
            (Some(Answers::ClassSets(rows)), Truth::Classes(right)) => {
                // The sigmoid of a logit is above one half where the logit is above 0.
                let holding = (0..).zip(row.values).filter(|(_, logit)| **logit > 0.0).map(|(class, _)| class);
                let is_answered = !row.values.iter().any(|logit| logit.is_nan());
                rows.push((is_answered.then(|| holding.collect()), right.clone()));
                is_answered
            }
            (Some(Answers::Numbers(rows)), Truth::Number(right)) => {
                let answer = row.values.first().map(|&number| f64::from(number)).filter(|number| number.is_finite());
                rows.push((answer, *right));
                answer.is_some()
            }
            (Some(Answers::TokenClasses(rows)), Truth::TokenClasses(right)) => {
                let scored = row.vectors().zip(right).filter_map(|(logits, right)| Some((class(logits), (*right)?)));
                let scored: Vec<ClassAnswer> = scored.collect();
                let is_answered = scored.iter().all(|(answer, _)| answer.is_some());
                rows.push(scored);
                is_answered
            }
            (Some(Answers::Likelihoods { rows, .. }), Truth::NextTokens(_) | Truth::MaskedTokens(_)) => {
                let found = match truth {
                    Truth::MaskedTokens(masked) => row.likelihood(masked.iter().copied()),
                    Truth::NextTokens(next) => row.likelihood((0..).zip(next.iter().copied())),
                    _ => return,
                };
                rows.push(found);
                found.0.is_some()
            }
            (Some(Answers::Spans(rows)), Truth::Span(right)) => {
                let found = span::score(row.values, right);
                rows.push(found.unwrap_or((false, 0.0)));
                found.is_some()
            }
            _ => true,
        };
        self.unanswered += usize::from(!is_answered);
    }

    /// The answers, and how many of them are none, for the outputs are no numbers.
    pub fn finish(self) -> Option<(Answers, usize)> {
        Some((self.answers.filter(|answers| !answers.is_empty())?, self.unanswered))
    }
}
