//! Memory: what the process used, what the engine holds, and what the policy's formats would need.

use super::without_fp32;
use crate::analysis::facts::{any_fails, computed_bytes, engine_bytes};
use crate::analysis::pairs::{self, RowPair, less};
use crate::numbers;
use crate::record::Status;
use crate::report::table::{Heading, Note, Notes, Table, TableCell, TableRow};
use crate::results::data::{Data, Group, Series, series};
use crate::stats::median;
use crate::store::schema::ResultRow;

const SHAPES: &str = "memory";
const SUMMARY: &str = "memory-reduction";
const EMULATED_MEMORY: &str = "Formats are emulated on the CPU, so the engine's memory does not follow the policy.";

/// The reduction over all shapes, then the parts at the smallest and the largest one.
pub fn tables(data: &Data) -> Vec<Table> {
    vec![summary(data), memory(data)]
}

/// How much less every series' engines hold than those of FP32, over all shapes.
fn summary(data: &Data) -> Table {
    let caption = "Memory reduction: how much less an engine holds (weights, activations and scratch) than the FP32 \
                   engine of the same backend, model, shape and input, over all shapes.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shapes"),
        Heading::number("median").under("Reduction"),
        Heading::number("lowest").under("Reduction"),
        Heading::number("at").under("Reduction"),
        Heading::number("highest").under("Reduction"),
        Heading::number("at").under("Reduction"),
    ];
    let mut table = Table::new(SUMMARY, caption, headings);
    for group in one_input_per_model(data) {
        for wanted in group.series().iter().filter(|wanted| **wanted != wanted.fp32()) {
            table.rows.extend(summary_row(data, &group, wanted));
        }
    }
    if table.rows.is_empty() {
        let why = "No native engine reported its memory in both FP32 and another precision at one shape in one \
                   environment. Engines that emulate a format hold FP32 copies under every policy.";
        return Table::empty(SUMMARY, caption, why);
    }
    let text = "This reduction leaves out the process, the driver and the library, which are the same for every \
                precision.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    let accounted = |row: &&ResultRow| row.emulated == Some(false) && engine_bytes(row).is_some();
    table.covering(data.measured().filter(accounted)).rule_between_groups(2)
}

fn summary_row(data: &Data, group: &Group, wanted: &Series) -> Option<TableRow> {
    let rows = group.shapes().into_iter().filter_map(|at| group.row(wanted, at));
    let mut found: Vec<(f64, &ResultRow)> = rows.filter_map(|row| Some((reduction(data, group, row)?, row))).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (lowest, highest) = (found.first()?, found.last()?);
    let at = |row: &ResultRow| TableCell {
        source: Some(row.id.clone()),
        ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
    };
    let cells = vec![
        group.model.into(),
        wanted.builder().into(),
        TableCell::new(&wanted.precision).failing_if(fails_on_any_input(data, group, wanted)),
        numbers::count(found.len() as u64).into(),
        TableCell::optional(median(&found.iter().map(|(share, _)| *share).collect::<Vec<f64>>()).map(percent)),
        percent(lowest.0).into(),
        at(lowest.1),
        percent(highest.0).into(),
        at(highest.1),
    ];
    let mut made = Table::default();
    let bases = found.iter().filter_map(|(_, row)| pairs::fp32_counterpart(data, group, row));
    made.push_of(cells, found.iter().map(|(_, row)| *row).chain(bases));
    made.rows.pop()
}

/// Smallest and largest shape of every series.
fn memory(data: &Data) -> Table {
    let caption = "Memory (MiB) at the smallest and the largest measured shape of every series: the memory that the \
                   engine reports and its reduction against FP32, the measured peak of the process, and the size of the \
                   graph's tensors in the policy's formats, which is computed, not measured.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shape"),
        Heading::number("weights").under("Engine"),
        Heading::number("activations").under("Engine"),
        Heading::number("scratch").under("Engine"),
        Heading::number("total").under("Engine"),
        Heading::number("less than fp32").under("Engine"),
        Heading::number("device").under("Measured growth and peak"),
        Heading::number("process").under("Measured growth and peak"),
        Heading::number("weights").under("Computed"),
        Heading::number("tensors").under("Computed"),
        Heading::number("less than fp32").under("Computed"),
    ];
    let mut table = Table::new(SHAPES, caption, headings);
    let mut notes = Notes::default();
    for group in one_input_per_model(data) {
        for wanted in group.series() {
            for row in extremes(&group, &wanted) {
                let base = pairs::fp32_counterpart(data, &group, row);
                table.push_of(cells(data, &group, row, &mut notes), std::iter::once(row).chain(base));
            }
        }
    }
    if table.rows.is_empty() {
        return Table::empty(SHAPES, caption, "No configuration was measured.");
    }
    table.notes = notes.finish();
    for text in [
        "Engine: its weights, its intermediate tensors and outputs, and the scratch of its libraries; the total is \
         their sum. The reference engine pads its weight panels to whole blocks and holds FP32 copies of all weights \
         under every policy.",
        "Device: growth of the device's used memory from before the engine was made, by the driver's count. Process: \
         peak of the worker's resident host memory while it built and measured the engine.",
        "Computed: the parameters and the sum of all intermediate tensors, in the policy's storage formats. No engine \
         needs this much at once, because buffers are reused.",
    ] {
        table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    }
    table.without_empty_columns().rule_between_groups(2)
}

/// Memory does not depend on where ids come from: the first input of each model stands for all.
pub fn one_input_per_model(data: &Data) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for group in data.groups() {
        if !groups.iter().any(|seen| seen.model == group.model) {
            groups.push(group);
        }
    }
    groups
}

/// Whether outputs of the series fail on any input: the one that stands for all in these tables may be harmless.
fn fails_on_any_input(data: &Data, group: &Group, wanted: &Series) -> bool {
    any_fails(data.measured().filter(|row| row.model == group.model && series(row) == *wanted))
}

/// How much less a row's engine holds than the FP32 engine that it pairs with; `None` where formats are emulated.
fn reduction(data: &Data, group: &Group, row: &ResultRow) -> Option<f64> {
    let pair = RowPair { numerator: row, denominator: pairs::fp32_counterpart(data, group, row)? };
    let native = [row, pair.denominator].iter().all(|row| row.status == Status::Ok && row.emulated == Some(false));
    native.then(|| pair.memory_reduction()).flatten()
}

fn percent(share: f64) -> String {
    format!("{} %", numbers::fixed(share * 100.0, 1))
}

fn extremes<'a>(group: &Group<'a>, wanted: &Series) -> Vec<&'a ResultRow> {
    let mut rows: Vec<&ResultRow> =
        group.rows.iter().copied().filter(|row| series(row) == *wanted && row.status == Status::Ok).collect();
    rows.sort_by_key(|row| (row.batch_size * row.sequence_length, row.batch_size));
    match rows.as_slice() {
        [] => vec![],
        [only] => vec![only],
        [first, .., last] => vec![first, last],
    }
}

fn cells(data: &Data, group: &Group, row: &ResultRow, notes: &mut Notes) -> Vec<TableCell> {
    let size = |bytes: Option<u64>| TableCell::optional(bytes.map(numbers::mebibytes));
    let fp32 = pairs::fp32_counterpart(data, group, row);
    let computed = match fp32 {
        Some(base) => {
            let both = computed_bytes(row).zip(computed_bytes(base));
            TableCell::optional(both.and_then(|(bytes, base)| less(bytes, base)).map(percent))
        }
        None => without_fp32(group, row, notes),
    };
    let held = match row.emulated {
        Some(true) => TableCell { mark: Some(notes.mark(EMULATED_MEMORY)), ..TableCell::dash() },
        _ if fp32.is_none() => without_fp32(group, row, notes),
        _ => TableCell::optional(reduction(data, group, row).map(percent)),
    };
    vec![
        TableCell::new(&row.model),
        TableCell::new(series(row).builder()),
        TableCell::new(&row.precision).failing_if(fails_on_any_input(data, group, &series(row))),
        TableCell {
            source: Some(row.id.clone()),
            ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
        },
        size(row.weights_bytes),
        size(row.activations_bytes),
        size(row.workspace_bytes),
        size(engine_bytes(row)),
        held,
        size(row.device_memory_bytes),
        size(row.process_peak_bytes),
        size(row.policy_weights_bytes),
        size(row.policy_activations_bytes),
        computed,
    ]
}
