//! What was found, for a person.

use std::fmt::Write as _;
use std::path::Path;

use super::{Explained, Recomputed, Traced};
use crate::numbers;
use crate::provenance::Environment;
use crate::record::Status;
use crate::store::schema::ResultRow;
use crate::terminal::shell_word;

/// Rows that are shown in full; of more, the rest is a list.
const IN_FULL: usize = 4;
/// Cells that are shown; a person who asks for more names more words.
const CELLS: usize = 12;

/// Columns of numbers that say what was found, in the order of a reader; those without a value are left out.
pub(super) fn values(row: &ResultRow) -> Vec<(&'static str, f64)> {
    let count = |value: Option<u64>| value.map(|value| value as f64);
    let all = [
        ("latency_p50_ms", row.latency_p50_ms),
        ("latency_p50_low_ms", row.latency_p50_low_ms),
        ("latency_p50_high_ms", row.latency_p50_high_ms),
        ("processes", count(row.processes)),
        ("process_spread", row.process_spread),
        ("aa_ratio", row.aa_ratio),
        ("energy_per_inference_mj", row.energy_per_inference_mj),
        ("output_elements", count(row.output_elements)),
        ("nan_count", count(row.nan_count)),
        ("inf_count", count(row.inf_count)),
        ("cosine_min", row.cosine_min),
        ("max_abs_error", row.max_abs_error),
        ("forwards", count(row.forwards)),
        ("forward_cosine_min", row.forward_cosine_min),
        ("nan_forwards", count(row.nan_forwards)),
        ("inf_forwards", count(row.inf_forwards)),
        ("broken_forwards", count(row.broken_forwards)),
        ("failed_forwards", count(row.failed_forwards)),
        ("silent_forwards", count(row.silent_forwards)),
        ("task_correct", count(row.task_correct)),
        ("task_total", count(row.task_total)),
        ("perplexity", row.perplexity),
    ];
    let memory = ("engine memory (bytes)", count(crate::analysis::facts::engine_bytes(row)));
    all.into_iter().chain([memory]).filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The machine and the build.
pub(super) fn environment(of: &Environment) -> String {
    let gpus: Vec<String> = of.gpus.iter().map(crate::provenance::gpu::Gpu::describe).collect();
    let gpus = if gpus.is_empty() { "no GPU".to_owned() } else { gpus.join("; ") };
    let processor = crate::report::sentences::machine::processors(std::iter::once(of));
    format!("{processor}; {gpus}; {}", of.build.summary())
}

/// The folder that a person gives to other commands.
pub(super) fn folder(dir: &Path, folder: &Path) -> String {
    if folder.as_os_str().is_empty() { shell_word(dir) } else { shell_word(&dir.join(folder)) }
}

pub(super) fn to_text(found: &[Explained]) -> String {
    let mut text = String::new();
    for one in found.iter().take(CELLS) {
        let _ = writeln!(text, "{}\n  value    {}\n  meaning  {}", one.name, one.value, one.meaning);
        if let Some(origin) = &one.origin {
            let _ = writeln!(text, "  from     {origin}");
        }
        if !one.rows.is_empty() {
            let others =
                if one.others > 0 { format!(", which decide among {} others", one.others) } else { String::new() };
            let _ = writeln!(text, "  from     {}{others}", numbers::plural(one.rows.len(), "row"));
        }
        one.rows.iter().take(IN_FULL).for_each(|row| text += &row_text(row));
        for row in one.rows.iter().skip(IN_FULL) {
            let _ = writeln!(text, "  row {} of {}: {}{}", row.id, row.experiment, row.label, median_text(row));
        }
        text.push('\n');
    }
    if found.len() > CELLS {
        let _ = writeln!(text, "{} more cells have these words; add words to see fewer", found.len() - CELLS);
    }
    text
}

fn row_text(row: &Traced) -> String {
    let measured = match row.status {
        Status::Ok => "",
        Status::Built => ", built only",
        Status::Failed => ", failed",
        Status::Pending => ", not run",
    };
    let mut text = format!("\n  row {} of {}: {}{measured}\n", row.id, row.experiment, row.label);
    for Recomputed { column, samples, processes_ms, stored_ms, recomputed_ms } in &row.series {
        let shown = |value: &Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value} ms"));
        let agree = if stored_ms == recomputed_ms { "as in the row" } else { "NOT the row's" };
        let of = if processes_ms.is_empty() {
            String::new()
        } else {
            let medians: Vec<String> = processes_ms.iter().map(|&ms| numbers::significant(ms, 4)).collect();
            format!(" by {} processes, whose medians are {} ms", processes_ms.len(), medians.join(", "))
        };
        let _ = writeln!(
            text,
            "    median of {samples} samples{of} ({column}): {}, {agree}: {}",
            shown(recomputed_ms),
            shown(stored_ms)
        );
    }
    let values = row.values.iter().map(|(name, value)| format!("{name} {value}"));
    let _ = writeln!(text, "    values: {}", values.collect::<Vec<_>>().join(", "));
    if let Some((id, environment)) = &row.environment {
        let _ = writeln!(text, "    environment {id}: {environment}");
    }
    if let Some(gpu) = &row.gpu {
        let _ = writeln!(text, "    GPU: {gpu}");
    }
    for line in &row.manifest {
        let _ = writeln!(text, "    manifest: {line}");
    }
    for command in &row.commands {
        let _ = writeln!(text, "    again: {command}");
    }
    text
}

fn median_text(row: &Traced) -> String {
    match row.series.first().and_then(|series| Some((series.recomputed_ms?, series.samples))) {
        Some((median, samples)) => format!(", median of {samples} samples {} ms", numbers::significant(median, 4)),
        None => String::new(),
    }
}
