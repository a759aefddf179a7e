//! Rows that were measured on a machine that was not itself, or not alone.

use crate::engine::DeviceKind;
use crate::measure::timekeeping;
use crate::numbers;
use crate::results::data::{Data, distinct, series, timed};
use crate::store::schema::ResultRow;

/// Rows that a caveat names; the table of the machine's state has all.
const NAMED: usize = 3;

/// So much of one CPU, on average, others may use: the system itself and this program's parent process do.
const TOLERATED_FOREIGN_CPUS: f64 = 0.25;

/// What leaves a pair of times out of a claim, after `while`.
pub const CIRCUMSTANCES: &str = "others used the device or the clock ran wrong";

/// Something that speaks against a row's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The GPU's clocks were held back.
    Throttled,
    /// Others computed on the GPU.
    SharedGpu,
    /// Others used the host's CPUs.
    SharedCpus,
    /// The clock and the kernel counted different times.
    Clock,
}

impl Disturbance {
    /// Every kind, most important first.
    pub const ALL: [Disturbance; 4] =
        [Disturbance::Clock, Disturbance::Throttled, Disturbance::SharedGpu, Disturbance::SharedCpus];

    /// Whether the row was measured under it.
    pub fn of(self, row: &ResultRow) -> bool {
        match self {
            Disturbance::Throttled => row.throttled == Some(true),
            Disturbance::SharedGpu => row.foreign_processes.is_some_and(|others| others > 0),
            Disturbance::SharedCpus => row.foreign_cpus.is_some_and(|cpus| cpus > TOLERATED_FOREIGN_CPUS),
            Disturbance::Clock => row.clock_ratio.is_some_and(|ratio| !timekeeping::agrees(ratio)),
        }
    }

    /// What speaks against dividing a row's time by another's: a clock that ran wrong, or others on the device that its engine
    /// computes on. A GPU whose clocks its own power limit held back is that machine as it is.
    pub fn of_ratios(row: &ResultRow) -> Option<Disturbance> {
        let counts = |kind: &Disturbance| match kind {
            Disturbance::Clock => true,
            Disturbance::SharedCpus => row.device == DeviceKind::Cpu,
            Disturbance::SharedGpu => row.device == DeviceKind::Gpu,
            Disturbance::Throttled => false,
        };
        Disturbance::ALL.into_iter().filter(counts).find(|kind| kind.of(row))
    }

    /// The footnote of such a row.
    pub fn footnote(self) -> &'static str {
        match self {
            Disturbance::Throttled => "Measured while the GPU's clocks were held back.",
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
                format!("at worst {} of its pace", numbers::significant(worst, 3))
            }
        }
    }

    /// `while the GPU's clocks were held back`
    pub fn circumstance(self) -> &'static str {
        let footnote = self.footnote();
        footnote.trim_start_matches("Measured ").trim_end_matches('.')
    }
}

/// Whether a row's time may be divided by another's in a summary: measured natively, and undisturbed.
pub fn is_comparable(row: &ResultRow) -> bool {
    timed(row) && Disturbance::of_ratios(row).is_none()
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
            "{} of {} measured {} ({}): {}.{}",
            numbers::count(rows.len() as u64),
            numbers::plural(timed, "row"),
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
fn names(rows: &[&ResultRow]) -> String {
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
