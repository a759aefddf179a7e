//! Engines that a builder serialised: build time, size, and the types in the builder's own network.

use crate::analysis::facts::any_fails;
use crate::engine::Target;
use crate::numbers;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::{Data, distinct, series};
use crate::stats::median;
use crate::store::schema::ResultRow;

const SLUG: &str = "engines";

/// One row per model and series, over its shapes.
pub fn engines(data: &Data) -> Table {
    let caption = "Serialised engines: build time, size, and the share of floating-point operations by type. The types \
                   are those of the builder's own network, read back before the build.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Precision"),
        Heading::text("Target"),
        Heading::number("Engines"),
        Heading::number("median").under("Build (s)"),
        Heading::number("longest").under("Build (s)"),
        Heading::number("smallest").under("Size (MiB)"),
        Heading::number("largest").under("Size (MiB)"),
        Heading::number("fp32").under("FLOPs by type (%)"),
        Heading::number("tf32").under("FLOPs by type (%)"),
        Heading::number("bf16").under("FLOPs by type (%)"),
        Heading::number("fp16").under("FLOPs by type (%)"),
    ];
    let mut table = Table::new(SLUG, caption, headings);
    let built: Vec<&ResultRow> = data.rows.iter().filter(|row| row.engine_bytes.is_some()).collect();
    for model in distinct(built.iter().map(|row| row.model.as_str())) {
        let of_model = || built.iter().copied().filter(|row| row.model == model);
        for wanted in distinct(of_model().map(series)) {
            let rows: Vec<&ResultRow> = of_model().filter(|row| series(row) == wanted).collect();
            table.push(cells(&rows));
        }
    }
    if table.rows.is_empty() {
        return Table::empty(SLUG, caption, "No engine was built ahead of time.");
    }
    let mut note = |text: String| table.notes.push(Note { mark: String::new(), text });
    let builders = distinct(built.iter().filter_map(|row| row.builder.clone())).join(", ");
    note(format!(
        "Builder: {builders}. The build time is the builder's own; it leaves out writing and parsing the graph."
    ));
    let cached = built.iter().filter(|row| row.engine_cached == Some(true)).count();
    if cached > 0 {
        let engines = numbers::plural(cached, "engine");
        note(format!("{engines} came from the engine cache; their build time was recorded when they were built."));
    }
    table.covering(built.into_iter()).without_empty_columns().rule_between_groups(1)
}

fn cells(rows: &[&ResultRow]) -> Vec<TableCell> {
    let first = rows[0];
    let times: Vec<f64> = rows.iter().filter_map(|row| row.compile_s).collect();
    let longest = times.iter().copied().reduce(f64::max);
    let sizes = || rows.iter().filter_map(|row| row.engine_bytes);
    let seconds = |time: Option<f64>| TableCell::optional(time.map(|time| numbers::significant(time, 3)));
    let size = |bytes: Option<u64>| TableCell::optional(bytes.map(numbers::mebibytes));
    vec![
        TableCell::new(&first.model),
        TableCell::new(&first.precision).failing_if(any_fails(rows.iter().copied())),
        TableCell::new(first.target.unwrap_or(Target::Current).name()),
        TableCell::new(rows.len().to_string()),
        seconds(median(&times)),
        seconds(longest),
        size(sizes().min()),
        size(sizes().max()),
        share(rows, |row| row.flops_share_fp32),
        share(rows, |row| row.flops_share_tf32),
        share(rows, |row| row.flops_share_bf16),
        share(rows, |row| row.flops_share_fp16),
    ]
}

/// The share over the shapes: one number where they agree to the digit shown, a range where they do not.
fn share(rows: &[&ResultRow], of: impl Fn(&ResultRow) -> Option<f64>) -> TableCell {
    let shares: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
    let (Some(low), Some(high)) = (shares.iter().copied().reduce(f64::min), shares.iter().copied().reduce(f64::max))
    else {
        return TableCell::dash();
    };
    let percent = |share: f64| numbers::fixed(share * 100.0, 1);
    match (percent(low), percent(high)) {
        (_, high) if high == "0.0" => TableCell::dash(),
        (low, high) if low == high => TableCell::new(low),
        (low, high) => TableCell::new(format!("{low}–{high}")),
    }
}
