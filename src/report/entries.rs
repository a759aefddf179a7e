//! The rows at the end of the page, where the numbers above lead.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::analysis::facts::{configuration_label, latency_interval};
use crate::numbers;
use crate::results::data::Data;
use crate::results::study::Study;
use crate::store::schema::ResultRow;

/// A row as the page shows it, where the numbers that come from it lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Configuration id.
    pub id: String,
    /// Experiment.
    pub experiment: String,
    /// `cuda hybrid, bert-base 8×128 random`
    pub label: String,
    /// Median latency with its interval and number of samples, or why there is none.
    pub measured: String,
    /// Environment id.
    pub environment: String,
}

impl Entry {
    fn of(data: &Data, row: &ResultRow) -> Self {
        let time = row.latency_p50_ms.map(|median| {
            let (text, interval) = numbers::with_interval(median, latency_interval(row), 4);
            let n = numbers::count(row.samples.unwrap_or(0));
            format!("{text} ms{}, n = {n}", interval.map(|interval| format!(" {interval}")).unwrap_or_default())
        });
        Entry {
            id: row.id.clone(),
            experiment: data.plan.name.clone(),
            label: configuration_label(row),
            measured: time.or_else(|| row.reason.clone()).unwrap_or_else(|| "not run".to_owned()),
            environment: row.environment.clone().unwrap_or_default(),
        }
    }
}

/// The rows of every experiment; of one that several of them have, or several machines, the first.
pub fn entries(study: &Study) -> Vec<Entry> {
    let all = std::iter::once(&study.main).chain(&study.others);
    let mut seen = BTreeSet::new();
    let rows = all.flat_map(|data| data.rows.iter().map(move |row| (data, row)));
    rows.filter(|(_, row)| seen.insert(row.id.clone())).map(|(data, row)| Entry::of(data, row)).collect()
}
