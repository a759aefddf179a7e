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
                   are those that the builder's own network requires, read back before the build; where it permits FP16 \
                   and requires nothing, the builder chooses.";
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
        Heading::number("permitted").under("FLOPs by type (%)"),
    ];
    let mut table = Table::new(SLUG, caption, headings);
    let built: Vec<&ResultRow> = data.rows.iter().filter(|row| row.engine_bytes.is_some()).collect();
    for model in distinct(built.iter().map(|row| row.model.as_str())) {
        let of_model = || built.iter().copied().filter(|row| row.model == model);
        for wanted in distinct(of_model().map(series)) {
            let rows: Vec<&ResultRow> = of_model().filter(|row| series(row) == wanted).collect();
            table.push_of(cells(&rows), rows);
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
    permission(&built).into_iter().chain(findings(&built)).for_each(note);
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
        share(rows, required_fp16),
        share(rows, permitted),
    ]
}

/// The share that the builder was permitted to compute in FP16. Tables before schema 9 count it as FP16: until then, TensorRT 8
/// was required to compute in FP32 alone.
fn permitted(row: &ResultRow) -> Option<f64> {
    let is_weakly_typed = row.builder.as_deref().is_some_and(|builder| builder.starts_with("TensorRT 8."));
    row.flops_share_permitted.or(row.flops_share_fp16.filter(|_| is_weakly_typed))
}

fn required_fp16(row: &ResultRow) -> Option<f64> {
    match row.flops_share_permitted.is_none() && permitted(row).is_some() {
        true => None,
        false => row.flops_share_fp16,
    }
}

/// What is not known of engines whose types were permitted.
fn permission(built: &[&ResultRow]) -> Option<String> {
    let free: Vec<&ResultRow> =
        built.iter().copied().filter(|row| permitted(row).is_some_and(|share| share > 0.0)).collect();
    let most = free.iter().filter_map(|row| row.inspected_layers).max();
    let shown = most.map_or_else(String::new, |most| {
        let layers = numbers::plural(usize::try_from(most).unwrap_or(usize::MAX), "layer");
        format!(" The inspector lists at most {layers} of such an engine, and says nothing of the inside of one.")
    });
    let text =
        "Permitted is not verified: the builder may compute this share in FP16, as the policy requests, or in FP32.";
    (!free.is_empty()).then(|| format!("{text}{shown}"))
}

/// Findings that a note names; the rest are counted.
const NAMED: usize = 3;

/// Where built engines differ from their policies, as far as their inspector shows it.
fn findings(built: &[&ResultRow]) -> Option<String> {
    let found = |row: &ResultRow| row.engine_findings.as_deref().is_some_and(|findings| !findings.is_empty());
    let differing: Vec<&ResultRow> = built.iter().copied().filter(|row| found(row)).collect();
    let all = differing.iter().flat_map(|row| {
        let findings = row.engine_findings.as_deref().unwrap_or_default().split("; ");
        findings.map(|finding| format!("{} {}: {finding}", row.model, row.precision))
    });
    let all = distinct(all);
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let engines = numbers::plural(differing.len(), "engine");
    let named = all[..all.len().min(NAMED)].join("; ");
    (!all.is_empty()).then(|| format!("Inspector's findings on {engines}: {named}{more}."))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fp16: f64, permitted: Option<f64>) -> ResultRow {
        ResultRow {
            model: "bert".to_owned(),
            precision: "fp16".to_owned(),
            builder: Some("TensorRT 8.6.1".to_owned()),
            flops_share_fp16: Some(fp16),
            flops_share_permitted: permitted,
            inspected_layers: Some(2),
            ..ResultRow::default()
        }
    }

    #[test]
    fn what_a_builder_was_permitted_is_never_shown_as_verified() {
        let (today, before_schema_9) = (row(0.0, Some(1.0)), row(1.0, None));
        for row in [&today, &before_schema_9] {
            assert_eq!(permitted(row), Some(1.0));
            assert_ne!(required_fp16(row), Some(1.0));
        }
        let note = permission(&[&before_schema_9]).unwrap();
        assert!(note.starts_with("Permitted is not verified") && note.contains("at most 2 layers of"), "{note}");
        let strong = ResultRow { builder: Some("TensorRT-RTX 1.7.1".to_owned()), ..row(1.0, None) };
        assert_eq!((permitted(&strong), required_fp16(&strong)), (None, Some(1.0)));
        assert_eq!(permission(&[&strong, &row(1.0, Some(0.0))]), None);
    }

    #[test]
    fn the_inspectors_findings_are_named_and_counted() {
        let with = |text: &str| ResultRow { engine_findings: Some(text.to_owned()), ..row(0.0, Some(1.0)) };
        assert_eq!(findings(&[&with(""), &row(0.0, None)]), None);
        let rows = [with("a is stored in fp32, the policy says fp16"), with("b; c; d"), with("")];
        let note = findings(&rows.each_ref()).unwrap();
        let expected = "Inspector's findings on 2 engines: bert fp16: a is stored in fp32, the policy says fp16; bert fp16: b; bert \
                        fp16: c; and 1 more.";
        assert_eq!(note, expected);
    }
}
