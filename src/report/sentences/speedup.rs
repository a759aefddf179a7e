//! Ratios of times in words: what they are over, and why one is missing.

use crate::claims::Outcome;
use crate::claims::schema::Claim;
use crate::engine::BackendKind;
use crate::results::data::{Data, Group, Series, distinct, series, timed};

/// The footnote of a missing ratio.
pub const LACKING: &str = "The baseline was not timed at this shape in the same environment and with the same weights.";

/// The footnote of a ratio with a disturbed row, after what disturbed it.
pub const DECIDES_NOTHING: &str = "Such a ratio decides nothing while an undisturbed one exists.";

/// The baseline of a group in words.
pub fn baseline_label(baseline: &Series) -> String {
    match baseline.backend {
        BackendKind::OnnxRuntime => "ONNX Runtime FP32 on the CPU".to_owned(),
        BackendKind::Reference => {
            "the reference backend's FP32 on the CPU (this run has no ONNX Runtime row, the intended baseline)"
                .to_owned()
        }
        other => format!("{other} FP32"),
    }
}

/// What the baseline of a group is, for the note under its tables: library, threads of how many cores, processor.
pub fn baseline_note(data: &Data, group: &Group, baseline: &Series) -> String {
    let Some(row) = group.rows.iter().find(|row| series(row) == *baseline && timed(row)) else {
        return String::new();
    };
    let usable = row.environment.as_ref().and_then(|id| data.environments.get(id)?.machine.cpu.usable_cpus);
    let threads = match (row.threads, usable) {
        (Some(threads), Some(usable)) if threads == usable as u64 => format!("all {usable} CPUs of the machine"),
        (Some(threads), Some(usable)) => format!("{threads} of the {usable} CPUs of the machine"),
        (Some(threads), None) => format!("{threads} CPU threads"),
        (None, _) => "the CPU".to_owned(),
    };
    let library = row.engine_library.as_deref().unwrap_or(baseline.backend.name());
    let device = row.engine_device.as_deref().map(|device| format!(" ({device})")).unwrap_or_default();
    format!("Baseline: {library}, fp32, on {threads}{device}.")
}

/// The baselines of all groups in words.
pub fn baselines(data: &Data) -> String {
    let labels =
        distinct(data.groups().iter().filter_map(|group| group.cpu_baseline().map(|found| baseline_label(&found))));
    if labels.is_empty() { "no CPU baseline was timed".to_owned() } else { labels.join("; ") }
}

/// Why no precision has a ratio to FP32.
pub fn nothing_to_compare(data: &Data) -> String {
    if data.measured().any(|row| row.emulated == Some(true)) {
        "Every row other than FP32 is emulated on the CPU: its time says nothing about hardware with that format, so no \
         speed-up is quoted."
            .to_owned()
    } else {
        "No backend has both an FP32 row and a row of another precision for one model and input.".to_owned()
    }
}

/// Why a GPU that a claim names has no ratio, with the claim.
pub fn absent_gpu(name: &str, claim: &Claim) -> String {
    let label = Outcome::NoHardware.label();
    format!("{label} in these results: no machine has the GPU {name}. The paper ({}): “{}”.", claim.id, claim.words())
}
