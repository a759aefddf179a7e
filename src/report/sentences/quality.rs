//! Sentences of the paper's text that no single table or verdict has.

use crate::analysis::facts::discordant;
use crate::analysis::facts::{flips, same_answers_p};
use crate::analysis::pairs;
use crate::graph::Preset;
use crate::numbers;
use crate::record::InputKind;
use crate::results::data::{Data, distinct};
use crate::stats::mcnemar;
use crate::stats::scores::Score;
use crate::store::schema::ResultRow;

/// Per unmodified model, how many rows of its layer norms returned their bias under FP16, on random ids, on those with
/// separators where they were run, and on text: the failures without a NaN, by input.
pub fn silent_rows(experiments: &[&Data]) -> String {
    silent_rows_of(experiments.iter().flat_map(|data| data.measured()))
}

fn silent_rows_of<'a>(measured: impl Iterator<Item = &'a ResultRow>) -> String {
    let watched = |row: &&ResultRow| {
        row.precision == Preset::Fp16.name()
            && row.injection.is_none()
            && row.layer_norm_rows.is_some_and(|rows| rows > 0)
    };
    let rows: Vec<&ResultRow> = measured.filter(watched).collect();
    let count = |model: &str, kind: InputKind| -> Option<(u64, u64)> {
        let of = rows.iter().filter(|row| row.model == model && row.input_kind == kind);
        let counts = of.filter_map(|row| row.silent_rows.zip(row.layer_norm_rows));
        counts.reduce(|(silent, all), (more, rows)| (silent.saturating_add(more), all.saturating_add(rows)))
    };
    let models = distinct(rows.iter().map(|row| row.model.as_str()));
    let both = models.into_iter().filter_map(|model| {
        let separated = count(model, InputKind::RandomWithSeparators);
        Some((model, count(model, InputKind::Random)?, separated, count(model, InputKind::Text)?))
    });
    let any = |separated: &Option<(u64, u64)>| separated.map_or(0, |(silent, _)| silent);
    let (silent, sound): (Vec<_>, Vec<_>) =
        both.partition(|(_, random, separated, text)| random.0 + any(separated) + text.0 > 0);
    if silent.is_empty() && sound.is_empty() {
        return "No run examined the layer norms of one model on both random ids and text.".to_owned();
    }
    let words = |(bad, all): (u64, u64)| {
        format!("{} ({} of {})", numbers::percent(bad as f64 / all as f64), numbers::count(bad), numbers::count(all))
    };
    let mut sentences: Vec<String> = silent
        .into_iter()
        .map(|(model, random, separated, text)| {
            let separated = separated.map(|rows| format!(", {} on random ids with separators", words(rows)));
            format!(
                "Under fp16, {} of the layer-norm rows of {model} returned their bias on random ids{}, and {} on text.",
                words(random),
                separated.unwrap_or_default(),
                words(text)
            )
        })
        .collect();
    let names: Vec<&str> = sound.iter().map(|(model, ..)| *model).collect();
    if !names.is_empty() {
        sentences.push(format!(
            "Under fp16, no layer norm of {} returned its bias on random ids or on text.",
            names.join(" and ")
        ));
    }
    sentences.join(" ")
}

/// How a policy changes answers on labelled sentences, backend by backend, against FP32 of the same backend and shape.
pub fn quality(experiments: &[&Data], preset: Preset) -> String {
    let mut found: Vec<(&str, String, Vec<String>)> = Vec::new();
    for (data, group) in experiments.iter().flat_map(|data| data.groups().into_iter().map(move |group| (data, group))) {
        for row in group.rows.iter().copied().filter(|row| row.precision == preset.name() && row.injection.is_none()) {
            let base = pairs::fp32_counterpart(data, &group, row);
            let Some(text) = base.and_then(|base| against_fp32(base, row)) else { continue };
            let backend = row.backend.to_string();
            match found.iter_mut().find(|(model, known, _)| *model == group.model && *known == text) {
                Some((.., backends)) if backends.contains(&backend) => {}
                Some((.., backends)) => backends.push(backend),
                None => found.push((group.model, text, vec![backend])),
            }
        }
    }
    let each = found.iter().map(|(model, text, backends)| format!("{model} {text} ({})", backends.join(", ")));
    match found.is_empty() {
        true => format!("No classifier was scored under {} and fp32 in one environment.", preset.name()),
        false => {
            format!("Right answers under {} and under fp32: {}.", preset.name(), each.collect::<Vec<_>>().join("; "))
        }
    }
}

/// `747 and 765 of 872, 40 answers differ, McNemar p = 0.006`
fn against_fp32(base: &ResultRow, row: &ResultRow) -> Option<String> {
    let (right, before, all) = (row.task_correct?, base.task_correct?, row.task_total?);
    let flips = match flips(base, row)? {
        1 => "1 answer differs".to_owned(),
        n => format!("{} answers differ", numbers::count(n as u64)),
    };
    let p_value = mcnemar_p(base, row).map(|p| format!(", McNemar p = {p}")).unwrap_or_default();
    Some(format!("{right} and {before} of {all}, {flips}{p_value}"))
}

/// The p-value of McNemar's exact test between two rows' answers. Rows of before schema 10 say which of two classes is right by
/// their counts alone.
pub fn mcnemar_p(base: &ResultRow, row: &ResultRow) -> Option<String> {
    let by_counts = || discordant(base, row).and_then(|(base_alone, row_alone)| mcnemar(base_alone, row_alone));
    same_answers_p(base, row, Score::Accuracy).or_else(by_counts).map(p_value)
}

/// A p-value for readers.
pub fn p_value(p: f64) -> String {
    if p < 1e-3 { numbers::scientific(p) } else { numbers::fixed(p, 3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, input_kind: InputKind, silent: Option<u64>) -> ResultRow {
        ResultRow {
            model: model.to_owned(),
            precision: "fp16".to_owned(),
            input_kind,
            silent_rows: silent,
            layer_norm_rows: silent.map(|_| 1000),
            ..ResultRow::default()
        }
    }

    fn said(rows: Vec<ResultRow>) -> String {
        silent_rows_of(rows.iter())
    }

    #[test]
    fn silent_rows_are_those_of_models_that_were_watched_on_both_kinds_of_input() {
        use InputKind::{Random, RandomWithSeparators, Text};
        let both = |model: &str, random, text| vec![row(model, Random, Some(random)), row(model, Text, Some(text))];
        assert_eq!(said(vec![]), "No run examined the layer norms of one model on both random ids and text.");
        assert_eq!(said(vec![row("a", Random, Some(3)), row("b", Text, Some(3))]), said(vec![]));
        assert_eq!(said(vec![row("a", Random, None), row("a", Text, None)]), said(vec![]), "nobody could watch");
        let sound = "Under fp16, no layer norm of a returned its bias on random ids or on text.";
        assert_eq!(said(both("a", 0, 0)), sound);
        let silent = "Under fp16, 0.5 % (5 of 1000) of the layer-norm rows of b returned their bias on random ids, and \
                      0 % (0 of 1000) on text.";
        assert_eq!(said([both("a", 0, 0), both("b", 5, 0)].concat()), format!("{silent} {sound}"));
        let separated = "Under fp16, 0 % (0 of 1000) of the layer-norm rows of a returned their bias on random ids, 0.4 % (4 of \
                         1000) on random ids with separators, and 0 % (0 of 1000) on text.";
        assert_eq!(said([both("a", 0, 0), vec![row("a", RandomWithSeparators, Some(4))]].concat()), separated);
    }
}
