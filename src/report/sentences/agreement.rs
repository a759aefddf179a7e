//! How far two runs agree, in sentences.

use super::disturbances::CIRCUMSTANCES;
use crate::analysis::agreement::{Agreement, InRuns, Pair, Spread};
use crate::engine::DeviceKind;
use crate::json_diff::Difference;
use crate::numbers;
use crate::results::data::distinct;
use crate::results::study::run_of_repeat;
use crate::store::schema::ResultRow;

/// Properties of environments that a sentence names.
const NAMED_PROPERTIES: usize = 6;

/// Bytes of the longest value of a property that a sentence gives.
const LONGEST_VALUE: usize = 24;

/// The property that is a commit, and how many digits of it a sentence gives.
const COMMIT: &str = "build.commit";
const COMMIT_DIGITS: usize = 12;

/// Rows that were not repeated, of one backend, that a sentence names.
const NAMED_ROWS: usize = 16;

/// Where nothing was repeated.
const NO_REPEAT: &str = "No second run of this experiment is part of these results.";

/// How far each repeat agrees with the run.
pub fn of_repeats(repeats: &[Agreement]) -> String {
    let each: Vec<String> =
        repeats.iter().enumerate().map(|(index, found)| repeat_sentence(&run_of_repeat(index), found)).collect();
    if each.is_empty() { NO_REPEAT.to_owned() } else { each.join(" ") }
}

/// The same as one sentence of shares.
pub fn shares_of_repeats(repeats: &[Agreement]) -> String {
    let Some(limits) = repeats.first().map(|found| found.limits) else { return NO_REPEAT.to_owned() };
    let of = |(index, found): (usize, &Agreement)| format!("in the {} run, {}", run_of_repeat(index), found.shares());
    let shares: Vec<String> = repeats.iter().enumerate().map(of).collect();
    let [tolerance, share] = [limits.tolerance, limits.share].map(numbers::percent);
    format!("Medians within {tolerance} of the first run's (required: {share}): {}.", shares.join("; "))
}

/// How far a repeat agrees with the run.
fn repeat_sentence(run: &str, found: &Agreement) -> String {
    let spread = found.spread(|_| true);
    let distances = spread.and_then(|spread| Some((spread.typical?, spread.most?))).map(|(typical, most)| {
        let (half, most) = (numbers::percent(typical), numbers::percent(most));
        format!("Half of the medians are within {half} of each other, 95 % within {most}.")
    });
    let sentences = [
        format!("In the {run} run, {}", found.sentence()),
        found.device_sentence(),
        found.clocks_sentence(),
        distances.unwrap_or_default(),
    ];
    sentences.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

impl InRuns {
    /// `in both runs`
    pub fn words(self) -> &'static str {
        match self {
            InRuns::First => "in the first run",
            InRuns::Second => "in the second run",
            InRuns::Both => "in both runs",
        }
    }
}

impl Spread {
    /// `351 of 360 rows (97.5 %)`
    fn in_words(&self) -> String {
        let (within, rows) = (numbers::count(self.within as u64), numbers::plural(self.rows, "row"));
        format!("{within} of {rows} ({})", numbers::percent(self.share()))
    }

    /// `351 of 360 (97.5 %)`
    pub fn in_short(&self) -> String {
        let [within, rows] = [self.within, self.rows].map(|number| numbers::count(number as u64));
        format!("{within} of {rows} ({})", numbers::percent(self.share()))
    }
}

impl Agreement {
    /// `393 of 396 rows (99.2 %) have a median within 3 % of the first run's, which meets the required 95 %.`
    pub fn sentence(&self) -> String {
        let meets = if self.agrees() { "meets" } else { "misses" };
        format!(
            "{} of {} ({}) have a median within {} of the first run's, which {meets} the required {}.",
            numbers::count(self.within() as u64),
            numbers::plural(self.rows(), "row"),
            numbers::percent(self.share()),
            numbers::percent(self.limits.tolerance),
            numbers::percent(self.limits.share)
        )
    }

    /// `This holds for 351 of 360 rows (97.5 %) on the GPU and 15 of 58 rows (25.9 %) on the CPU.` Empty where all rows
    /// ran on one kind of device.
    pub fn device_sentence(&self) -> String {
        match (self.on(DeviceKind::Gpu), self.on(DeviceKind::Cpu)) {
            (Some(gpu), Some(cpu)) => {
                format!("This holds for {} on the GPU and {} on the CPU.", gpu.in_words(), cpu.in_words())
            }
            _ => String::new(),
        }
    }

    /// `351 of 360 rows (97.5 %) on the GPU, 15 of 58 rows (25.9 %) on the CPU`; kinds of device without rows are left
    /// out.
    pub fn shares(&self) -> String {
        let devices = [("GPU", DeviceKind::Gpu), ("CPU", DeviceKind::Cpu)];
        let of = |(name, device)| Some(format!("{} on the {name}", self.on(device)?.in_words()));
        devices.into_iter().filter_map(of).collect::<Vec<_>>().join(", ")
    }

    /// `Of the rows whose GPU was throttled in one run or in both, 106 of 121 (87.6 %) are within the tolerance; of
    /// those throttled in neither, 239 of 239 (100 %).` Empty where none was throttled.
    pub fn clocks_sentence(&self) -> String {
        let Some(held) = self.by_clocks(Some(true)) else { return String::new() };
        let neither = self.by_clocks(Some(false));
        let neither = neither.map(|kept| format!("; of those throttled in neither, {}", kept.in_short()));
        let unknown = self.by_clocks(None);
        let unknown = unknown.map(|rows| format!("; of those not watched in one run or in both, {}", rows.in_short()));
        format!(
            "Of the rows whose GPU was throttled in one run or in both, {} are within the tolerance{}{}.",
            held.in_short(),
            neither.unwrap_or_default(),
            unknown.unwrap_or_default()
        )
    }

    /// How far the ratios are from 1; empty where no row has a median in both runs.
    pub(super) fn distances_sentence(&self) -> String {
        let spread = self.spread(|_| true);
        let numbers = spread.and_then(|found| Some((found.typical?, found.most?, found.largest?, found.ratio?)));
        numbers.map_or_else(String::new, |(typical, most, largest, ratio)| {
            format!(
                "Distance of the ratio from 1: median {}, 95th percentile {}, largest {}; median ratio {}.",
                numbers::percent(typical),
                numbers::percent(most),
                numbers::percent(largest),
                numbers::fixed(ratio, 4)
            )
        })
    }

    /// How many of the pairs a claim would leave out, by run; empty for none.
    pub fn disturbed_sentence(&self) -> String {
        let (first, second) = self.disturbed();
        let of = |(count, run): (usize, &str)| {
            (count > 0).then(|| format!("{} of the {run}", numbers::plural(count, "row")))
        };
        let each: Vec<String> = [(first, "first run"), (second, "second")].into_iter().filter_map(of).collect();
        match each.is_empty() {
            true => String::new(),
            false => format!("Included, although {CIRCUMSTANCES}: {}.", each.join(" and ")),
        }
    }

    /// Pairs disturbed in the first run, and in the second.
    fn disturbed(&self) -> (usize, usize) {
        let disturbances = || self.pairs.iter().map(Pair::disturbances);
        (
            disturbances().filter(|(one, _)| one.is_some()).count(),
            disturbances().filter(|(_, two)| two.is_some()).count(),
        )
    }

    /// What differs between the machines and builds of the compared rows, by name, and by value where it is one short value
    /// each; empty for nothing.
    pub fn environment_sentence(&self) -> String {
        let names = distinct(self.differences.iter().map(|difference| in_words(&difference.property)));
        let more = match names.len().saturating_sub(NAMED_PROPERTIES) {
            0 => String::new(),
            more => format!(" and {} more", numbers::count(more as u64)),
        };
        let named: Vec<String> = names.iter().take(NAMED_PROPERTIES).map(|name| self.with_values(name)).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("The environments differ in: {}{more}.", named.join(", ")),
        }
    }

    /// `build commit (798a07e8c70a, then 5a5b5c22043b)`; the name alone where there are several values, or long ones.
    fn with_values(&self, name: &str) -> String {
        let mut of_name = self.differences.iter().filter(|difference| in_words(&difference.property) == name);
        let (Some(Difference { property, first: Some(first), second: Some(second) }), None) =
            (of_name.next(), of_name.next())
        else {
            return name.to_owned();
        };
        let digits = if property == COMMIT { COMMIT_DIGITS } else { usize::MAX };
        let [first, second] = [first, second].map(|value| value.chars().take(digits).collect::<String>());
        match first.len().max(second.len()) <= LONGEST_VALUE {
            true => format!("{name} ({first}, then {second})"),
            false => name.to_owned(),
        }
    }

    /// How many rows were measured in only one run; empty for none.
    pub fn unlike_sentence(&self) -> String {
        match self.unlike.len() {
            0 => String::new(),
            1 => "1 row was measured in only one of the two runs; it counts as outside the tolerance.".to_owned(),
            many => {
                format!(
                    "{} were measured in only one of the two runs; they count as outside the tolerance.",
                    numbers::plural(many, "row")
                )
            }
        }
    }

    /// How many rows of the first run, with a median, the second does not have; empty where it has them all.
    pub fn not_repeated_sentence(&self) -> String {
        self.not_repeated_by_backend(|_| String::new())
    }

    /// The same with their names, unless they are many.
    pub fn not_repeated_names(&self) -> String {
        self.not_repeated_by_backend(|rows| {
            let shape = |row: &&ResultRow| format!("{} {}×{}", row.model, row.batch_size, row.sequence_length);
            match rows.len() <= NAMED_ROWS {
                true => format!(" ({})", distinct(rows.iter().map(shape)).join(", ")),
                false => String::new(),
            }
        })
    }

    fn not_repeated_by_backend(&self, names: impl Fn(&[&ResultRow]) -> String) -> String {
        let backends = distinct(self.not_repeated.iter().map(|row| row.backend));
        let of =
            |backend| -> Vec<&ResultRow> { self.not_repeated.iter().filter(|row| row.backend == backend).collect() };
        let each = backends.into_iter().map(|backend| (backend, of(backend)));
        let each =
            each.map(|(backend, rows)| format!("{} of {backend}{}", numbers::plural(rows.len(), "row"), names(&rows)));
        match self.not_repeated.is_empty() {
            true => String::new(),
            false => format!("Not repeated: {}.", each.collect::<Vec<_>>().join(", ")),
        }
    }

    /// What the outputs of both runs have in common.
    pub fn outputs_sentence(&self) -> String {
        let cosine = match self.largest_cosine_difference() {
            Some(0.0) => "; their smallest cosines are equal".to_owned(),
            Some(most) => format!("; their smallest cosines differ by at most {}", numbers::magnitude(most)),
            None => String::new(),
        };
        let counted = if self.counts_broken_rows() { "NaN, infinity and broken rows" } else { "NaN and infinity" };
        format!(
            "{} of {} measured twice have equal counts of {counted}{cosine}.",
            numbers::count(self.with_equal_failures() as u64),
            numbers::plural(self.pairs.len(), "row")
        )
    }
}

/// `gpus[1].uuid` as `GPU uuid`, `build.rust_flags` as `build rust flags`; names of variables stay as they are.
fn in_words(property: &str) -> String {
    if let Some(name) = property.strip_prefix("variables.") {
        return format!("variable {name}");
    }
    let words = property.split('.').map(|key| match key.split_once('[').map_or(key, |(list, _)| list) {
        "gpus" => "GPU".to_owned(),
        "libraries" => "library".to_owned(),
        name => name.replace('_', " "),
    });
    words.collect::<Vec<_>>().join(" ")
}
