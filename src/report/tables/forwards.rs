//! How many forward passes fail, and where the failures begin.

use crate::manifest::schema::Numerics;
use crate::numbers;
use crate::record::Status;
use crate::report::sentences::failures;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::{Data, distinct, slug};
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// Fewer passes than this give no rate: a single pass shows whether it fails, not how often.
const MIN_FORWARDS: u64 = 2;

/// Rates per forward pass, a table per model.
pub fn rates(data: &Data) -> Vec<Table> {
    let examined: Vec<&ResultRow> =
        data.measured().filter(|row| row.forwards.is_some_and(|forwards| forwards >= MIN_FORWARDS)).collect();
    let compared = examined.iter().any(|row| row.forward_compared_rows.is_some());
    let in_output = if compared { "NaN, infinity or a broken row" } else { "NaN or infinity" };
    let caption = |model: &str| {
        let what = format!(
            "Share of forward passes with {in_output} in the output, and with a silent failure (a layer norm whose \
             variance overflowed, so that it returned its bias), with Clopper–Pearson 95 % intervals"
        );
        match model {
            "" => format!("{what}."),
            model => format!("{what}; model {model}."),
        }
    };
    if examined.is_empty() {
        let why = "No configuration was examined over several forward passes; the manifest's numerics.forwards asks for \
                   them.";
        return vec![Table::empty("rates", caption(""), why)];
    }
    let models = distinct(examined.iter().map(|row| row.model.as_str()));
    let table = |(index, model): (usize, &&str)| {
        let rows: Vec<&ResultRow> = examined.iter().copied().filter(|row| row.model == **model).collect();
        let slug = format!("rates-{}-{}", index + 1, slug(model));
        rates_of(Table::new(slug, caption(&labelled(rows[0])), vec![]), rows, compared.then_some(data.plan.numerics))
    };
    models.iter().enumerate().map(table).collect()
}

/// A model's name, and what was added to its weights.
pub fn labelled(row: &ResultRow) -> String {
    match &row.injection {
        Some(injection) => format!("{} ({injection})", row.model),
        None => row.model.clone(),
    }
}

/// `compared`: which rows are broken, where the passes were compared with the reference.
fn rates_of(mut table: Table, mut rows: Vec<&ResultRow>, compared: Option<Numerics>) -> Table {
    table.headings = vec![
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shape"),
        Heading::text("Input"),
        Heading::number("Passes"),
        Heading::interval("NaN").under("Share of passes with"),
        Heading::interval("infinity").under("Share of passes with"),
        Heading::interval("broken row").under("Share of passes with"),
        Heading::interval("any of these").under("Share of passes with"),
        Heading::interval("silent failure").under("Share of passes with"),
        Heading::number("Silent rows"),
        Heading::number("Smallest cosine"),
    ];
    // Inputs of the same configuration stand together: they are what is compared.
    let policies = distinct(rows.iter().map(|row| (row.backend, row.precision.clone())));
    let policy = |row: &ResultRow| policies.iter().position(|known| *known == (row.backend, row.precision.clone()));
    rows.sort_by_key(|row| (policy(row), row.sequence_length, row.batch_size));
    for row in &rows {
        table.push_of(rate_cells(row, compared.is_some()), [*row]);
    }
    let of_passes = if compared.is_some() { "all passes" } else { "the first pass" };
    let text = format!(
        "Each pass reads different rows of the input, at full length without padding, so that inputs differ only in their \
         tokens. Silent rows are a share of all layer-norm rows of these passes. The smallest cosine is against FP32, over \
         the compared rows of {of_passes}; there is none where one of these rows is not finite. A dash under silent \
         failure means that the library does not expose its tensors."
    );
    let definition = compared.map(failures::definition);
    let finite =
        compared.is_some() && rows.iter().all(|row| (row.nan_forwards, row.inf_forwards) == (Some(0), Some(0)));
    let absent = finite.then(|| "No pass has NaN or infinity: its broken rows are all that fails.".to_owned());
    table
        .notes
        .extend([text].into_iter().chain(absent).chain(definition).map(|text| Note { mark: String::new(), text }));
    let table = if finite { without_columns(table, &["NaN", "infinity", "any of these"]) } else { table };
    table.without_empty_columns().rule_between_groups(2)
}

/// The table without the columns of these headings, so that the rest can be read on paper.
fn without_columns(mut table: Table, left_out: &[&str]) -> Table {
    let kept: Vec<bool> = table.headings.iter().map(|heading| !left_out.contains(&heading.text.as_str())).collect();
    let mut keep = kept.iter();
    table.headings.retain(|_| keep.next() == Some(&true));
    for row in &mut table.rows {
        let mut keep = kept.iter();
        row.cells.retain(|_| keep.next() == Some(&true));
    }
    table
}

fn rate_cells(row: &ResultRow, compared: bool) -> Vec<TableCell> {
    let silent = row.silent_rows.zip(row.layer_norm_rows).filter(|(_, rows)| *rows > 0);
    vec![
        TableCell::new(row.backend.name()),
        TableCell::new(&row.precision),
        TableCell {
            source: Some(row.id.clone()),
            ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
        },
        TableCell::new(&row.input),
        TableCell::optional(row.forwards.map(numbers::count)),
        rate_cell(row.nan_forwards, row.forwards),
        rate_cell(row.inf_forwards, row.forwards),
        rate_cell(row.broken_forwards, row.forwards),
        rate_cell(row.failed_forwards, row.forwards),
        rate_cell(row.silent_forwards, row.forwards),
        TableCell::optional(silent.map(|(bad, rows)| numbers::percent(bad as f64 / rows as f64))),
        TableCell::optional(if compared { row.forward_cosine_min } else { row.cosine_min }.map(numbers::cosine)),
    ]
}

/// A share of forwards in percent with its Clopper-Pearson 95 % interval; a dash where a count is not known.
pub(super) fn rate_cell(bad: Option<u64>, forwards: Option<u64>) -> TableCell {
    let Some((bad, forwards)) = bad.zip(forwards).filter(|(_, forwards)| *forwards > 0) else {
        return TableCell::dash();
    };
    let ends = clopper_pearson(bad, forwards);
    let percent = |share: f64| numbers::fixed(share * 100.0, 1);
    TableCell {
        detail: ends.map(|ends| format!("[{}, {}]", percent(ends.low), percent(ends.high))),
        ..TableCell::new(numbers::percent(bad as f64 / forwards as f64))
    }
}

/// Where each bad configuration went wrong first.
pub fn provenance(data: &Data) -> Table {
    let caption = "Where failures begin: for each configuration with NaN, infinity or a silent failure, the operation \
                   that fails first in the first such pass. It was found by running the pass and examining every \
                   tensor. In: largest finite magnitude that entered the operation.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Input"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shape"),
        Heading::text("First bad operation"),
        Heading::number("Layer"),
        Heading::text("Kind"),
        Heading::number("In"),
    ];
    let mut table = Table::new("provenance", caption, headings);
    let shown = |row: &&ResultRow| row.status == Status::Ok && row.first_bad_op.is_some();
    for group in data.groups() {
        for row in group.rows.iter().copied().filter(shown) {
            table.push_of(provenance_cells(row), [row]);
        }
    }
    if table.rows.is_empty() {
        let examined = data.measured().filter(|row| row.silent_forwards.is_some()).count();
        let why = match examined {
            0 => "No configuration's tensors were examined: the reference backend shows them, and cuda under fp16."
                .to_owned(),
            n => format!("Nothing failed inside {} whose tensors were examined.", numbers::plural(n, "configuration")),
        };
        return Table::empty("provenance", caption, why);
    }
    let text = "Kinds: NaN and infinity are values that the operation stored. Silent is a layer norm in which the \
                square of a deviation or the sum of the squares exceeds FP16's 65504. An infinity that arises in a \
                product need not come from its input: a bias or a weight may itself exceed FP16's range.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table.without_empty_columns().rule_between_groups(2)
}

fn provenance_cells(row: &ResultRow) -> Vec<TableCell> {
    vec![
        TableCell::new(&row.model),
        TableCell::new(&row.input),
        TableCell::new(row.backend.name()),
        TableCell::new(&row.precision),
        TableCell {
            source: Some(row.id.clone()),
            ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
        },
        TableCell::optional(row.first_bad_op.clone()),
        TableCell::new(row.first_bad_layer.map_or_else(|| "outside".to_owned(), |layer| layer.to_string())),
        TableCell::optional(row.first_bad_kind.map(|kind| kind.label().to_owned())),
        TableCell::optional(row.first_bad_magnitude.map(numbers::magnitude)),
    ]
}
