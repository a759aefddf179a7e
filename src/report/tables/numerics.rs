//! Agreement with the FP32 reference: the worst over all shapes, and shape by shape.

use super::forwards::rate_cell;
use super::grid::{Cells, Grid};
use crate::analysis::facts::{any_fails, has_infinity, has_nan, is_one_number, nonfinite_share, smallest_cosine};
use crate::manifest::schema::Tolerance;
use crate::numbers;
use crate::record::{NOT_CHECKED, Status};
use crate::report::sentences::{failures, tasks};
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, series, total};
use crate::store::schema::ResultRow;

/// One table over all models, inputs and series: the worst value over the measured shapes.
pub fn worst(data: &Data) -> Table {
    let caption = "Outputs against the FP32 reference, worst value over all measured shapes. Non-finite elements are \
                   counted first, over the whole output. The smallest cosine and the counts are over all examined passes, \
                   the mean and the errors over the compared sequences of the first.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Input"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("rows").under("NaN"),
        Heading::number("share").under("NaN"),
        Heading::number("Inf"),
        Heading::number("Broken rows"),
        Heading::interval("Failed passes"),
        Heading::number("Smallest cosine"),
        Heading::number("mean cosine").under("First pass"),
        Heading::number("max abs").under("First pass"),
        Heading::number("rel. L2").under("First pass"),
        Heading::number("argmax").under("First pass"),
        Heading::number("rank").under("First pass"),
        Heading::text("Tolerance"),
    ];
    let mut table = Table::new("numerics", caption, headings);
    let mut notes = Notes::default();
    for group in data.groups() {
        for wanted in group.series() {
            let rows: Vec<&ResultRow> =
                group.rows.iter().copied().filter(|row| series(row) == wanted && row.status == Status::Ok).collect();
            if !rows.is_empty() {
                let cells = worst_cells(&rows, data.plan.tolerances.get(&wanted.precision), &mut notes);
                table.push_of(cells, rows);
            }
        }
    }
    if table.rows.is_empty() {
        return Table::empty("numerics", caption, "No configuration was measured.");
    }
    table.notes = notes.finish();
    if data.measured().any(|row| row.forward_compared_rows.is_some()) {
        let text = format!(
            "{} Broken rows and failed passes are over all examined passes; with a Clopper–Pearson 95 % interval.",
            failures::definition(data.plan.numerics)
        );
        table.notes.push(Note { mark: String::new(), text });
    }
    let notes = tasks::one_number(data).into_iter().chain(tasks::outputs(&data.measured().collect::<Vec<_>>()));
    table.notes.extend(notes.map(|text| Note { mark: String::new(), text }));
    table.without_empty_columns().rule_between_groups(2)
}

/// Distance of the smallest cosine from 1, shape by shape. For a single shape, [`worst`] holds the same value and more.
pub fn by_shape(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "cosine",
        title: "Distance from the FP32 reference, 1 − smallest cosine",
        unit: "or the share of NaN in the output",
        cells: Cells::Number,
        about_time: false,
    };
    let mut tables = grid.tables(data, &shape_cell);
    tables.retain(|table| table.rows.len() != 1);
    tables
}

fn shape_cell(row: &ResultRow, notes: &mut Notes) -> TableCell {
    if let Some(share) = nonfinite_share(row).filter(|&share| share > 0.0) {
        let what = if row.nan_count.unwrap_or(0) > 0 { "NaN" } else { "Inf" };
        return TableCell::new(format!("{what} {}", numbers::percent(share)));
    }
    match smallest_cosine(row) {
        Some(cosine) => TableCell::new(numbers::magnitude(numbers::cosine_distance(cosine))),
        None => TableCell { mark: Some(notes.mark(&no_comparison(row))), ..TableCell::dash() },
    }
}

fn no_comparison(row: &ResultRow) -> String {
    match &row.numerics_remark {
        _ if is_one_number(row) => "An output is one number, which has no cosine.".to_owned(),
        Some(remark) => format!("No comparison: {remark}"),
        None => "No comparison with the reference.".to_owned(),
    }
}

/// `limits`: the manifest's on this policy.
fn worst_cells(rows: &[&ResultRow], limits: Option<&Tolerance>, notes: &mut Notes) -> Vec<TableCell> {
    let first = rows[0];
    let sum = |of: fn(&ResultRow) -> Option<u64>| total(rows.iter().filter_map(|row| of(row)));
    let known = |of: fn(&ResultRow) -> Option<u64>| -> Option<u64> { rows.iter().map(|row| of(row)).sum() };
    let partly = partly_compared(rows);
    let with_nan = rows.iter().filter(|row| has_nan(row)).count();
    let elements = sum(|row| row.output_elements);
    let share = |bad: u64| match elements {
        0 => TableCell::dash(),
        elements => TableCell::new(numbers::percent(bad as f64 / elements as f64)),
    };
    vec![
        TableCell::new(&first.model),
        TableCell::new(&first.input),
        TableCell::new(first.backend.name()),
        TableCell::new(&first.precision).failing_if(any_fails(rows.iter().copied())),
        TableCell::new(format!("{with_nan}/{}", rows.len())),
        share(sum(|row| row.nan_count)),
        share(sum(|row| row.inf_count)),
        match known(|row| row.forward_broken_rows).zip(known(|row| row.forward_compared_rows)) {
            Some((broken, compared)) if partly.is_none() => {
                format!("{}/{}", numbers::count(broken), numbers::count(compared)).into()
            }
            _ => TableCell { mark: partly.as_deref().map(|why| notes.mark(why)), ..TableCell::dash() },
        },
        match partly {
            None => rate_cell(known(|row| row.failed_forwards), known(|row| row.forwards)),
            Some(why) => TableCell { mark: Some(notes.mark(&why)), ..TableCell::dash() },
        },
        worst_of(rows, smallest_cosine, f64::min, numbers::cosine, notes),
        worst_of(rows, |row| row.cosine_mean, f64::min, numbers::cosine, notes),
        worst_of(rows, |row| row.max_abs_error, f64::max, numbers::magnitude, notes),
        worst_of(rows, |row| row.relative_l2_error, f64::max, numbers::magnitude, notes),
        TableCell::optional(rows.iter().filter_map(|row| row.argmax_agreement).reduce(f64::min).map(numbers::percent)),
        TableCell::optional(rows.iter().filter_map(|row| row.rank_correlation).reduce(f64::min).map(numbers::cosine)),
        tolerance(rows, limits, notes),
    ]
}

/// Why counts say little of rows whose scored sentences were not all compared; `None` of others, and where one is broken.
fn partly_compared(rows: &[&ResultRow]) -> Option<String> {
    let of = |row: &&ResultRow| row.forward_compared_rows.zip(row.task_total).filter(|(compared, all)| compared < all);
    let (compared, all) = rows.iter().find_map(of).filter(|_| !any_fails(rows.iter().copied()))?;
    Some(format!("Only {compared} of {all} sentences were compared with FP32; numerics.forwards asks for more."))
}

/// The worst value, or a dash as soon as one shape has none: NaN is never better than a number.
fn worst_of(
    rows: &[&ResultRow],
    of: fn(&ResultRow) -> Option<f64>,
    worse: fn(f64, f64) -> f64,
    show: fn(f64) -> String,
    notes: &mut Notes,
) -> TableCell {
    let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
    match values.iter().copied().reduce(worse) {
        Some(worst) if values.len() == rows.len() => TableCell::new(show(worst)),
        _ => {
            let undefined = rows.iter().find(|row| of(row).is_none()).copied().unwrap_or(rows[0]);
            let why = if has_nan(undefined) || has_infinity(undefined) {
                "Undefined: an output vector holds NaN or infinity.".to_owned()
            } else {
                no_comparison(undefined)
            };
            TableCell { mark: Some(notes.mark(&why)), ..TableCell::dash() }
        }
    }
}

fn tolerance(rows: &[&ResultRow], limits: Option<&Tolerance>, notes: &mut Notes) -> TableCell {
    let Some(limits) = limits.filter(|limits| limits.limits_values()) else { return TableCell::new("none set") };
    let broken: Vec<(&ResultRow, String)> = rows.iter().filter_map(|row| Some((*row, beyond(row, limits)?))).collect();
    match broken.first() {
        Some((row, remark)) => {
            let mark = notes.mark(&format!("Broken, first at {}×{}: {remark}", row.batch_size, row.sequence_length));
            TableCell { mark: Some(mark), ..TableCell::new(format!("broken {}/{}", broken.len(), rows.len())) }
        }
        None => match rows.iter().find_map(|row| Some((row, not_checked(row)?))) {
            Some((row, limits)) => {
                let mark = Some(notes.mark(&format!("Not checked: the limit on {limits}.")));
                let text = if row.within_tolerance.is_some() { "in part" } else { "not checked" };
                TableCell { mark, ..TableCell::new(text) }
            }
            None if rows.iter().any(|row| row.within_tolerance == Some(true)) => TableCell::new("kept"),
            None => TableCell::new("none set"),
        },
    }
}

/// What breaks the limits. Rows of version 0.1 hold only what the first pass keeps, so the cosine is looked at again.
fn beyond(row: &ResultRow, limits: &Tolerance) -> Option<String> {
    if row.within_tolerance == Some(false) {
        return Some(row.numerics_remark.clone().unwrap_or_else(|| "a limit of the manifest".to_owned()));
    }
    let (cosine, limit) = smallest_cosine(row).zip(limits.cosine_min).filter(|(cosine, limit)| cosine < limit)?;
    Some(format!("minimum cosine {} of all passes breaks the limit {limit}", numbers::cosine(cosine)))
}

/// The limits of the tolerance that mean nothing for the row's output.
fn not_checked(row: &ResultRow) -> Option<&str> {
    let (_, limits) = row.numerics_remark.as_deref()?.split_once(NOT_CHECKED)?;
    limits.split("; ").next()
}
