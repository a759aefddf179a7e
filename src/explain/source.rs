//! The rows of one experiment or repeat, and what lies behind them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::manifest::ManifestFile;
use super::{Recomputed, Traced, text};
use crate::analysis::facts::configuration_label;
use crate::record::Record;
use crate::results::data::Data;
use crate::stats::median;
use crate::store::parquet::read_samples;
use crate::store::schema::{ResultRow, SampleRow};
use crate::store::series::TimedSeries;
use crate::store::{SAMPLES_FILE, StoreError, derive, journal};

/// One experiment or repeat.
pub(super) struct Source {
    /// Relative to the folder that was given; empty for its own.
    pub folder: PathBuf,
    pub data: Data,
    pub manifest: ManifestFile,
    /// Those of each row, by configuration and environment.
    samples: HashMap<(String, String), Vec<SampleRow>>,
    records: Vec<Record>,
}

impl Source {
    /// Reads what lies behind the rows of a folder in `dir`.
    ///
    /// # Errors
    /// [`StoreError`] when the journal or the samples cannot be read.
    pub fn read(dir: &Path, folder: PathBuf, data: Data) -> Result<Source, StoreError> {
        let path = dir.join(&folder);
        let records = match path.join(journal::JOURNAL_FILE).exists() {
            true => journal::read(&path).map_err(StoreError::Journal)?.records,
            false => Vec::new(),
        };
        // A run that was stopped has its samples in the journal alone.
        let all = match path.join(SAMPLES_FILE).exists() {
            true => read_samples(&path)?,
            false => derive::samples(&data.plan, &records),
        };
        let mut samples: HashMap<(String, String), Vec<SampleRow>> = HashMap::new();
        for sample in all {
            samples.entry((sample.id.clone(), sample.environment.clone())).or_default().push(sample);
        }
        let manifest = ManifestFile::of(&data.plan);
        Ok(Source { folder, data, manifest, samples, records })
    }

    /// A row, and what lies behind it.
    pub fn trace(&self, dir: &Path, row: &ResultRow) -> Traced {
        let environment = row.environment.as_ref().map(|id| {
            let known = self.data.environments.get(id);
            (id.clone(), known.map(text::environment).unwrap_or_default())
        });
        let record = self.records.iter().rev().find(|record| record.id.0 == row.id);
        let folder = text::folder(dir, &self.folder);
        let in_environment = row.environment.as_ref().map(|id| format!(" --environment {id}")).unwrap_or_default();
        Traced {
            id: row.id.clone(),
            experiment: self.data.plan.name.clone(),
            folder: self.folder.clone(),
            label: configuration_label(row),
            status: row.status,
            values: text::values(row),
            series: recomputed(row, self.samples_of(row)),
            environment,
            gpu: record.and_then(|record| record.gpu.clone()),
            manifest: self.manifest.lines(row),
            commands: vec![
                format!("mixprec rerun {folder} --id {}{in_environment}", row.id),
                format!("mixprec run {} --backend {}", self.manifest.word(), row.backend),
            ],
        }
    }

    fn samples_of(&self, row: &ResultRow) -> &[SampleRow] {
        let key = row.environment.clone().map(|environment| (row.id.clone(), environment));
        key.and_then(|key| self.samples.get(&key)).map_or(&[], Vec::as_slice)
    }
}

/// The medians of a row's timed series, from its samples.
fn recomputed(row: &ResultRow, samples: &[SampleRow]) -> Vec<Recomputed> {
    type Column = (&'static str, fn(&SampleRow) -> Option<f64>, Option<f64>);
    let columns: [Column; 3] = [
        ("latency_ms", |sample| sample.latency_ms, row.latency_p50_ms),
        ("device_ms", |sample| sample.device_ms, row.device_p50_ms),
        ("end_to_end_ms", |sample| sample.end_to_end_ms, row.end_to_end_p50_ms),
    ];
    let of_processes = TimedSeries::read(&samples.iter().collect::<Vec<_>>()).medians_of_processes_ms();
    let series = columns.into_iter().map(|(column, of, stored_ms)| {
        let values: Vec<f64> = samples.iter().filter_map(of).collect();
        let processes = if column == "latency_ms" { of_processes.as_slice() } else { &[] };
        let recomputed_ms = median(if processes.is_empty() { &values } else { processes });
        Recomputed { column, samples: values.len(), processes_ms: processes.to_vec(), stored_ms, recomputed_ms }
    });
    series.filter(|found| found.samples > 0 || found.stored_ms.is_some()).collect()
}
