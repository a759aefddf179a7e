//! How to measure, how to compare, and which errors are tolerable.

use std::collections::BTreeMap;

use super::axes::{DraftAxis, MAX_BATCH};
use super::cursor::{Cursor, Fields, RealRange};
use super::diagnostic::{Report, quoted, suggestion};
use super::schema::{Measurement, Numerics, Tolerance};
use crate::graph::PrecisionPolicy;

pub(super) const MAX_SAMPLES: usize = 1_000_000;
/// More than the forwards of a run have.
pub(super) const MAX_BROKEN_ROWS: usize = 1_000_000_000;
pub(super) const SECONDS: RealRange =
    RealRange { contains: |value| value > 0.0 && value <= 1e6, words: "a number of seconds above 0 and up to 1000000" };
/// Most processes that take turns at a row on a CPU.
const MAX_PROCESSES: usize = 64;

/// The driver renews its energy counter every 20 to 100 ms; a step is seen 10 ms late at most.
const ENERGY_WINDOW: RealRange = RealRange {
    contains: |value| value == 0.0 || (0.5..=3600.0).contains(&value),
    words: "0 for no window, or a number of seconds from 0.5 to 3600: in a shorter one the energy counter moves too seldom",
};
const FRACTION: RealRange =
    RealRange { contains: |value| value > 0.0 && value < 1.0, words: "a fraction between 0 and 1, like `0.01`" };
const SHARE: RealRange = RealRange { contains: |value| (0.0..=1.0).contains(&value), words: "a share from 0 to 1" };
pub(super) const COSINE: RealRange =
    RealRange { contains: |value| (-1.0..=1.0).contains(&value), words: "a cosine from -1 to 1" };
const ERROR: RealRange = RealRange { contains: |value| value >= 0.0, words: "a finite number that is not negative" };

/// Sets `field` to what `read` returns for the key's value; keeps the default if the key is absent.
pub(super) fn set<T>(
    (fields, key): (&Fields<'_>, &str),
    report: &mut Report<'_>,
    field: &mut T,
    read: impl FnOnce(&Cursor<'_>, &mut Report<'_>) -> Option<T>,
) {
    if let Some(value) = fields.optional(key).and_then(|cursor| read(cursor, report)) {
        *field = value;
    }
}

/// `measurement: {warmup: 3, min_samples: 10, ...}`; keys left out keep their defaults.
pub(super) fn measurement(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> Measurement {
    let mut limits = Measurement::default();
    let sampling = ["warmup", "min_samples", "max_samples", "target_precision"];
    let allowed =
        [&sampling[..], &["time_cap_s", "timeout_s", "threads", "energy_window_s", "cpu_processes", "pin_threads"]]
            .concat();
    let Some(cursor) = cursor else { return limits };
    let Some(fields) = Fields::open(cursor, report, "a mapping of measurement limits", &allowed) else { return limits };
    set((&fields, "warmup"), report, &mut limits.warmup, |c, r| c.whole(r, 0..=MAX_SAMPLES));
    set((&fields, "min_samples"), report, &mut limits.min_samples, |c, r| c.whole(r, 1..=MAX_SAMPLES));
    set((&fields, "max_samples"), report, &mut limits.max_samples, |c, r| c.whole(r, 1..=MAX_SAMPLES));
    set((&fields, "target_precision"), report, &mut limits.target_precision, |c, r| c.real(r, FRACTION));
    set((&fields, "time_cap_s"), report, &mut limits.time_cap_s, |c, r| c.real(r, SECONDS));
    set((&fields, "timeout_s"), report, &mut limits.timeout_s, |c, r| c.real(r, SECONDS));
    set((&fields, "threads"), report, &mut limits.threads, |c, r| c.whole(r, 1..=1024).map(Some));
    set((&fields, "energy_window_s"), report, &mut limits.energy_window_s, |c, r| {
        c.real(r, ENERGY_WINDOW).map(|window| Some(window).filter(|&window| window > 0.0))
    });
    set((&fields, "cpu_processes"), report, &mut limits.cpu_processes, |c, r| {
        c.whole(r, 1..=MAX_PROCESSES).map(|processes| Some(processes).filter(|&processes| processes > 1))
    });
    set((&fields, "pin_threads"), report, &mut limits.pin_threads, |c, r| c.flag(r));
    contradictions(cursor, &fields, report, &limits);
    limits
}

/// Reports limits that are valid one by one but contradict each other.
fn contradictions(cursor: &Cursor<'_>, fields: &Fields<'_>, report: &mut Report<'_>, limits: &Measurement) {
    if limits.min_samples > limits.max_samples {
        let at = fields.optional("max_samples").or(fields.optional("min_samples")).unwrap_or(cursor);
        let (min, max) = (limits.min_samples, limits.max_samples);
        at.reject(
            report,
            format!("found min_samples {min} above max_samples {max}; raise max_samples or lower min_samples"),
        );
    }
    if limits.time_cap_s > limits.timeout_s {
        let at = fields.optional("time_cap_s").or(fields.optional("timeout_s")).unwrap_or(cursor);
        let (cap, timeout) = (limits.time_cap_s, limits.timeout_s);
        at.reject(
            report,
            format!(
                "found time_cap_s {cap} above timeout_s {timeout}, so every worker would be killed; raise timeout_s"
            ),
        );
    }
    if let (Some(window), Some(at)) = (limits.energy_window_s, fields.optional("energy_window_s"))
        && window > limits.timeout_s
    {
        let timeout = limits.timeout_s;
        at.reject(
            report,
            format!("found energy_window_s {window} above timeout_s {timeout}, so every worker on a GPU would be killed; raise timeout_s"),
        );
    }
}

/// `numerics: {compare_sequences: 2, score_windows: 0}`; keys left out keep their defaults.
pub(super) fn numerics(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> Numerics {
    let mut settings = Numerics::default();
    let allowed = ["compare_sequences", "score_windows", "forwards", "broken_cosine", "broken_relative_l2"];
    let fields = cursor.and_then(|cursor| Fields::open(cursor, report, "a mapping of comparison settings", &allowed));
    if let Some(fields) = fields {
        set((&fields, "compare_sequences"), report, &mut settings.compare_sequences, |c, r| c.whole(r, 1..=MAX_BATCH));
        set((&fields, "score_windows"), report, &mut settings.score_windows, |c, r| c.whole(r, 0..=MAX_SAMPLES));
        set((&fields, "forwards"), report, &mut settings.forwards, |c, r| c.whole(r, 1..=MAX_SAMPLES).map(Some));
        set((&fields, "broken_cosine"), report, &mut settings.broken_cosine, |c, r| c.real(r, COSINE));
        set((&fields, "broken_relative_l2"), report, &mut settings.broken_relative_l2, |c, r| c.real(r, ERROR));
    }
    settings
}

/// `tolerances: {hybrid: {cosine_min: 0.9998}}`; the names must be policies of this manifest.
pub(super) fn tolerances(
    cursor: Option<&Cursor<'_>>,
    report: &mut Report<'_>,
    precisions: &DraftAxis<PrecisionPolicy>,
) -> BTreeMap<String, Tolerance> {
    let expected = "a mapping from precision policies to limits, like `hybrid: {cosine_min: 0.9998}`";
    let mut tolerances = BTreeMap::new();
    for (key, entry) in cursor.and_then(|cursor| cursor.named_entries(report, expected)).unwrap_or_default() {
        if !precisions.names.is_empty() && !precisions.has(&key.text) {
            let names: Vec<&str> = precisions.names.iter().map(|(name, _)| name.as_str()).collect();
            let list = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            let message = format!(
                "found {}, expected a policy of `precisions`: {list}{}",
                quoted(&key.text),
                suggestion(&key.text, &names)
            );
            report.push(key.position, &entry.path, message);
        }
        tolerances.insert(key.text.clone(), tolerance(&entry, report));
    }
    tolerances
}

fn tolerance(entry: &Cursor<'_>, report: &mut Report<'_>) -> Tolerance {
    let mut limits = Tolerance::default();
    let limits_of_values = ["cosine_min", "max_abs", "relative_l2", "argmax_agreement", "max_broken_rows"];
    let allowed = [&limits_of_values[..], &["allow_nonfinite"]].concat();
    let Some(fields) = Fields::open(entry, report, "a mapping of limits", &allowed) else { return limits };
    if entry.keys().is_empty() {
        entry.mismatch(report, "at least one limit", "write `cosine_min: 0.9998`, say");
    }
    set((&fields, "cosine_min"), report, &mut limits.cosine_min, |c, r| c.real(r, COSINE).map(Some));
    set((&fields, "max_abs"), report, &mut limits.max_abs, |c, r| c.real(r, ERROR).map(Some));
    set((&fields, "relative_l2"), report, &mut limits.relative_l2, |c, r| c.real(r, ERROR).map(Some));
    set((&fields, "argmax_agreement"), report, &mut limits.argmax_agreement, |c, r| c.real(r, SHARE).map(Some));
    set((&fields, "max_broken_rows"), report, &mut limits.max_broken_rows, |c, r| {
        c.whole(r, 0..=MAX_BROKEN_ROWS).map(|rows| Some(rows as u64))
    });
    set((&fields, "allow_nonfinite"), report, &mut limits.allow_nonfinite, |c, r| c.flag(r));
    limits
}
