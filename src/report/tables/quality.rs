//! Task quality: SST-2 accuracy with its interval and paired flips against FP32; perplexity.

use crate::report::data::{Data, Group, fp32_of, shape};
use crate::report::numbers;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// One table over everything that was scored.
pub fn quality(data: &Data) -> Table {
    let caption = "Task quality: accuracy on the labelled sentences with its Clopper–Pearson 95 % interval, and answers \
                   that differ from FP32 of the same backend and shape.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Input"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shape"),
        Heading::number("Right"),
        Heading::interval("Accuracy"),
        Heading::number("Flips"),
    ];
    let mut table = Table::new("quality", caption, headings);
    for group in data.groups() {
        for row in group.rows.iter().filter(|row| row.task_total.is_some()) {
            table.push(cells(&group, row));
        }
    }
    if table.rows.is_empty() {
        let why = "No configuration of this run was scored: accuracy needs a labelled input.";
        return Table::empty("quality", caption, why);
    }
    table.notes.push(Note {
        mark: String::new(),
        text: "Precisions are compared sentence by sentence (flips), not by the overlap of two intervals.".to_owned(),
    });
    table.without_empty_columns().rule_between_groups(3)
}

fn cells(group: &Group, row: &ResultRow) -> Vec<TableCell> {
    let fp32 = group.row(&fp32_of(row.backend), shape(row));
    let flips = fp32.filter(|base| base.id != row.id).and_then(|base| flips(base, row));
    vec![
        TableCell::new(&row.model),
        TableCell::new(&row.input),
        TableCell::new(row.backend.name()),
        TableCell::new(&row.precision),
        TableCell {
            source: Some(row.id.clone()),
            ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
        },
        TableCell::optional(row.task_correct.zip(row.task_total).map(|(right, all)| format!("{right}/{all}"))),
        accuracy_cell(row),
        TableCell::optional(flips.map(|flips| flips.to_string())),
    ]
}

/// Perplexity of language models on text.
pub fn perplexity(data: &Data) -> Table {
    let caption = "Perplexity of language models on text, and how it differs from FP32 of the same backend and shape.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Input"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shape"),
        Heading::number("Tokens scored"),
        Heading::number("NLL/token"),
        Heading::number("Perplexity"),
        Heading::number("less fp32's"),
    ];
    let mut table = Table::new("perplexity", caption, headings);
    for group in data.groups() {
        for row in group.rows.iter().filter(|row| row.nll_tokens.is_some()) {
            table.push(perplexity_cells(&group, row));
        }
    }
    if table.rows.is_empty() {
        let why = "No configuration of this run was scored: perplexity needs a language model with a text input.";
        return Table::empty("perplexity", caption, why);
    }
    let text = "Perplexity is the exponential of the mean negative log-likelihood (nats) of the tokens scored: every next \
                token that lies in the configuration's own windows. Few tokens give a coarse value, and values of \
                different shapes score different tokens: compare within a shape.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table.rule_between_groups(3)
}

fn perplexity_cells(group: &Group, row: &ResultRow) -> Vec<TableCell> {
    let base = group.row(&fp32_of(row.backend), shape(row)).and_then(|base| base.perplexity);
    let difference = row.perplexity.zip(base).map(|(perplexity, base)| perplexity - base);
    vec![
        TableCell::new(&row.model),
        TableCell::new(&row.input),
        TableCell::new(row.backend.name()),
        TableCell::new(&row.precision),
        TableCell {
            source: Some(row.id.clone()),
            ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
        },
        TableCell::optional(row.nll_tokens.map(numbers::count)),
        TableCell::optional(row.nll_mean.map(|nll| numbers::fixed(nll, 4))),
        TableCell::optional(row.perplexity.map(|perplexity| numbers::significant(perplexity, 5))),
        TableCell::optional(difference.map(numbers::magnitude)),
    ]
}

fn accuracy_cell(row: &ResultRow) -> TableCell {
    let Some(accuracy) = row.task_accuracy else { return TableCell::dash() };
    let interval = row.task_correct.zip(row.task_total).and_then(|(right, all)| clopper_pearson(right, all));
    let interval = interval.map(|interval| (interval.low * 100.0, interval.high * 100.0));
    let detail = interval.map(|(low, high)| format!("[{}, {}]", numbers::fixed(low, 1), numbers::fixed(high, 1)));
    TableCell { text: format!("{} %", numbers::fixed(accuracy * 100.0, 2)), detail, ..TableCell::default() }
}

/// Sentences on which two rows give different labels.
pub fn flips(base: &ResultRow, row: &ResultRow) -> Option<usize> {
    let (a, b) = (base.task_predictions.as_ref()?, row.task_predictions.as_ref()?);
    (a.len() == b.len()).then(|| a.bytes().zip(b.bytes()).filter(|(x, y)| x != y).count())
}
