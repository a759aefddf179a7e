//! Task quality of an engine: its answers to examples, or the likelihood of a text, with their scores.

mod answers;
mod span;

use super::NumericsError;
use crate::engine::{Engine, Output};
use crate::graph::Shape;
use crate::input::{Batch, InputStream, positive_class};
use crate::manifest::schema::Numerics;
use crate::record::{NOT_SCORED, QualitySummary};
use crate::stats::scores::Answers;
use answers::AnswersSoFar;

/// Seed of the bootstrap of a score.
const SCORE_SEED: u64 = 2603;

/// Task quality, and what readers of its scores must know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// The scores; empty where the outputs answer nothing.
    pub quality: QualitySummary,
    /// Which outputs are no numbers; `None` where all are.
    pub remark: Option<String>,
}

/// Scores the engine on its input: over a whole file of examples, or over the first `settings.score_windows` windows of a text.
/// Other inputs are not scored.
///
/// # Errors
/// [`NumericsError`] when the engine or the input fails, or when the examples do not fit the head of the model.
pub fn evaluate(
    engine: &mut dyn Engine,
    input: &InputStream,
    shape: Shape,
    settings: Numerics,
) -> Result<Evaluation, NumericsError> {
    let unscored = Ok(Evaluation::default());
    let Some(rows) = input.len(shape.sequence) else { return unscored };
    let labels = input.labels().transpose().map_err(|reason| NumericsError::Labels(reason.to_owned()))?;
    let rows = if input.is_text() { rows.min(settings.score_windows) } else { rows };
    let is_text_to_score = input.is_text() && rows > 0 && input.batch(shape, 0)?.truths.iter().any(Option::is_some);
    if labels.is_none() && !is_text_to_score {
        return unscored;
    }
    let mut found: Option<AnswersSoFar> = None;
    each_batch(engine, input, shape, rows, |batch, output, counted| {
        let of_row = output.values.len() / shape.batch;
        for (row, truth) in batch.truths.iter().enumerate().take(counted) {
            let Some(truth) = truth else { continue };
            let row = answers::Row {
                values: &output.values[row * of_row..][..of_row],
                width: output.width,
                kind: output.kind,
            };
            found.get_or_insert_with(|| AnswersSoFar::of(truth, &row)).add(truth, &row);
        }
    })?;
    let Some((mut answers, unanswered)) = found.and_then(AnswersSoFar::finish) else { return unscored };
    if let Answers::Classes { of: 2, positive, .. } = &mut answers
        && let Some(class) = labels.and_then(positive_class)
    {
        *positive = class;
    }
    let remark = unanswered_remark(&answers, unanswered).or_else(|| constant_remark(&answers));
    let is_scored = remark.as_ref().is_none_or(|remark| !remark.starts_with(NOT_SCORED));
    // The table of perplexities lists a text that has none, with the tokens that were tried.
    let quality = match is_scored || matches!(answers, Answers::Likelihoods { .. }) {
        true => summary(answers, labels.map(<[_]>::to_vec).filter(|labels| !labels.is_empty())),
        false => QualitySummary::default(),
    };
    Ok(Evaluation { quality, remark })
}

/// What a reader must know of answers that are none. A share counts them as wrong, unless none is an answer; a correlation and
/// a likelihood are undefined.
fn unanswered_remark(answers: &Answers, unanswered: usize) -> Option<String> {
    let all = answers.len();
    let is_share = !matches!(answers, Answers::Numbers(_) | Answers::Likelihoods { .. });
    match unanswered {
        0 => None,
        _ if is_share && unanswered < all => {
            Some(format!("the outputs for {unanswered} of {all} examples are not finite, so they count as wrong"))
        }
        _ => Some(format!("{NOT_SCORED}the outputs for {unanswered} of {all} examples are not finite")),
    }
}

/// The scores of answers, and the numbers that have columns of their own.
fn summary(answers: Answers, labels: Option<Vec<crate::input::LabelledClass>>) -> QualitySummary {
    let scores = answers.estimates(SCORE_SEED);
    let mut quality = QualitySummary { labels, scores, ..QualitySummary::default() };
    let right = |of: &(Option<u32>, u32)| of.0 == Some(of.1);
    match &answers {
        Answers::Classes { rows, .. } => {
            quality.task_correct = Some(rows.iter().filter(|row| right(row)).count() as u64);
            quality.task_total = Some(rows.len() as u64);
        }
        Answers::TokenClasses(rows) => {
            let tokens = || rows.iter().flatten();
            quality.task_correct = Some(tokens().filter(|row| right(row)).count() as u64);
            quality.task_total = Some(tokens().count() as u64);
        }
        Answers::Likelihoods { masked: false, rows } => {
            let tokens = rows.iter().map(|(_, tokens)| tokens).sum::<u64>();
            let nats = rows.iter().map(|(nats, _)| *nats).sum::<Option<f64>>();
            quality.nll_mean = nats.map(|nats| nats / tokens as f64).filter(|mean| mean.is_finite());
            quality.nll_tokens = Some(tokens);
        }
        Answers::ClassSets(_) | Answers::Numbers(_) | Answers::Spans(_) | Answers::Likelihoods { masked: true, .. } => {
        }
    }
    QualitySummary { answers: Some(answers), ..quality }
}

/// Runs rows `0..rows` batch by batch. `visit` receives each batch, its output and the number of its rows that count.
fn each_batch(
    engine: &mut dyn Engine,
    input: &InputStream,
    shape: Shape,
    rows: usize,
    mut visit: impl FnMut(&Batch, &Output, usize),
) -> Result<(), NumericsError> {
    for first in (0..rows).step_by(shape.batch) {
        let batch = input.batch(shape, first)?;
        engine.bind(&input.masked(&batch))?;
        engine.enqueue()?;
        engine.synchronize()?;
        visit(&batch, &engine.outputs()?, shape.batch.min(rows - first));
    }
    Ok(())
}

/// `-ln softmax(logits)[id]` in nats, summed in f64. Over 50257 logits, a narrower sum would dominate the measured
/// error.
pub fn negative_log_likelihood(logits: &[f32], id: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    total.ln() - f64::from(logits[id as usize] - largest)
}

/// Why numbers that do not vary have no correlation.
fn constant_remark(answers: &Answers) -> Option<String> {
    let Answers::Numbers(rows) = answers else { return None };
    let (answered, right): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let what = match (answered.windows(2).all(|two| two[0] == two[1]), right.windows(2).all(|two| two[0] == two[1])) {
        (true, _) => "the answers are all the same",
        (_, true) => "the labels are all the same",
        _ => return None,
    };
    Some(format!("{NOT_SCORED}{what}, so they have no correlation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_none_are_told_and_decide_whether_there_is_a_score() {
        let share = Answers::Classes { of: 2, positive: 1, rows: vec![(Some(1), 1), (None, 0), (None, 1)] };
        let numbers = Answers::Numbers(vec![(Some(0.5), 1.0), (None, 0.0)]);
        let remark = |answers, unanswered| unanswered_remark(answers, unanswered).unwrap_or_default();
        assert_eq!((remark(&share, 0), remark(&numbers, 0)), (String::new(), String::new()));
        assert_eq!(remark(&share, 2), "the outputs for 2 of 3 examples are not finite, so they count as wrong");
        assert_eq!(remark(&share, 3), "not scored: the outputs for 3 of 3 examples are not finite");
        assert_eq!(remark(&numbers, 1), "not scored: the outputs for 1 of 2 examples are not finite");
    }

    #[test]
    fn numbers_that_do_not_vary_are_told() {
        let of = |rows: &[(f64, f64)]| {
            constant_remark(&Answers::Numbers(rows.iter().map(|&(answer, right)| (Some(answer), right)).collect()))
        };
        let same = |what: &str| Some(format!("not scored: the {what} are all the same, so they have no correlation"));
        assert_eq!(of(&[(0.5, 1.0), (0.5, 2.0)]), same("answers"));
        assert_eq!((of(&[(0.5, 1.0), (0.6, 1.0)]), of(&[(0.5, 1.0), (0.6, 2.0)])), (same("labels"), None));
    }

    #[test]
    fn likelihood_of_known_distributions() {
        assert!((negative_log_likelihood(&[0.0; 8], 3) - 8f64.ln()).abs() < 1e-12);
        assert!((negative_log_likelihood(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
        assert!(negative_log_likelihood(&[f32::NAN, 0.0], 1).is_nan());
    }
}
