//! Memory: what the process used, what the engine holds, and what the policy's formats would need.

use crate::report::data::{Data, Group, series, shape};
use crate::report::numbers;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::store::schema::{ResultRow, Status};

/// One table over all models: smallest and largest shape of every series.
pub fn memory(data: &Data) -> Table {
    let caption = "Memory (MiB) at the smallest and the largest measured shape of every series: measured peak of the \
                   process, the engine's own account, and the size of the graph's tensors in the policy's formats, which \
                   is computed, not measured.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Shape"),
        Heading::number("peak").under("Process"),
        Heading::number("weights").under("Engine"),
        Heading::number("activations").under("Engine"),
        Heading::number("scratch").under("Engine"),
        Heading::number("weights").under("Computed"),
        Heading::number("tensors").under("Computed"),
        Heading::number("computed, against fp32").under("Computed"),
    ];
    let mut table = Table::new("memory", caption, headings);
    for group in one_input_per_model(data) {
        for wanted in group.series() {
            let fp32 = wanted.fp32();
            for row in extremes(&group, &wanted) {
                table.push(cells(row, group.row(&fp32, shape(row))));
            }
        }
    }
    if table.rows.is_empty() {
        return Table::empty("memory", caption, "No configuration was measured.");
    }
    for text in [
        "Process peak: resident host memory of the worker process while it built the engine and measured; emulation and \
         the CPU backends may hold FP32 copies, so it does not follow the policy's formats.",
        "Computed: parameters, and the sum of all intermediate tensors, in the formats the policy stores them in. No engine \
         needs as much at a time, since buffers are reused. The last column sets the computed sum against fp32's.",
        "Engine: the reference engine pads its weight panels to whole blocks and holds FP32 copies of all weights whatever \
         the policy, so that what it holds exceeds what the formats need.",
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

/// Sum of the tensors in the policy's formats.
pub fn computed_bytes(row: &ResultRow) -> Option<u64> {
    Some(row.policy_weights_bytes? + row.policy_activations_bytes?)
}

/// Change of `bytes` against `base`, as a share: -0.5 is half.
pub fn change(bytes: u64, base: u64) -> Option<f64> {
    (base > 0).then(|| bytes as f64 / base as f64 - 1.0)
}

fn extremes<'a>(group: &Group<'a>, wanted: &crate::report::data::Series) -> Vec<&'a ResultRow> {
    let mut rows: Vec<&ResultRow> =
        group.rows.iter().copied().filter(|row| series(row) == *wanted && row.status == Status::Ok).collect();
    rows.sort_by_key(|row| (row.batch_size * row.sequence_length, row.batch_size));
    match rows.as_slice() {
        [] => vec![],
        [only] => vec![only],
        [first, .., last] => vec![first, last],
    }
}

fn cells(row: &ResultRow, fp32: Option<&ResultRow>) -> Vec<TableCell> {
    let size = |bytes: Option<u64>| TableCell::optional(bytes.map(numbers::mebibytes));
    let against = computed_bytes(row).zip(fp32.and_then(computed_bytes)).and_then(|(bytes, base)| change(bytes, base));
    vec![
        TableCell::new(&row.model),
        TableCell::new(series(row).builder()),
        TableCell::new(&row.precision),
        TableCell {
            source: Some(row.id.clone()),
            ..TableCell::new(format!("{}×{}", row.batch_size, row.sequence_length))
        },
        size(row.process_peak_bytes),
        size(row.weights_bytes),
        size(row.activations_bytes),
        size(row.workspace_bytes),
        size(row.policy_weights_bytes),
        size(row.policy_activations_bytes),
        TableCell::optional(against.map(|share| format!("{} %", numbers::fixed(share * 100.0, 1)))),
    ]
}
