//! Latency and throughput.

use super::device;
use super::grid::{Cells, Grid};
use crate::analysis::disturbances::Disturbance;
use crate::analysis::facts::latency_interval;
use crate::numbers;
use crate::record::StopReason;
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, Group, distinct};
use crate::stats::{BOOTSTRAP_MIN_SAMPLES, Percentile};
use crate::store::schema::ResultRow;

const STOPPED: &str = "Stopped by the time cap or the sample limit before the interval was within the target.";

/// Median latency with its 95 % interval and number of samples.
pub fn latency(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "latency",
        title: "Median latency with its 95 % interval and the number n of samples",
        unit: "ms per forward pass",
        cells: Cells::Details,
        about_time: true,
    };
    let mut tables = grid.tables(data, &latency_cell);
    if tails(data).is_empty() {
        let text = format!(
            "No 90th percentile is given: it needs {} samples, and no row has that many.",
            Percentile::P90.min_samples()
        );
        for table in &mut tables {
            table.notes.push(Note { mark: String::new(), text: text.clone() });
        }
    }
    tables
}

/// Batch size and sequence length of the shapes that stand for a grid.
pub const SHAPES: [(u64, u64); 6] = [(1, 32), (1, 128), (1, 512), (8, 128), (32, 128), (32, 512)];

/// Medians at a few shapes, a row for each model and series; none where the grid has hardly more.
pub fn at_some_shapes(data: &Data) -> Vec<Table> {
    let groups = data.groups();
    let shapes = distinct(groups.iter().flat_map(Group::shapes));
    let shown: Vec<(u64, u64)> = SHAPES.into_iter().filter(|at| shapes.contains(at)).collect();
    if shown.len() < 2 || shapes.len() < 2 * shown.len() {
        return Vec::new();
    }
    let names = ["Model", "Backend", "Precision"].map(Heading::text);
    let shape =
        |(batch, sequence): &(u64, u64)| Heading::number(&format!("{batch}×{sequence}")).under("batch × tokens");
    let headings = names.into_iter().chain(shown.iter().map(shape)).collect();
    let caption = "Median latency in ms at some shapes; the appendix has all of them, with intervals.";
    let mut table = Table::new("latency-shapes", caption, headings);
    for group in &groups {
        for series in group.executed_series() {
            let rows: Vec<Option<&ResultRow>> = shown.iter().map(|&at| group.row(&series, at)).collect();
            let native = |row: &&ResultRow| row.emulated == Some(false);
            if !rows.iter().flatten().any(native) {
                continue;
            }
            let cell = |row: &Option<&ResultRow>| {
                let median = row.and_then(|row| row.latency_p50_ms);
                let source = row.map(|row| row.id.clone());
                TableCell { source, ..TableCell::optional(median.map(|median| numbers::significant(median, 3))) }
            };
            let names = [group.model.into(), series.builder().into(), TableCell::new(&series.precision)];
            let cells = names.into_iter().chain(rows.iter().map(cell)).collect();
            table.push_of(cells, rows.iter().flatten().copied());
        }
    }
    if table.rows.is_empty() { Vec::new() } else { vec![table.with_spans().rule_between_groups(1)] }
}

/// Energy beside the latency; tails, device time and time end to end.
pub fn details(data: &Data) -> Vec<Table> {
    let mut tables = device::energy_per_sequence(data);
    tables.extend(tails(data));
    tables.extend(device::device_latency(data));
    tables.extend(device::ceiling(data));
    tables.extend(device::end_to_end(data));
    tables
}

/// 90th percentiles, of series of which any row supports one.
fn tails(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "latency-p90",
        title: "90th percentile of the latency",
        unit: "ms per forward pass",
        cells: Cells::Number,
        about_time: true,
    };
    let few = format!("Fewer than the {} samples that a 90th percentile needs.", Percentile::P90.min_samples());
    grid.tables_of(data, &|row| row.latency_p90_ms.is_some(), &|row, notes| match row.latency_p90_ms {
        Some(latency) => TableCell::new(numbers::significant(latency, 4)),
        None => TableCell { mark: Some(notes.mark(&few)), ..TableCell::dash() },
    })
}

/// Tokens per second at the median latency; then what devices sustain, and their energy.
pub fn throughput(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "throughput",
        title: "Throughput at the median latency",
        unit: "thousand tokens/s, padding included",
        cells: Cells::Number,
        about_time: true,
    };
    let mut tables = grid.tables(data, &|row, _| {
        TableCell::optional(row.throughput_tokens_per_s.map(|rate| numbers::significant(rate / 1e3, 4)))
    });
    tables.extend(device::sustained(data));
    tables.extend(device::energy(data));
    tables
}

fn latency_cell(row: &ResultRow, notes: &mut Notes) -> TableCell {
    let Some(median) = row.latency_p50_ms else {
        return TableCell { mark: Some(notes.mark("A sample was not a finite number.")), ..TableCell::dash() };
    };
    let (text, interval) = numbers::with_interval(median, latency_interval(row), 4);
    let few = interval.is_none().then(|| {
        notes.mark(&format!("Fewer than {BOOTSTRAP_MIN_SAMPLES} samples: too few for an interval of the median."))
    });
    let stopped = row.stop_reason.is_some_and(|reason| reason != StopReason::TargetPrecision);
    let wide = stopped.then(|| notes.mark(STOPPED));
    let disturbed = Disturbance::ALL.into_iter().filter(|kind| kind.of(row)).map(|kind| notes.mark(kind.footnote()));
    let marks: Vec<String> = few.into_iter().chain(wide).chain(disturbed).collect();
    let n = row.samples.map(|n| format!("n = {}", numbers::count(n)));
    let detail: Vec<String> = interval.into_iter().chain(n).collect();
    TableCell {
        text,
        detail: (!detail.is_empty()).then(|| detail.join(", ")),
        mark: (!marks.is_empty()).then(|| marks.join(",")),
        ..TableCell::default()
    }
}
