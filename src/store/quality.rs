//! The columns of a model's answers to examples and of their scores.

use super::answers;
use super::schema::ResultRow;
use crate::input::label_text;
use crate::record::QualitySummary;
use crate::stats::Interval;
use crate::stats::scores::{Score, ScoreEstimate};

/// Fills the columns of answers and scores.
pub(super) fn with_quality(row: ResultRow, quality: &QualitySummary) -> ResultRow {
    let accuracy = |(correct, total): (u64, u64)| (total > 0).then(|| correct as f64 / total as f64);
    let row = with_scores(row, quality);
    ResultRow {
        task_correct: quality.task_correct,
        task_total: quality.task_total,
        task_accuracy: quality.task_correct.zip(quality.task_total).and_then(accuracy),
        task_predictions: quality.predicted().as_deref().map(answers::to_text),
        labels: quality.labels.as_deref().map(label_text),
        nll_mean: quality.nll_mean,
        nll_tokens: quality.nll_tokens,
        perplexity: quality.nll_mean.map(f64::exp).filter(|perplexity| perplexity.is_finite()),
        ..row
    }
}

fn with_scores(row: ResultRow, quality: &QualitySummary) -> ResultRow {
    let estimate = |score| quality.scores.iter().find(|estimate| estimate.score == score);
    let value = |score| estimate(score).map(|estimate| estimate.value);
    let low = |score| Some(estimate(score)?.interval?.low);
    let high = |score| Some(estimate(score)?.interval?.high);
    ResultRow {
        task_answers: quality.answers.as_ref().and_then(|answers| serde_json::to_string(answers).ok()),
        task_accuracy_low: low(Score::Accuracy),
        task_accuracy_high: high(Score::Accuracy),
        task_f1: value(Score::F1),
        task_f1_low: low(Score::F1),
        task_f1_high: high(Score::F1),
        task_f1_macro: value(Score::F1Macro),
        task_f1_macro_low: low(Score::F1Macro),
        task_f1_macro_high: high(Score::F1Macro),
        task_f1_micro: value(Score::F1Micro),
        task_f1_micro_low: low(Score::F1Micro),
        task_f1_micro_high: high(Score::F1Micro),
        task_matthews: value(Score::Matthews),
        task_matthews_low: low(Score::Matthews),
        task_matthews_high: high(Score::Matthews),
        task_subset_accuracy: value(Score::SubsetAccuracy),
        task_subset_accuracy_low: low(Score::SubsetAccuracy),
        task_subset_accuracy_high: high(Score::SubsetAccuracy),
        task_pearson: value(Score::Pearson),
        task_pearson_low: low(Score::Pearson),
        task_pearson_high: high(Score::Pearson),
        task_spearman: value(Score::Spearman),
        task_spearman_low: low(Score::Spearman),
        task_spearman_high: high(Score::Spearman),
        task_exact_match: value(Score::ExactMatch),
        task_exact_match_low: low(Score::ExactMatch),
        task_exact_match_high: high(Score::ExactMatch),
        task_span_f1: value(Score::SpanF1),
        task_span_f1_low: low(Score::SpanF1),
        task_span_f1_high: high(Score::SpanF1),
        pseudo_perplexity: value(Score::PseudoPerplexity),
        pseudo_perplexity_low: low(Score::PseudoPerplexity),
        pseudo_perplexity_high: high(Score::PseudoPerplexity),
        perplexity_low: low(Score::Perplexity),
        perplexity_high: high(Score::Perplexity),
        ..row
    }
}

impl ResultRow {
    /// A score with its interval, from its columns.
    pub fn score(&self, score: Score) -> Option<ScoreEstimate> {
        let (value, low, high) = match score {
            Score::Accuracy => (self.task_accuracy, self.task_accuracy_low, self.task_accuracy_high),
            Score::F1 => (self.task_f1, self.task_f1_low, self.task_f1_high),
            Score::F1Macro => (self.task_f1_macro, self.task_f1_macro_low, self.task_f1_macro_high),
            Score::F1Micro => (self.task_f1_micro, self.task_f1_micro_low, self.task_f1_micro_high),
            Score::Matthews => (self.task_matthews, self.task_matthews_low, self.task_matthews_high),
            Score::SubsetAccuracy => {
                (self.task_subset_accuracy, self.task_subset_accuracy_low, self.task_subset_accuracy_high)
            }
            Score::Pearson => (self.task_pearson, self.task_pearson_low, self.task_pearson_high),
            Score::Spearman => (self.task_spearman, self.task_spearman_low, self.task_spearman_high),
            Score::ExactMatch => (self.task_exact_match, self.task_exact_match_low, self.task_exact_match_high),
            Score::SpanF1 => (self.task_span_f1, self.task_span_f1_low, self.task_span_f1_high),
            Score::Perplexity => (self.perplexity, self.perplexity_low, self.perplexity_high),
            Score::PseudoPerplexity => {
                (self.pseudo_perplexity, self.pseudo_perplexity_low, self.pseudo_perplexity_high)
            }
        };
        let interval = low.zip(high).map(|(low, high)| Interval { low, high });
        Some(ScoreEstimate { score, value: value?, interval })
    }
}
