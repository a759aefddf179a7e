//! Task quality of an engine: its answers to examples, or the likelihood of a text, with their scores.

mod answers;
mod span;

use super::NumericsError;
use crate::engine::{Engine, Output};
use crate::graph::Shape;
use crate::input::{Batch, InputStream};
use crate::manifest::schema::Numerics;
use crate::record::QualitySummary;
use crate::stats::scores::Answers;
use answers::AnswersSoFar;

/// Seed of the bootstrap of a score.
const SCORE_SEED: u64 = 2603;

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
) -> Result<QualitySummary, NumericsError> {
    let Some(rows) = input.len(shape.sequence) else { return Ok(QualitySummary::default()) };
    let labels = input.labels().transpose().map_err(|reason| NumericsError::Labels(reason.to_owned()))?;
    let rows = if input.is_text() { rows.min(settings.score_windows) } else { rows };
    let is_text_to_score = input.is_text() && rows > 0 && input.batch(shape, 0)?.truths.iter().any(Option::is_some);
    if labels.is_none() && !is_text_to_score {
        return Ok(QualitySummary::default());
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
    let Some(answers) = found.and_then(AnswersSoFar::finish) else { return Ok(QualitySummary::default()) };
    Ok(summary(answers, labels.map(<[_]>::to_vec).filter(|labels| !labels.is_empty())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihood_of_known_distributions() {
        assert!((negative_log_likelihood(&[0.0; 8], 3) - 8f64.ln()).abs() < 1e-12);
        assert!((negative_log_likelihood(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
        assert!(negative_log_likelihood(&[f32::NAN, 0.0], 1).is_nan());
    }
}
