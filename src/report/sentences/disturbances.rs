//! What disturbed rows, in words.

use crate::analysis::disturbances::Disturbance;
use crate::claims::findings::Disturbed;
use crate::numbers;
use crate::results::data::{Data, distinct, series};
use crate::store::schema::ResultRow;

/// Rows that a caveat names; the table of the machine's state has all.
const NAMED: usize = 3;

/// Why a claim leaves out a pair of times; follows `while`, `because` or `although`.
pub const CIRCUMSTANCES: &str = "other processes used the device or the clock ran wrong";

impl Disturbance {
    /// The footnote of such a row.
    pub fn footnote(self) -> &'static str {
        match self {
            Disturbance::Throttled => "Measured while the GPU was throttled.",
            Disturbance::SharedGpu => "Measured while other processes had a compute context on the GPU.",
            Disturbance::SharedCpus => "Measured while other processes used the host's CPUs.",
            Disturbance::Clock => "Measured while the clock ran slower or faster than the kernel's.",
        }
    }

    /// What was read of these rows, in brackets.
    fn detail(self, rows: &[&ResultRow]) -> String {
        match self {
            Disturbance::Throttled => {
                let reasons = rows.iter().filter_map(|row| row.throttle_reasons.as_deref());
                distinct(reasons.flat_map(|reasons| reasons.split(", "))).join(", ")
            }
            Disturbance::SharedGpu => {
                let most = rows.iter().filter_map(|row| row.foreign_processes).max().unwrap_or(0);
                let processes = numbers::count(most);
                let bytes = rows.iter().filter_map(|row| row.foreign_memory_bytes).max();
                let memory = bytes.map(|bytes| format!(" with {} MiB", numbers::mebibytes(bytes))).unwrap_or_default();
                format!("up to {processes} of them{memory}")
            }
            Disturbance::SharedCpus => {
                let most = rows.iter().filter_map(|row| row.foreign_cpus).fold(0.0, f64::max);
                format!("up to {} CPUs on average", numbers::fixed(most, 1))
            }
            Disturbance::Clock => {
                let ratios = rows.iter().filter_map(|row| row.clock_ratio);
                let worst = ratios.max_by(|a, b| (a - 1.0).abs().total_cmp(&(b - 1.0).abs())).unwrap_or(1.0);
                format!("at worst {} of its rate", numbers::significant(worst, 3))
            }
        }
    }

    /// `while the GPU was throttled`
    pub fn circumstance(self) -> &'static str {
        let footnote = self.footnote();
        footnote.trim_start_matches("Measured ").trim_end_matches('.')
    }
}

impl Disturbed {
    /// What was left out of a value's rows or pairs and why, or what speaks against it; follows a semicolon.
    pub fn words(self) -> String {
        match self {
            Disturbed::All => {
                format!("{CIRCUMSTANCES} in every one of them, so none decides")
            }
            Disturbed::LeftOut(pairs) => {
                format!("{} left out, because {CIRCUMSTANCES}", numbers::plural(pairs, "pair"))
            }
            Disturbed::Counted(rows) => {
                format!("{} of them measured while {CIRCUMSTANCES}", numbers::count(rows as u64))
            }
        }
    }

    /// The footnote of such a value.
    pub fn footnote(self) -> String {
        match self {
            Disturbed::All => format!("None decides: {CIRCUMSTANCES} in every one of them."),
            Disturbed::LeftOut(_) | Disturbed::Counted(_) => format!("{}.", self.words()),
        }
    }
}

/// A sentence per kind of disturbance, naming rows; and one where the GPU was not watched. `marked`: whether the report has
/// tables of these rows' times, which mark them.
pub fn sentences(data: &Data, marked: bool) -> Vec<String> {
    let mut found = Vec::new();
    for kind in Disturbance::ALL {
        let rows: Vec<&ResultRow> = data.measured().filter(|row| kind.of(row)).collect();
        if rows.is_empty() {
            continue;
        }
        let timed = data.measured().count();
        found.push(format!(
            "{} of {} {} measured {} ({}): {}.{}",
            numbers::count(rows.len() as u64),
            numbers::plural(timed, "row"),
            if rows.len() == 1 { "was" } else { "were" },
            kind.circumstance(),
            kind.detail(&rows),
            names(&rows),
            if marked { " Tables mark them." } else { "" }
        ));
    }
    for reason in distinct(data.measured().filter_map(|row| row.guard_remark.as_deref())) {
        let rows = data.measured().filter(|row| row.guard_remark.as_deref() == Some(reason)).count();
        found.push(format!(
            "The GPU's clocks, throttling and other users were not watched for {}: {reason}.",
            numbers::plural(rows, "row")
        ));
    }
    found
}

/// The rows; of many, how many of each series.
pub(super) fn names(rows: &[&ResultRow]) -> String {
    if rows.len() > NAMED {
        let of = |label: &String| rows.iter().filter(|row| series(row).label() == *label).count();
        let labels = distinct(rows.iter().map(|row| series(row).label()));
        let each = labels.iter().map(|label| format!("{} of {label}", numbers::count(of(label) as u64)));
        return each.collect::<Vec<_>>().join(", ");
    }
    let name = |row: &&ResultRow| {
        let ResultRow { model, batch_size, sequence_length, input, .. } = row;
        format!("{} {model} {batch_size}×{sequence_length} {input}", series(row).label())
    };
    rows.iter().map(name).collect::<Vec<_>>().join(", ")
}
