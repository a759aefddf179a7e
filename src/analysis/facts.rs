//! What one row says, or two rows of one input: labels, sizes, what failed, which answers differ.

use super::pairs::Ranged;
use crate::graph::OutputKind;
use crate::record::NOT_SCORED;
use crate::stats::scores::{Answers, Score};
use crate::store::answers;
use crate::store::schema::ResultRow;

/// `cuda hybrid, bert-base 8×128 random`
pub fn configuration_label(row: &ResultRow) -> String {
    format!("{} {}, {}", row.backend, row.precision, site_label(row))
}

/// `bert-base 8×128 random`: what was computed, without the backend.
pub fn site_label(row: &ResultRow) -> String {
    format!("{} {}×{} {}", row.model, row.batch_size, row.sequence_length, row.input)
}

/// The library that executed a row's engine or, where it was built and not executed, that built it.
pub fn engine_library(row: &ResultRow) -> Option<String> {
    row.engine_library.clone().or_else(|| row.builder.clone())
}

/// Median latency, milliseconds, with its interval.
pub fn latency(row: &ResultRow) -> Option<Ranged> {
    Some((row.latency_p50_ms?, latency_interval(row)))
}

/// The interval of the median latency, where the row has both ends.
pub fn latency_interval(row: &ResultRow) -> Option<(f64, f64)> {
    row.latency_p50_low_ms.zip(row.latency_p50_high_ms)
}

/// Whether the row's weights were drawn, not trained.
pub fn has_random_weights(row: &ResultRow) -> bool {
    row.weights().is_some_and(|weights| weights.is_random())
}

/// Sum of the tensors in the policy's formats.
pub fn computed_bytes(row: &ResultRow) -> Option<u64> {
    Some(row.policy_weights_bytes?.saturating_add(row.policy_activations_bytes?))
}

/// What the engine holds: weights, activations, and scratch as far as it knows it. `None` where the engine does not
/// report its memory.
pub fn engine_bytes(row: &ResultRow) -> Option<u64> {
    let parts = [row.weights_bytes?, row.activations_bytes?, row.workspace_bytes.unwrap_or(0)];
    Some(parts.into_iter().fold(0, u64::saturating_add))
}

/// Whether the compared pass, or any other that was examined, has NaN in its output.
pub fn has_nan(row: &ResultRow) -> bool {
    [row.nan_count, row.nan_forwards].into_iter().flatten().any(|count| count > 0)
}

/// The same for infinities.
pub fn has_infinity(row: &ResultRow) -> bool {
    [row.inf_count, row.inf_forwards].into_iter().flatten().any(|count| count > 0)
}

/// Smallest cosine to the FP32 reference over all examined passes; of the compared sequences of the first pass where older
/// tables know no other. `None` where a pass has NaN or infinity, and where nothing was compared.
pub fn smallest_cosine(row: &ResultRow) -> Option<f64> {
    let finite = !has_nan(row) && !has_infinity(row);
    [row.cosine_min, row.forward_cosine_min].into_iter().flatten().filter(|_| finite).reduce(f64::min)
}

/// Whether a pass of the row broke an output row: finite, but far from the FP32 reference. `None` where not every
/// examined pass was compared with the reference and none that was broke.
pub fn breaks(row: &ResultRow) -> Option<bool> {
    let broke = [row.broken_rows, row.broken_forwards].into_iter().flatten().any(|count| count > 0);
    if broke { Some(true) } else { row.broken_forwards.map(|_| false) }
}

/// Whether the outputs of a pass of the row fail: NaN, infinity or a broken row. `None` where that is not known of every
/// examined pass, as in tables that are older than the comparison of all passes.
pub fn fails(row: &ResultRow) -> Option<bool> {
    let failed = [row.broken_rows, row.failed_forwards].into_iter().flatten().any(|count| count > 0);
    if failed { Some(true) } else { row.failed_forwards.map(|_| false) }
}

/// Whether the outputs of any of these rows fail.
pub fn any_fails<'a>(rows: impl IntoIterator<Item = &'a ResultRow>) -> bool {
    rows.into_iter().any(|row| fails(row) == Some(true))
}

/// Share of the output's elements that are NaN or infinity.
pub fn nonfinite_share(row: &ResultRow) -> Option<f64> {
    let (bad, all) = (row.nan_count? + row.inf_count?, row.output_elements?);
    (all > 0).then(|| bad as f64 / all as f64)
}

/// Why the labelled sentences or the text of a measured row were not scored; `None` where they were, or where there are none.
pub fn not_scored(row: &ResultRow) -> Option<&str> {
    let (_, reason) = row.numerics_remark.as_deref()?.split_once(NOT_SCORED)?;
    // Remarks are joined by semicolons.
    let is_to_score = row.input_kind.has_labels() || row.task_answers.is_some() || row.nll_tokens.is_some();
    reason.split("; ").next().filter(|_| is_to_score)
}

/// Seed of the permutations of a paired test.
const PAIRED_SEED: u64 = 2603;

/// What a row answered to each example, with what is right.
pub fn answers(row: &ResultRow) -> Option<Answers> {
    serde_json::from_str(row.task_answers.as_deref()?).ok().filter(Answers::is_plausible)
}

/// Two-sided p of no difference between the scores of two rows on the same examples.
pub fn same_answers_p(base: &ResultRow, row: &ResultRow, score: Score) -> Option<f64> {
    answers(base)?.paired_p(&answers(row)?, score, PAIRED_SEED)
}

/// Whether the output of each sequence is one number, which has no cosine and no argmax.
pub fn is_one_number(row: &ResultRow) -> bool {
    row.output == Some(OutputKind::ClassLogits) && row.output_elements == Some(row.batch_size)
}

/// The predicted class of each sentence of a row, in file order; that of a sentence is `None` where there is no prediction.
fn predictions(row: &ResultRow) -> Option<Vec<Option<u32>>> {
    row.task_predictions.as_deref().map(answers::of_text)
}

/// Number of sentences that get different classes in two rows.
pub fn flips(base: &ResultRow, row: &ResultRow) -> Option<usize> {
    Some(flipped(base, row)?.len())
}

/// A sentence by its number, with the base's answer and the row's.
pub type Flip = (usize, Option<u32>, Option<u32>);

/// Those sentences, numbered from 1 in the order of the file.
pub fn flipped(base: &ResultRow, row: &ResultRow) -> Option<Vec<Flip>> {
    let (a, b) = (predictions(base)?, predictions(row)?);
    let answers = || a.iter().zip(&b).enumerate().map(|(index, (base, row))| (index + 1, *base, *row));
    (a.len() == b.len()).then(|| answers().filter(|(_, base, row)| base != row).collect())
}

/// Number of sentences that only the base answers correctly, and that only the row answers correctly. Of two different
/// answers out of two classes one is right, so the flips and the two counts of right answers fix both numbers; `None`
/// where a flip has an answer that is neither class.
pub fn discordant(base: &ResultRow, row: &ResultRow) -> Option<(u64, u64)> {
    let is_class = |answer: &Option<u32>| matches!(answer, Some(0 | 1));
    let flipped = flipped(base, row)?;
    if base.task_total != row.task_total || !flipped.iter().all(|(_, x, y)| is_class(x) && is_class(y)) {
        return None;
    }
    let flips = flipped.len() as u64;
    // b + c = flips and c - b = right(row) - right(base).
    let twice_gained = (flips + row.task_correct?).checked_sub(base.task_correct?)?;
    let gained = Some(twice_gained / 2).filter(|gained| twice_gained % 2 == 0 && *gained <= flips)?;
    Some((flips - gained, gained))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(answers: &str, labels: &str) -> ResultRow {
        let right = answers.bytes().zip(labels.bytes()).filter(|(answer, label)| answer == label).count();
        ResultRow {
            task_predictions: Some(answers.to_owned()),
            task_correct: Some(right as u64),
            task_total: Some(labels.len() as u64),
            ..ResultRow::default()
        }
    }

    #[test]
    fn nothing_is_known_of_passes_that_were_not_compared() {
        let row = |broken_rows, broken_forwards, failed_forwards| ResultRow {
            broken_rows,
            broken_forwards,
            failed_forwards,
            ..ResultRow::default()
        };
        let known = |row: ResultRow| (breaks(&row), fails(&row));
        assert_eq!(known(row(None, None, None)), (None, None), "an older table");
        assert_eq!(known(row(Some(0), None, None)), (None, None), "the first pass is whole, the others are not known");
        assert_eq!(known(row(Some(1), None, None)), (Some(true), Some(true)));
        assert_eq!(known(row(Some(0), Some(0), Some(0))), (Some(false), Some(false)));
        assert_eq!(known(row(Some(0), Some(0), Some(2))), (Some(false), Some(true)), "NaN breaks no row and fails");
        assert_eq!(known(row(Some(0), Some(3), Some(3))), (Some(true), Some(true)));
    }

    #[test]
    fn the_smallest_cosine_is_that_of_all_passes() {
        let row = |cosine_min, forward_cosine_min, nan_forwards| ResultRow {
            cosine_min,
            forward_cosine_min,
            nan_forwards: Some(nan_forwards),
            ..ResultRow::default()
        };
        assert_eq!(smallest_cosine(&row(Some(0.999_97), Some(0.998_2), 0)), Some(0.998_2), "another pass is worse");
        assert_eq!(smallest_cosine(&row(Some(0.9), Some(0.99), 0)), Some(0.9), "of wide outputs only some rows stand");
        assert_eq!(smallest_cosine(&row(Some(0.9), None, 0)), Some(0.9), "an older table");
        assert_eq!(smallest_cosine(&row(Some(0.9), Some(0.9), 1)), None, "NaN has no cosine");
        assert_eq!(smallest_cosine(&row(None, None, 0)), None);
    }

    #[test]
    fn counts_of_right_answers_tell_who_is_right_where_answers_differ() {
        let labels = "0110100111";
        let count = |a: &str, b: &str| discordant(&row(a, labels), &row(b, labels));
        assert_eq!(count("0110100111", "0110100111"), Some((0, 0)));
        assert_eq!(count("0110100111", "1010100111"), Some((2, 0)));
        assert_eq!(count("1110100111", "0110100110"), Some((1, 1)));
        assert_eq!(count("1001000111", "0110100111"), Some((0, 5)));
        assert_eq!(count("0110100111", "?110100111"), None, "no answer is neither right nor of the other class");
        assert_eq!(count("?110100111", "?110100110"), Some((1, 0)));
        assert_eq!(discordant(&row("01", "01"), &row("010", "010")), None);
    }
}
