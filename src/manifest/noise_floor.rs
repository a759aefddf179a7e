//! Which engines are timed against themselves, and for how long.

use std::ops::RangeInclusive;

use super::axes::DraftAxis;
use super::cursor::{Cursor, Fields};
use super::diagnostic::Report;
use super::limits::SECONDS;
use super::read::Draft;
use super::schema::NoiseFloorTest;
use crate::graph::PrecisionPolicy;
use crate::stats::BOOTSTRAP_MIN_SAMPLES;

const MAX_ROUNDS: usize = 1000;
const MAX_SAMPLES: usize = 10_000;
const DEFAULT_ROUNDS: usize = 20;
const DEFAULT_SAMPLES: usize = 10;
const DEFAULT_TIME_CAP_S: f64 = 5.0;

/// `noise_floor: {batch_sizes: [1], sequence_lengths: [128], rounds: 20, samples: 10, time_cap_s: 5}`. Both keys of the shapes
/// are required, because every tested engine is built a second time; their values must be on the axes.
/// `precisions: [fp32]` limits the test to these policies.
pub(super) fn noise_floor(cursor: &Cursor<'_>, report: &mut Report<'_>, draft: &Draft) -> Option<NoiseFloorTest> {
    let allowed = ["batch_sizes", "sequence_lengths", "precisions", "rounds", "samples", "time_cap_s"];
    let fields = Fields::open(cursor, report, "a mapping that names batch_sizes and sequence_lengths", &allowed)?;
    let batch_sizes = fields.required(report, "batch_sizes", "[1]");
    let batch_sizes = batch_sizes.and_then(|sizes| of_axis(sizes, report, &draft.batch_sizes, "batch_sizes"));
    let lengths = fields.required(report, "sequence_lengths", "[128]");
    let lengths = lengths.and_then(|sizes| of_axis(sizes, report, &draft.sequence_lengths, "sequence_lengths"));
    let precisions = match fields.optional("precisions") {
        Some(cursor) => policies(cursor, report, &draft.precisions),
        None => Some(Vec::new()),
    };
    let whole = |key: &str, range: RangeInclusive<usize>, default, report: &mut Report<'_>| match fields.optional(key) {
        Some(cursor) => cursor.whole(report, range),
        None => Some(default),
    };
    let rounds = whole("rounds", BOOTSTRAP_MIN_SAMPLES..=MAX_ROUNDS, DEFAULT_ROUNDS, report);
    let samples = whole("samples", 1..=MAX_SAMPLES, DEFAULT_SAMPLES, report);
    let time_cap_s = match fields.optional("time_cap_s") {
        Some(cursor) => cursor.real(report, SECONDS),
        None => Some(DEFAULT_TIME_CAP_S),
    };
    Some(NoiseFloorTest {
        batch_sizes: batch_sizes?,
        sequence_lengths: lengths?,
        precisions: precisions?,
        rounds: rounds?,
        samples: samples?,
        time_cap_s: time_cap_s?,
    })
}

/// Names of policies of the manifest.
fn policies(cursor: &Cursor<'_>, report: &mut Report<'_>, axis: &DraftAxis<PrecisionPolicy>) -> Option<Vec<String>> {
    let words = "a list of policies of `precisions`";
    let items = cursor.items(report, words, "[fp32]")?;
    items
        .iter()
        .map(|item| {
            let name = item.text(report, "a policy of `precisions`")?;
            known(item, report, axis, (name, "precisions"))?;
            Some(name.to_owned())
        })
        .collect()
}

/// Checks that a value is on its axis; any other would silently test nothing.
pub(super) fn known<T>(
    item: &Cursor<'_>,
    report: &mut Report<'_>,
    axis: &DraftAxis<T>,
    (value, name): (&str, &str),
) -> Option<()> {
    if axis.whole && !axis.has(value) {
        let known = axis.names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        item.reject(report, format!("found `{value}`, expected a value of `{name}`: {known}"));
        return None;
    }
    Some(())
}

/// Values of an axis of sizes.
fn of_axis(cursor: &Cursor<'_>, report: &mut Report<'_>, axis: &DraftAxis<usize>, name: &str) -> Option<Vec<usize>> {
    let mut values = Vec::new();
    for item in cursor.items(report, &format!("a list of values of `{name}`"), "[1]")? {
        let value = item.whole(report, 1..=super::axes::MAX_SEQUENCE)?;
        known(&item, report, axis, (&value.to_string(), name))?;
        values.push(value);
    }
    Some(values)
}
