//! Speed-ups: against the CPU baseline, and of every precision against FP32 of the same backend. Emulated rows are left
//! out.

use super::grid::{Cells, Grid};
use crate::analysis::disturbances::Disturbance;
use crate::analysis::pairs::{self, RowPair};
use crate::engine::BackendKind;
use crate::numbers;
use crate::report::sentences::noise;
use crate::report::sentences::speedup::{self, DECIDES_NOTHING, baseline_label, nothing_to_compare};
use crate::report::table::{Note, Notes, Table, TableCell};
use crate::results::data::{Data, Group, Series, distinct, series, timed};
use crate::store::schema::ResultRow;

const OVER_CPU: Grid = Grid { slug: "speedup", title: "Speed-up", unit: "", cells: Cells::Detail, about_time: false };
const OVER_FP32: Grid = Grid { slug: "precision-speedup", ..OVER_CPU };

/// Speed-up over the CPU baseline, a table per group; one that says why where no group has any.
pub fn over_cpu_baseline(data: &Data) -> Vec<Table> {
    let tables: Vec<Table> = data.groups().iter().flat_map(|group| cpu_tables(data, group)).collect();
    if tables.iter().any(|table| table.empty.is_none()) {
        return tables;
    }
    let reasons = distinct(tables.into_iter().filter_map(|table| table.empty)).join(" ");
    let reasons = if reasons.is_empty() { "The plan has no configurations.".to_owned() } else { reasons };
    vec![Table::empty(OVER_CPU.slug, "Speed-up over the CPU baseline.", reasons)]
}

/// Speed-up of each precision over FP32 of the same backend, a table per group.
pub fn over_fp32(data: &Data) -> Vec<Table> {
    let mut tables = Vec::new();
    for group in &data.groups() {
        let with_baseline = |column: &Series| {
            let baseline = column.fp32();
            *column != baseline && group.rows.iter().any(|row| series(row) == baseline && timed(row))
        };
        let columns: Vec<Series> = timed_series(group).into_iter().filter(with_baseline).collect();
        for columns in OVER_FP32.side_by_side(&columns) {
            let caption =
                format!("Speed-up over FP32 of the same backend, with interval: {}{}.", group.label(), columns.part);
            let table = Table::new(OVER_FP32.slug_of(group, &columns), caption, vec![]);
            let cell = |row: &ResultRow, notes: &mut Notes| {
                ratio_cell(pair_over(data, group, &series(row).fp32(), row), notes)
            };
            let mut table = OVER_FP32.grid(table, group, &columns.series, &cell);
            table.notes.extend(noise::note(data, &backends(columns.series.iter())));
            tables.push(table);
        }
    }
    if tables.is_empty() {
        let caption = "Speed-up of each precision over FP32 of the same backend.";
        tables.push(Table::empty(OVER_FP32.slug, caption, nothing_to_compare(data)));
    }
    tables
}

fn cpu_tables(data: &Data, group: &Group) -> Vec<Table> {
    let caption =
        |baseline: &str, part: &str| format!("Speed-up over {baseline}, with interval: {}{part}.", group.label());
    let slug = format!("{}-{}", OVER_CPU.slug, group.slug());
    let Some(baseline) = group.cpu_baseline() else {
        let why = "No FP32 row was timed on the CPU, so there is no baseline to divide by.";
        return vec![Table::empty(slug, caption("the CPU baseline", ""), why)];
    };
    let label = baseline_label(&baseline);
    let columns: Vec<Series> = timed_series(group).into_iter().filter(|column| *column != baseline).collect();
    if columns.is_empty() {
        let mut why = format!("Nothing but the baseline itself ({}) was timed natively.", baseline.label());
        if group.rows.iter().any(|row| row.emulated == Some(true)) {
            why = format!("{why} Emulated rows are left out: their time says nothing about hardware with that format.");
        }
        return vec![Table::empty(slug, caption(&label, ""), why)];
    }
    let tables = OVER_CPU.side_by_side(&columns).into_iter();
    tables
        .map(|columns| {
            let table = Table::new(OVER_CPU.slug_of(group, &columns), caption(&label, &columns.part), vec![]);
            let mut table = OVER_CPU.grid(table, group, &columns.series, &|row, notes| {
                ratio_cell(pair_over(data, group, &baseline, row), notes)
            });
            table.notes.insert(0, Note { mark: String::new(), text: speedup::baseline_note(data, group, &baseline) });
            table.notes.extend(noise::note(data, &backends(columns.series.iter().chain([&baseline]))));
            table
        })
        .collect()
}

fn backends<'a>(series: impl Iterator<Item = &'a Series>) -> Vec<BackendKind> {
    distinct(series.map(|series| series.backend))
}

/// The pair of the baseline's row and this one.
fn pair_over<'a>(data: &Data, group: &Group<'a>, baseline: &Series, row: &'a ResultRow) -> Option<RowPair<'a>> {
    let numerator = pairs::counterpart(data, group, baseline, row)?;
    Some(RowPair { numerator, denominator: row })
}

fn ratio_cell(pair: Option<RowPair>, notes: &mut Notes) -> TableCell {
    let pair = pair.filter(|pair| timed(pair.numerator));
    match pair.and_then(|pair| Some((pair, pair.latency_ratio()?))) {
        Some((pair, (ratio, interval))) => {
            let (text, detail) = numbers::with_interval(ratio, interval, 3);
            let mark = match pair.disturbance() {
                Some(kind) => Some(notes.mark(&format!("{} {DECIDES_NOTHING}", kind.footnote()))),
                None if pair.is_throttled() => Some(notes.mark(Disturbance::Throttled.footnote())),
                None => None,
            };
            let cell = TableCell { text: format!("{text}×"), detail, mark, ..TableCell::default() };
            cell.of([pair.numerator, pair.denominator])
        }
        None => TableCell { mark: Some(notes.mark(speedup::LACKING)), ..TableCell::dash() },
    }
}

/// Series with at least one row whose time may be compared.
fn timed_series(group: &Group) -> Vec<Series> {
    let is_timed = |wanted: &Series| group.rows.iter().any(|row| series(row) == *wanted && timed(row));
    group.series().into_iter().filter(is_timed).collect()
}
