//! Task quality: SST-2 accuracy with its interval, paired flips and their test against FP32; perplexity.

use super::without_fp32;
use crate::analysis::facts::{flipped, flips, not_scored};
use crate::analysis::pairs;
use crate::graph::OutputKind;
use crate::numbers;
use crate::report::sentences::quality::mcnemar_p;
use crate::report::sentences::tasks;
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, Group, distinct, series};
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// One table over everything that was scored.
pub fn quality(data: &Data) -> Table {
    let caption = "Task quality: accuracy on the labelled sentences with its Clopper–Pearson 95 % interval, and answers \
                   that differ from FP32 of the same backend and shape.";
    let headings = after_configuration_headings([
        Heading::number("Right"),
        Heading::interval("Accuracy"),
        Heading::number("Flips"),
        Heading::number("McNemar p"),
    ]);
    let mut table = Table::new("quality", caption, headings);
    let mut notes = Notes::default();
    for group in data.groups() {
        let is_listed = |row: &ResultRow| has_classes(row) || row.input_kind.has_labels() && not_scored(row).is_some();
        for row in group.rows.iter().filter(|row| is_listed(row)) {
            let base = pairs::fp32_counterpart(data, &group, row);
            table.push_of(cells(data, &group, row, &mut notes), std::iter::once(*row).chain(base));
        }
    }
    if table.rows.is_empty() {
        return Table::empty("quality", caption, tasks::nothing_scored(data));
    }
    table.notes = notes.finish();
    table.notes.extend(tasks::labels(data).into_iter().map(|text| Note { mark: String::new(), text }));
    table.notes.push(Note {
        mark: String::new(),
        text:
            "Precisions are compared sentence by sentence (flips), not by the overlap of two intervals. McNemar p is \
             that of the two-sided exact McNemar test against the same FP32 row, from the stored answers: the \
             probability of so uneven a split among the flips when neither precision is better. It is not corrected for \
             the number of rows."
                .to_owned(),
    });
    table.without_empty_columns().rule_between_groups(3)
}

/// Whether each example of the row has one class as its answer; tokens have a table of their own.
fn has_classes(row: &ResultRow) -> bool {
    row.task_total.is_some() && row.output != Some(OutputKind::TokenClassLogits)
}

/// Every sentence whose answer under a precision differs from that under FP32 of the same backend and shape.
pub fn flipped_sentences(data: &Data) -> Table {
    let caption = "Sentences whose answer differs from that under FP32 of the same backend and shape, by change of the \
                   answer.";
    let headings = after_configuration_headings([Heading::text("Answer"), Heading::sentences("Sentences", 9)]);
    let mut table = Table::new("quality-flips", caption, headings);
    for group in data.groups() {
        for row in group.rows.iter() {
            let all =
                pairs::fp32_counterpart(data, &group, row).and_then(|base| flipped(base, row)).unwrap_or_default();
            for (base, answer) in distinct(all.iter().map(|&(_, base, answer)| (base, answer))) {
                let of = all.iter().filter(|(_, one, other)| (*one, *other) == (base, answer));
                let numbers: Vec<String> = of.map(|(number, ..)| number.to_string()).collect();
                let name = |class: Option<u32>| class.map_or_else(|| "none".to_owned(), |class| class.to_string());
                let change = format!("{} to {}", name(base), name(answer));
                let base = pairs::fp32_counterpart(data, &group, row);
                let cells = after_configuration_cells(row, [change.into(), numbers.join(", ").into()]);
                table.push_of(cells, std::iter::once(*row).chain(base));
            }
        }
    }
    if table.rows.is_empty() {
        return Table::empty("quality-flips", caption, "No precision changes the answer to any sentence.");
    }
    let text = "Sentences are numbered from 1 in the order of the file; an answer is the number of its class in the \
                checkpoint, from 0.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table.notes.extend(tasks::labels(data).into_iter().map(|text| Note { mark: String::new(), text }));
    Table { in_appendix: true, ..table }
}

/// Headings of the columns that name a configuration, then these.
pub(super) fn after_configuration_headings<const N: usize>(own: [Heading; N]) -> Vec<Heading> {
    let configuration = ["Model", "Input", "Backend", "Precision"].map(Heading::text);
    configuration.into_iter().chain([Heading::number("Shape")]).chain(own).collect()
}

/// Cells that name the row's configuration, then these.
pub(super) fn after_configuration_cells<const N: usize>(row: &ResultRow, own: [TableCell; N]) -> Vec<TableCell> {
    let shape = TableCell {
        source: Some(row.id.clone()),
        ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
    };
    let names = [&row.model, &row.input, row.backend.name(), &row.precision];
    names.map(|name: &str| TableCell::new(name)).into_iter().chain([shape]).chain(own).collect()
}

fn cells(data: &Data, group: &Group, row: &ResultRow, notes: &mut Notes) -> Vec<TableCell> {
    let fp32 = pairs::fp32_counterpart(data, group, row);
    if let Some(reason) = not_scored(row) {
        let mark = Some(notes.mark(&format!("Not scored: {reason}.")));
        let right = TableCell { mark, ..TableCell::dash() };
        return after_configuration_cells(row, [right, TableCell::dash(), TableCell::dash(), TableCell::dash()]);
    }
    let mut against = |of: &dyn Fn(&ResultRow) -> Option<String>| match fp32 {
        Some(base) => TableCell::optional(of(base)),
        None => without_fp32(group, row, notes),
    };
    after_configuration_cells(
        row,
        [
            TableCell::optional(row.task_correct.zip(row.task_total).map(|(right, all)| format!("{right}/{all}"))),
            accuracy_cell(row),
            against(&|base| flips(base, row).map(|flips| flips.to_string())),
            against(&|base| mcnemar_p(base, row)),
        ],
    )
}

/// Perplexity of language models on text.
pub fn perplexity(data: &Data) -> Table {
    let caption = "Perplexity of language models on text, and how it differs from FP32 of the same backend and shape.";
    let headings = after_configuration_headings([
        Heading::number("Tokens scored"),
        Heading::number("NLL/token"),
        Heading::number("Perplexity"),
        Heading::number("minus fp32"),
    ]);
    let mut table = Table::new("perplexity", caption, headings);
    let mut notes = Notes::default();
    for group in data.groups() {
        for row in group.rows.iter().filter(|row| row.nll_tokens.is_some()) {
            let base = pairs::fp32_counterpart(data, &group, row);
            table.push_of(perplexity_cells(data, &group, row, &mut notes), std::iter::once(*row).chain(base));
        }
    }
    if table.rows.is_empty() {
        let why = "No configuration of this run was scored: perplexity needs a language model with a text input.";
        return Table::empty("perplexity", caption, why);
    }
    let text = "Perplexity is the exponential of the mean negative log-likelihood (nats) of the tokens scored: every next \
                token that lies in the configuration's own windows. Few tokens give a coarse value, and values of \
                different shapes score different tokens: compare within a shape.";
    table.notes = notes.finish();
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table.rule_between_groups(3)
}

fn perplexity_cells(data: &Data, group: &Group, row: &ResultRow, notes: &mut Notes) -> Vec<TableCell> {
    let own = Some(row).filter(|row| series(row) == series(row).fp32());
    let difference = match own.or_else(|| pairs::fp32_counterpart(data, group, row)) {
        Some(base) => {
            let both = row.perplexity.zip(base.perplexity);
            TableCell::optional(both.map(|(perplexity, base)| numbers::magnitude(perplexity - base)))
        }
        None => without_fp32(group, row, notes),
    };
    let mark = not_scored(row).map(|reason| notes.mark(&format!("Not scored: {reason}.")));
    after_configuration_cells(
        row,
        [
            TableCell::optional(row.nll_tokens.map(numbers::count)),
            TableCell { mark, ..TableCell::optional(row.nll_mean.map(|nll| numbers::fixed(nll, 4))) },
            TableCell::optional(row.perplexity.map(|perplexity| numbers::significant(perplexity, 5))),
            difference,
        ],
    )
}

fn accuracy_cell(row: &ResultRow) -> TableCell {
    let Some(accuracy) = row.task_accuracy else { return TableCell::dash() };
    let interval = row.task_correct.zip(row.task_total).and_then(|(right, all)| clopper_pearson(right, all));
    let interval = interval.map(|interval| (interval.low * 100.0, interval.high * 100.0));
    let detail = interval.map(|(low, high)| format!("[{}, {}]", numbers::fixed(low, 1), numbers::fixed(high, 1)));
    TableCell { text: format!("{} %", numbers::fixed(accuracy * 100.0, 2)), detail, ..TableCell::default() }
}
