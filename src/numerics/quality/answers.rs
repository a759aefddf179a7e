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

/// Answers as rows come in; `None` where the head gives none to such examples.
pub(super) struct AnswersSoFar(Option<Answers>);

impl AnswersSoFar {
    pub fn of(truth: &Truth, row: &Row<'_>) -> Self {
        let empty = match (truth, row.kind) {
            (Truth::Class(_), OutputKind::ClassLogits) => Answers::Classes { of: row.width as u32, rows: vec![] },
            (Truth::Classes(_), OutputKind::ClassLogits) => Answers::ClassSets(vec![]),
            (Truth::Number(_), OutputKind::ClassLogits) => Answers::Numbers(vec![]),
            (Truth::TokenClasses(_), OutputKind::TokenClassLogits) => Answers::TokenClasses(vec![]),
            (Truth::Span(_), OutputKind::SpanLogits) => Answers::Spans(vec![]),
            (Truth::MaskedTokens(_), OutputKind::MaskedTokenLogits) => {
                Answers::Likelihoods { masked: true, rows: vec![] }
            }
            (Truth::NextTokens(_), OutputKind::TokenLogits) => Answers::Likelihoods { masked: false, rows: vec![] },
            _ => return AnswersSoFar(None),
        };
        AnswersSoFar(Some(empty))
    }

    pub fn add(&mut self, truth: &Truth, row: &Row<'_>) {
        match (&mut self.0, truth) {
            (Some(Answers::Classes { rows, .. }), Truth::Class(right)) => rows.push((class(row.values), *right)),
            (Some(Answers::ClassSets(rows)), Truth::Classes(right)) => {
                // The sigmoid of a logit is above one half where the logit is above 0.
                let holding = (0..).zip(row.values).filter(|(_, logit)| **logit > 0.0).map(|(class, _)| class);
                let answer = (!row.values.iter().any(|logit| logit.is_nan())).then(|| holding.collect());
                rows.push((answer, right.clone()));
            }
            (Some(Answers::Numbers(rows)), Truth::Number(right)) => {
                let answer = row.values.first().map(|&number| f64::from(number));
                rows.push((answer.filter(|number| number.is_finite()), *right));
            }
            (Some(Answers::TokenClasses(rows)), Truth::TokenClasses(right)) => {
                let scored = row.vectors().zip(right).filter_map(|(logits, right)| Some((class(logits), (*right)?)));
                rows.push(scored.collect::<Vec<ClassAnswer>>());
            }
            (Some(Answers::Likelihoods { rows, .. }), Truth::NextTokens(next)) => {
                rows.push(row.likelihood((0..).zip(next.iter().copied())));
            }
            (Some(Answers::Likelihoods { rows, .. }), Truth::MaskedTokens(masked)) => {
                rows.push(row.likelihood(masked.iter().copied()));
            }
            (Some(Answers::Spans(rows)), Truth::Span(right)) => rows.push(span::score(row.values, right)),
            _ => {}
        }
    }

    pub fn finish(self) -> Option<Answers> {
        self.0.filter(|answers| !answers.is_empty())
    }
}
