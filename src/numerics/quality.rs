//! Task quality of an engine: accuracy over labelled sentences, likelihood of a running text.

use super::NumericsError;
use super::compare::argmax;
use crate::engine::{Engine, Output};
use crate::graph::{OutputKind, Shape};
use crate::input::{Batch, InputStream, LabelledClass};
use crate::manifest::schema::Numerics;
use crate::record::QualitySummary;

/// Scores the engine on its input: accuracy over a whole labelled file, or mean NLL over the first
/// `settings.score_windows` windows of a text. Other inputs are not scored.
///
/// # Errors
/// [`NumericsError`] when the engine or the input fails, or when the labels of the file are no classes of the model.
pub fn evaluate(
    engine: &mut dyn Engine,
    input: &InputStream,
    shape: Shape,
    settings: Numerics,
) -> Result<QualitySummary, NumericsError> {
    let Some(rows) = input.len(shape.sequence) else { return Ok(QualitySummary::default()) };
    if let Some(labels) = input.labels() {
        let labels = labels.map_err(|reason| NumericsError::Labels(reason.to_owned()))?;
        return accuracy(engine, (input, labels), shape, rows);
    }
    let first = input.batch(shape, 0)?;
    if first.next_ids.is_some() && settings.score_windows > 0 {
        return likelihood(engine, input, shape, rows.min(settings.score_windows));
    }
    Ok(QualitySummary::default())
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
        engine.bind(&batch)?;
        engine.enqueue()?;
        engine.synchronize()?;
        visit(&batch, &engine.outputs()?, shape.batch.min(rows - first));
    }
    Ok(())
}

fn accuracy(
    engine: &mut dyn Engine,
    (input, labels): (&InputStream, &[LabelledClass]),
    shape: Shape,
    rows: usize,
) -> Result<QualitySummary, NumericsError> {
    let mut predictions = Vec::with_capacity(rows);
    let mut correct = 0;
    each_batch(engine, input, shape, rows, |batch, output, counted| {
        let classes = batch.labels.iter().flatten();
        for (logits, class) in output.values.chunks(output.width).zip(classes).take(counted) {
            let prediction = argmax(logits).and_then(|class| u32::try_from(class).ok());
            correct += u64::from(prediction == Some(*class));
            predictions.push(prediction);
        }
    })?;
    Ok(QualitySummary {
        task_correct: Some(correct),
        task_total: Some(rows as u64),
        answers: Some(predictions),
        labels: Some(labels.to_vec()),
        ..QualitySummary::default()
    })
}

fn likelihood(
    engine: &mut dyn Engine,
    input: &InputStream,
    shape: Shape,
    rows: usize,
) -> Result<QualitySummary, NumericsError> {
    let (mut sum, mut tokens, mut is_language_model) = (0f64, 0u64, true);
    each_batch(engine, input, shape, rows, |batch, output, counted| {
        is_language_model &= output.kind == OutputKind::TokenLogits;
        let next = batch.next_ids.iter().flatten();
        for (logits, &next) in output.values.chunks(output.width).zip(next).take(counted * shape.sequence) {
            sum += negative_log_likelihood(logits, next);
            tokens += 1;
        }
    })?;
    if !is_language_model {
        return Ok(QualitySummary::default());
    }
    let nll_mean = Some(sum / tokens as f64).filter(|mean| mean.is_finite());
    Ok(QualitySummary { nll_mean, nll_tokens: Some(tokens), ..QualitySummary::default() })
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
