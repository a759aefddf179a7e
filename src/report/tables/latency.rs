//! Latency and throughput.

use super::grid::Grid;
use crate::report::data::{Data, latency_interval};
use crate::report::numbers;
use crate::report::table::{Notes, Table, TableCell};
use crate::stats::BOOTSTRAP_MIN_SAMPLES;
use crate::store::schema::ResultRow;

/// Median latency with its 95 % interval.
pub fn latency(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "latency",
        title: "Median latency with its 95 % interval",
        unit: "ms per forward pass",
        detail: true,
        about_time: true,
    };
    grid.tables(data, &latency_cell)
}

/// Tokens per second at the median latency.
pub fn throughput(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "throughput",
        title: "Throughput at the median latency",
        unit: "tokens/s, padding included",
        detail: false,
        about_time: true,
    };
    grid.tables(data, &|row, _| {
        TableCell::optional(row.throughput_tokens_per_s.map(|rate| numbers::significant(rate, 4)))
    })
}

fn latency_cell(row: &ResultRow, notes: &mut Notes) -> TableCell {
    let Some(median) = row.latency_p50_ms else {
        return TableCell { mark: Some(notes.mark("A sample was not a finite number.")), ..TableCell::dash() };
    };
    let (text, detail) = numbers::with_interval(median, latency_interval(row), 4);
    let mark = detail.is_none().then(|| {
        notes.mark(&format!("Fewer than {BOOTSTRAP_MIN_SAMPLES} samples: too few for an interval of the median."))
    });
    TableCell { text, detail, mark, ..TableCell::default() }
}
