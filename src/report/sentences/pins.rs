//! The line under every table: whether the rows were measured with what is pinned.

use std::collections::BTreeMap;

use crate::numbers;
use crate::provenance::drift::MATCH;
use crate::record::Status;
use crate::report::table::Table;
use crate::results::data::Data;
use crate::store::schema::ResultRow;

/// Differences that the line names; the table of the environment has all.
const NAMED: usize = 2;

/// Rows by how they compare with the pins.
#[derive(Debug, Default)]
struct Counts<'a> {
    matching: usize,
    differing: usize,
    unknown: usize,
    /// Rows by difference.
    differences: BTreeMap<&'a str, usize>,
}

impl<'a> Counts<'a> {
    /// Rows that were built or measured; nothing was loaded for others.
    fn of(rows: impl Iterator<Item = &'a ResultRow>) -> Self {
        let mut counts = Counts::default();
        for row in rows.filter(|row| matches!(row.status, Status::Ok | Status::Built)) {
            match row.pins.as_deref() {
                None => counts.unknown += 1,
                Some(MATCH) => counts.matching += 1,
                Some(stamp) => {
                    counts.differing += 1;
                    for difference in stamp.split("; ") {
                        *counts.differences.entry(difference).or_default() += 1;
                    }
                }
            }
        }
        counts
    }
}

/// The line under a table of these results: of the rows that it is made of, or of all where it does not say which.
pub fn under(table: &Table, data: &Data) -> String {
    let shown = table.sources();
    note(data.rows.iter().filter(|row| shown.is_empty() || shown.contains(row.id.as_str())))
}

/// `Pins: all 12 rows match.`, or how many do not and the first differences, those of most rows first.
pub fn note<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> String {
    format!("Pins: {}", summary(rows))
}

/// The same without the word before it.
pub fn summary<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> String {
    let counts = Counts::of(rows);
    let total = counts.matching + counts.differing + counts.unknown;
    if total == 0 {
        return "nothing was built or measured.".to_owned();
    }
    if counts.matching == total {
        return match total {
            1 => "the one row matches.".to_owned(),
            _ => format!("all {} rows match.", numbers::count(total as u64)),
        };
    }
    let mut parts = Vec::new();
    if counts.matching > 0 {
        parts.push(format!(
            "{} {}",
            numbers::plural(counts.matching, "row"),
            verb(counts.matching, "match", "matches")
        ));
    }
    if counts.differing > 0 {
        let mut differences: Vec<(&str, usize)> = counts.differences.into_iter().collect();
        differences.sort_by_key(|&(_, rows)| std::cmp::Reverse(rows));
        let named = differences.iter().take(NAMED).map(|(text, _)| *text).collect::<Vec<_>>().join("; ");
        let more = match differences.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; {} more under Environment", numbers::count(more as u64)),
        };
        let differ = verb(counts.differing, "differ", "differs");
        parts.push(format!("{} {differ}: {named}{more}", numbers::plural(counts.differing, "row")));
    }
    if counts.unknown > 0 {
        parts.push(format!("{} measured before pins were compared", numbers::plural(counts.unknown, "row")));
    }
    format!("{}.", parts.join("; "))
}

fn verb(count: usize, many: &'static str, one: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// Every difference of these rows with how many of them have it; [`MATCH`] where none has any, nothing where none was
/// compared.
pub fn all<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> Option<String> {
    let counts = Counts::of(rows);
    if counts.differences.is_empty() {
        return (counts.matching > 0).then(|| MATCH.to_owned());
    }
    let one = |(text, rows): (&str, usize)| format!("{text} ({})", numbers::plural(rows, "row"));
    Some(counts.differences.into_iter().map(one).collect::<Vec<_>>().join("; "))
}
