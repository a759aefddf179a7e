//! What was computed and scored: outputs, heads that are not computed, labels and their classes, rows without a score.

use crate::analysis::facts::{is_one_number, not_scored};
use crate::graph::OutputKind;
use crate::input::{labels_of_text, unlabelled_sentence};
use crate::model::dropped_head_sentence;
use crate::results::data::{Data, distinct};
use crate::store::schema::ResultRow;

/// SHA-256 of the development set of SST-2 as GLUE distributes it, `dev.tsv`.
const SST2_DEV: &str = "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0";

/// Beginning of the names of inputs that are SST-2's where no digest is recorded.
const SST2: &str = "sst2";

/// Under tables of outputs and times: what the output of these rows is, where they say.
pub fn outputs(rows: &[&ResultRow]) -> Option<String> {
    let kinds = distinct(rows.iter().filter_map(|row| Some((row.model.clone(), row.output?))));
    let models = distinct(kinds.iter().map(|(model, _)| model.clone()));
    let of = |(model, kind): &(String, OutputKind)| match models.len() {
        1 => kind.label().to_owned(),
        _ => format!("{} of {model}", kind.label()),
    };
    let outputs = distinct(kinds.iter().map(of));
    let heads: String = dropped_heads(rows.iter().copied()).iter().map(|sentence| format!(" {sentence}.")).collect();
    (!outputs.is_empty()).then(|| format!("Output: {}.{}", outputs.join(", "), heads))
}

/// `bert: BertForMaskedLM: its head is not computed; the output is hidden states`
pub fn dropped_heads<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> Vec<String> {
    let sentence = |row: &ResultRow| {
        let class = row.dropped_head.as_ref()?;
        Some(format!("{}: {}", row.model, dropped_head_sentence(class, row.output?)))
    };
    distinct(rows.filter_map(sentence))
}

/// Under the table of numerics: how outputs of one number are compared, where there are any.
pub fn one_number(data: &Data) -> Option<String> {
    let models = distinct(data.measured().filter(|row| is_one_number(row)).map(|row| row.model.clone()));
    (!models.is_empty()).then(|| {
        format!(
            "An output of {} is one number per sequence, which has no cosine and no argmax. The numbers are compared over the \
             batch, by relative L2 error and by Spearman's rank correlation, which takes three sequences; one is broken by \
             its error relative to the root mean square of the reference's.",
            models.join(", ")
        )
    })
}

/// Under the table of accuracies: the class of each label, where rows say; one line for each model and input.
pub fn labels(data: &Data) -> Vec<String> {
    let line = |row: &ResultRow| {
        let pairs = labels_of_text(row.labels.as_ref()?);
        let (labelled, unlabelled): (Vec<_>, Vec<_>) = pairs.iter().partition(|(label, _)| !label.is_empty());
        let labels: Vec<String> = labelled.iter().map(|(label, class)| format!("{label} = {class}")).collect();
        let unlabelled: Vec<&str> = unlabelled.iter().map(|(_, class)| class.as_str()).collect();
        let left_out = unlabelled_sentence(&unlabelled).map(|words| format!("; {words}")).unwrap_or_default();
        Some(format!("Classes of {} by label of {}: {}{left_out}.", row.model, row.input, labels.join(", ")))
    };
    distinct(data.measured().filter_map(line))
}

/// Why no accuracy is in these results.
pub fn nothing_scored(data: &Data) -> String {
    let reasons = not_scored_of(data);
    let labelled = data.rows.iter().any(|row| row.input_kind.has_labels());
    match (reasons.is_empty(), labelled) {
        (false, _) => format!("No configuration of this run was scored. {}", reasons.join(" ")),
        (true, true) => "No configuration with a labelled input was measured.".to_owned(),
        (true, false) => "No configuration of this run was scored: accuracy needs a labelled input.".to_owned(),
    }
}

/// A sentence for each model and labelled input that was measured and not scored: why.
pub fn not_scored_of(data: &Data) -> Vec<String> {
    let sentence =
        |row: &ResultRow| Some(format!("{} was not scored on {}: {}.", row.model, row.input, not_scored(row)?));
    distinct(data.measured().filter_map(sentence))
}

/// Title of the section on labelled sentences: SST-2's name where every file is that, by the digest of rows or the manifest's
/// pin, or by the input's name where neither is recorded; else the names of the other inputs.
pub fn title<'a>(experiments: impl Iterator<Item = &'a Data>, of_sst2: &str) -> String {
    let mut others: Vec<String> = Vec::new();
    for data in experiments {
        let labelled = data.rows.iter().filter(|row| row.input_kind.has_labels());
        let pinned = data.pinned_inputs();
        let is_sst2 = |row: &&ResultRow| match row.input_sha256.as_ref().or_else(|| pinned.get(&row.id)) {
            Some(digest) => digest == SST2_DEV,
            None => row.input.starts_with(SST2),
        };
        others.extend(labelled.filter(|row| !is_sst2(row)).map(|row| row.input.clone()));
    }
    let others = distinct(others.into_iter());
    if others.is_empty() { of_sst2.to_owned() } else { format!("Labelled sentences: {}", others.join(", ")) }
}
