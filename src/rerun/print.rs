//! The two rows of a rerun as text and JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Reproduction, Rerun};
use crate::analysis::facts::{engine_bytes, latency_interval};
use crate::numbers;
use crate::store::column::ColumnValue;
use crate::store::schema::ResultRow;
use crate::text_table::aligned;

/// A quantity of the comparison: its name, and its text for a row.
type ComparedQuantity = (&'static str, fn(&ResultRow) -> Option<String>);

/// The quantities in the order printed. One that neither row has is left out.
const COMPARED_QUANTITIES: [ComparedQuantity; 15] = [
    ("status", |row| row.status.store()),
    ("median latency, ms", |row| {
        let (text, interval) = numbers::with_interval(row.latency_p50_ms?, latency_interval(row), 4);
        let samples = row.samples.map(|n| format!("n = {}", numbers::count(n)));
        Some([Some(text), interval, samples].into_iter().flatten().collect::<Vec<_>>().join(" "))
    }),
    ("device median, ms", |row| {
        let interval = row.device_p50_low_ms.zip(row.device_p50_high_ms);
        let (text, interval) = numbers::with_interval(row.device_p50_ms?, interval, 4);
        Some([Some(text), interval].into_iter().flatten().collect::<Vec<_>>().join(" "))
    }),
    ("end-to-end median, ms", |row| row.end_to_end_p50_ms.map(|ms| numbers::significant(ms, 4))),
    ("sustained, sequences/s", |row| row.sustained_sequences_per_s.map(|rate| numbers::significant(rate, 4))),
    ("energy, mJ per pass", |row| row.energy_per_inference_mj.map(|energy| numbers::significant(energy, 4))),
    ("smallest cosine", |row| row.cosine_min.map(numbers::cosine)),
    ("largest absolute error", |row| row.max_abs_error.map(numbers::magnitude)),
    ("NaN", |row| row.nan_count.map(numbers::count)),
    ("infinities", |row| row.inf_count.map(numbers::count)),
    ("broken rows, all passes", |row| {
        let (broken, compared) = row.forward_broken_rows.zip(row.forward_compared_rows)?;
        Some(format!("{} of {}", numbers::count(broken), numbers::count(compared)))
    }),
    ("failed passes", |row| {
        let (failed, all) = row.failed_forwards.zip(row.forwards)?;
        Some(format!("{} of {}", numbers::count(failed), numbers::count(all)))
    }),
    ("engine, MiB", |row| engine_bytes(row).map(numbers::mebibytes)),
    ("device memory, MiB", |row| row.device_memory_bytes.map(numbers::mebibytes)),
    ("reason", |row| row.reason.clone()),
];

impl Rerun {
    /// For a terminal: both rows side by side, whether their intervals overlap, and what differs between the environments.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} ({})\n", self.label, self.recorded.id);
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let mut table = vec![[String::new(), "recorded".to_owned(), "here".to_owned()]];
        for (name, of) in COMPARED_QUANTITIES {
            let (recorded, here) = (of(&self.recorded), of(&self.here));
            if recorded.is_some() || here.is_some() {
                table.push([name.to_owned(), dash(recorded), dash(here)]);
            }
        }
        out.push_str(&aligned(&table, [false; 3]));
        let _ = writeln!(out, "\n{}", self.sentence());
        if self.differences.is_empty() {
            out.push_str("\nThe environments do not differ.\n");
            return out;
        }
        let rows = self.differences.iter();
        let mut table = vec![["What differs", "recorded", "here"].map(str::to_owned)];
        table.extend(rows.map(|found| [found.property.clone(), dash(found.first.clone()), dash(found.second.clone())]));
        let _ = write!(out, "\n{}", aligned(&table, [false; 3]));
        out
    }

    /// For a program: ids, medians and intervals of both rows in milliseconds, the ratio, and the differences.
    ///
    /// # Errors
    /// None in practice: everything is a text or a finite number.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let row = |row: &ResultRow| -> Value {
            let values: serde_json::Map<String, Value> =
                COMPARED_QUANTITIES.iter().map(|(name, of)| ((*name).to_owned(), json!(of(row)))).collect();
            json!({
                "environment": row.environment,
                "status": row.status,
                "latency_p50_ms": row.latency_p50_ms,
                "latency_p50_low_ms": row.latency_p50_low_ms,
                "latency_p50_high_ms": row.latency_p50_high_ms,
                "shown": values,
            })
        };
        let document = json!({
            "id": self.recorded.id,
            "label": self.label,
            "agreement": self.agreement,
            "ratio": self.ratio.map(|(ratio, interval)| json!({
                "value": ratio,
                "low": interval.map(|ends| ends.0),
                "high": interval.map(|ends| ends.1),
            })),
            "recorded": row(&self.recorded),
            "here": row(&self.here),
            "differences": self.differences,
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    fn sentence(&self) -> String {
        let ratio = self.ratio.map(|(ratio, interval)| {
            let (text, interval) = numbers::with_interval(ratio, interval, 3);
            let interval = interval.map(|ends| format!(" {ends}")).unwrap_or_default();
            format!("Here over recorded: {text}{interval}. ")
        });
        let timed = self.ratio.is_some();
        let verdict = match self.agreement {
            Reproduction::Agrees if timed => "The 95 % intervals of the medians overlap.",
            Reproduction::Agrees => "Neither has a median: the row ends as it did when it was recorded.",
            Reproduction::Differs if timed => "The 95 % intervals of the medians do not overlap.",
            Reproduction::Differs => "One was measured and the other was not.",
            Reproduction::Unknown if !timed && self.recorded.shares_weights(&self.here) => {
                "The rows were made from different files, so the medians are not compared."
            }
            Reproduction::Unknown if !timed => "The weights differ, so the medians are not compared.",
            Reproduction::Unknown => "One of the medians has too few samples for an interval, so nothing is decided.",
        };
        format!("{}{verdict}", ratio.unwrap_or_default())
    }
}
