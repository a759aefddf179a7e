//! The rows at the end of the page, where the numbers above lead.

use std::collections::HashMap;

use serde::Serialize;

use crate::analysis::facts::{configuration_label, latency_interval};
use crate::numbers;
use crate::results::data::Data;
use crate::results::study::Study;
use crate::store::schema::ResultRow;

/// A configuration as the page shows it, where the numbers that come from its rows lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Configuration id.
    pub id: String,
    /// `cuda hybrid, bert-base 8×128 random`
    pub label: String,
    /// Its rows: one for each experiment and machine.
    pub rows: Vec<EntryRow>,
}

/// What was found in one experiment on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryRow {
    /// Experiment.
    pub experiment: String,
    /// Median latency with its interval and number of samples, or why there is none.
    pub measured: String,
    /// Environment id.
    pub environment: String,
}

impl EntryRow {
    fn of(data: &Data, row: &ResultRow) -> Self {
        let time = row.latency_p50_ms.map(|median| {
            let (text, interval) = numbers::with_interval(median, latency_interval(row), 4);
            let n = numbers::count(row.samples.unwrap_or(0));
            format!("{text} ms{}, n = {n}", interval.map(|interval| format!(" {interval}")).unwrap_or_default())
        });
        EntryRow {
            experiment: data.plan.name.clone(),
            measured: time.or_else(|| row.reason.clone()).unwrap_or_else(|| "not run".to_owned()),
            environment: row.environment.clone().unwrap_or_default(),
        }
    }
}

/// The configurations of every experiment, in the order of the first that has them.
pub fn entries(study: &Study) -> Vec<Entry> {
    let all = std::iter::once(&study.main).chain(&study.others);
    let (mut entries, mut places) = (Vec::<Entry>::new(), HashMap::new());
    for (data, row) in all.flat_map(|data| data.rows.iter().map(move |row| (data, row))) {
        let place = *places.entry(row.id.as_str()).or_insert(entries.len());
        if place == entries.len() {
            entries.push(Entry { id: row.id.clone(), label: configuration_label(row), rows: Vec::new() });
        }
        entries[place].rows.push(EntryRow::of(data, row));
    }
    entries
}
