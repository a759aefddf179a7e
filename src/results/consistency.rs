//! Checks that the tables of a folder agree with their sources. The digest of a table shows damage. If somebody changes
//! a value and writes the table again with a new digest, the other files show it: every row must follow from the
//! journal or, in a folder published without a journal, every time must follow from the samples.
//!
//! A consistent change of journal, samples and results leaves no contradiction. Only a signature, or digests published
//! elsewhere, would show it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use crate::plan::{Configuration, ConfigurationId, Plan};
use crate::record::{Outcome, Record, Status};
use crate::store::journal::JOURNAL_FILE;
use crate::store::schema::{ResultRow, SampleRow};
use crate::store::series::TimedSeries;
use crate::store::weights::as_labelled;
use crate::store::{RESULTS_FILE, SAMPLES_FILE, StoreError, derive};

/// Two sums of the same numbers may differ by so much, relative: another version may add them in another order.
const ROUNDING: f64 = 1e-9;

/// The contents of the journal next to a table.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Every record.
    pub records: &'a [Record],
    /// The rows derived from them.
    pub rows: &'a [ResultRow],
}

/// Checks `results.parquet` against the journal next to it. It may be older than the journal: a row must be that of
/// some record of its configuration, or pending. It may be of an older version than the journal's newest records: then
/// it has their weights as their labels say them, and not what else they were made from.
///
/// # Errors
/// [`StoreError::Contradiction`] naming the first row and its columns.
pub fn results_follow(dir: &Path, plan: &Plan, of: Measured<'_>, rows: &[ResultRow]) -> Result<(), StoreError> {
    let configurations = by_id(plan);
    let newest: HashMap<&str, &ResultRow> = of.rows.iter().map(|row| (row.id.as_str(), row)).collect();
    for row in rows {
        let known = configurations.get(row.id.as_str()).zip(newest.get(row.id.as_str()));
        let Some((&configuration, &newest)) = known.filter(|(_, newest)| **newest != row) else { continue };
        let of_row = of.records.iter().filter(|record| record.id == configuration.id);
        let mut older = of_row.map(|record| derive::row(configuration, record));
        let follows = |mut older: ResultRow| {
            // Older programs state the libraries of ahead-of-time builds alone.
            if row.engine_library_digests.is_none() {
                older.engine_library_digests = None;
            }
            let unstated = older.without_materials();
            older == *row || unstated == *row || as_labelled(&unstated) == *row
        };
        if *row != derive::pending(configuration) && !older.any(follows) {
            return Err(contradiction(dir, RESULTS_FILE, &row.id, &row.differing(newest), JOURNAL_FILE));
        }
    }
    Ok(())
}

/// Checks `samples.parquet` against the journal next to it, in the same way.
///
/// # Errors
/// [`StoreError::Contradiction`] naming the first row.
pub fn samples_follow(dir: &Path, records: &[Record], samples: &[SampleRow]) -> Result<(), StoreError> {
    let mut measured: HashMap<&ConfigurationId, Vec<&Record>> = HashMap::new();
    for record in records {
        measured.entry(&record.id).or_default().push(record);
    }
    for (id, environment, rows) in series_of(samples) {
        let expected = |record: &&Record| match &record.outcome {
            Outcome::Ok(measured) if record.environment == environment => {
                Some(TimedSeries::of(measured).rows(id, environment).collect::<Vec<_>>())
            }
            _ => None,
        };
        let known = measured.get(&ConfigurationId(id.to_owned()));
        let known: Vec<_> = known.into_iter().flatten().filter_map(expected).collect();
        if !known.iter().any(|known| known.iter().eq(rows.iter().copied())) {
            let newest = known.last().map(Vec::as_slice).unwrap_or_default();
            return Err(contradiction(dir, SAMPLES_FILE, id, &differing(newest, &rows), JOURNAL_FILE));
        }
    }
    Ok(())
}

/// Columns in which rows differ from the expected ones; a row that only one side has differs in every column it fills.
fn differing(expected: &[SampleRow], found: &[&SampleRow]) -> Vec<&'static str> {
    let alone = |row: &SampleRow| {
        let (id, environment) = (row.id.clone(), row.environment.clone());
        row.differing(&SampleRow { id, environment, index: row.index, ..SampleRow::default() })
    };
    let columns =
        (0..expected.len().max(found.len())).flat_map(|index| match (expected.get(index), found.get(index)) {
            (Some(expected), Some(found)) => expected.differing(found),
            (Some(row), None) => alone(row),
            (None, Some(row)) => alone(row),
            (None, None) => Vec::new(),
        });
    columns.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Checks the two tables of a folder without a journal against each other: everything that samples decide is computed
/// again from them.
///
/// # Errors
/// [`StoreError::Contradiction`] naming the first row and its columns.
pub fn tables_agree(dir: &Path, plan: &Plan, rows: &[ResultRow], samples: &[SampleRow]) -> Result<(), StoreError> {
    let configurations = by_id(plan);
    let mut series: HashMap<(&str, &str), TimedSeries> = HashMap::new();
    for (id, environment, rows) in series_of(samples) {
        let read = TimedSeries::read(&rows);
        let wrong = if series.contains_key(&(id, environment)) {
            vec!["index"]
        } else if read.is_paired() {
            differing(&read.rows(id, environment).collect::<Vec<_>>(), &rows)
        } else {
            vec!["aa_first_ms", "aa_second_ms"]
        };
        if !wrong.is_empty() {
            return Err(contradiction(dir, SAMPLES_FILE, id, &wrong, "a series in the order taken"));
        }
        series.insert((id, environment), read);
    }
    for row in rows.iter().filter(|row| row.status == Status::Ok) {
        let Some(configuration) = configurations.get(row.id.as_str()) else { continue };
        let key = (row.id.as_str(), row.environment.as_deref().unwrap_or_default());
        let all = series.remove(&key).unwrap_or_default();
        let computed = ResultRow { flops: row.flops, samples: Some(all.wall_ms.len() as u64), ..ResultRow::default() };
        let computed = derive::with_times(computed, configuration, &all);
        let wrong: Vec<&str> = times(row)
            .into_iter()
            .zip(times(&computed))
            .filter(|((_, stated), (_, computed))| !equal(*stated, *computed))
            .map(|((name, _), _)| name)
            .collect();
        if !wrong.is_empty() {
            return Err(contradiction(dir, RESULTS_FILE, &row.id, &wrong, SAMPLES_FILE));
        }
    }
    match series.keys().min() {
        Some((id, _)) => Err(contradiction(dir, SAMPLES_FILE, id, &["id"], RESULTS_FILE)),
        None => Ok(()),
    }
}

fn by_id(plan: &Plan) -> HashMap<&str, &Configuration> {
    plan.configurations.iter().map(|configuration| (configuration.id.0.as_str(), configuration)).collect()
}

/// Samples by configuration and environment, in the order of the table.
fn series_of(samples: &[SampleRow]) -> Vec<(&str, &str, Vec<&SampleRow>)> {
    let same = |a: &SampleRow, b: &SampleRow| (&a.id, &a.environment) == (&b.id, &b.environment);
    let series = samples.chunk_by(same);
    series.map(|series| (series[0].id.as_str(), series[0].environment.as_str(), series.iter().collect())).collect()
}

/// The columns that samples decide.
fn times(row: &ResultRow) -> [(&'static str, Option<f64>); 25] {
    [
        ("samples", row.samples.map(|count| count as f64)),
        ("processes", row.processes.map(|count| count as f64)),
        ("process_spread", row.process_spread),
        ("latency_mean_ms", row.latency_mean_ms),
        ("latency_sd_ms", row.latency_sd_ms),
        ("latency_min_ms", row.latency_min_ms),
        ("latency_p50_ms", row.latency_p50_ms),
        ("latency_p50_low_ms", row.latency_p50_low_ms),
        ("latency_p50_high_ms", row.latency_p50_high_ms),
        ("latency_p90_ms", row.latency_p90_ms),
        ("latency_p95_ms", row.latency_p95_ms),
        ("latency_p99_ms", row.latency_p99_ms),
        ("throughput_sequences_per_s", row.throughput_sequences_per_s),
        ("throughput_tokens_per_s", row.throughput_tokens_per_s),
        ("gflops_per_s", row.gflops_per_s),
        ("device_p50_ms", row.device_p50_ms),
        ("device_p50_low_ms", row.device_p50_low_ms),
        ("device_p50_high_ms", row.device_p50_high_ms),
        ("device_mean_ms", row.device_mean_ms),
        ("end_to_end_samples", row.end_to_end_samples.map(|count| count as f64)),
        ("end_to_end_p50_ms", row.end_to_end_p50_ms),
        ("aa_rounds", row.aa_rounds.map(|count| count as f64)),
        ("aa_ratio", row.aa_ratio),
        ("aa_ratio_low", row.aa_ratio_low),
        ("aa_ratio_high", row.aa_ratio_high),
    ]
}

fn equal(stated: Option<f64>, computed: Option<f64>) -> bool {
    match (stated, computed) {
        (Some(a), Some(b)) => (a - b).abs() <= ROUNDING * a.abs().max(b.abs()),
        (None, None) => true,
        _ => false,
    }
}

fn contradiction(dir: &Path, file: &str, id: &str, columns: &[&str], other: &'static str) -> StoreError {
    StoreError::Contradiction { path: dir.join(file), id: id.to_owned(), columns: columns.join(", "), other }
}
