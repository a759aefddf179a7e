//! The timed series of one configuration, as measured and as rows of `samples.parquet`.

use std::borrow::Cow;
use std::iter::repeat_n;

use super::schema::SampleRow;
use crate::record::EngineMeasurements;
use crate::stats::median;

/// Raw samples of one configuration, milliseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TimedSeries<'a> {
    /// Wall time per forward.
    pub wall_ms: Cow<'a, [f64]>,
    /// Of each of these the process that took it; empty where one took all.
    pub processes: Vec<u64>,
    /// Device time of the same forwards; empty without a device.
    pub device_ms: Cow<'a, [f64]>,
    /// Wall time from token ids to outputs.
    pub end_to_end_ms: Cow<'a, [f64]>,
    /// Medians of an A/A test's first engine, round by round; empty without a test.
    pub aa_first_ms: Cow<'a, [f64]>,
    /// Medians of its second engine.
    pub aa_second_ms: Cow<'a, [f64]>,
}

impl<'a> TimedSeries<'a> {
    /// The series of a measurement.
    pub fn of(measured: &'a EngineMeasurements) -> Self {
        let (aa_first_ms, aa_second_ms) = match &measured.aa_test {
            Some(Ok(test)) => (test.first_ms.as_slice(), test.second_ms.as_slice()),
            Some(Err(_)) | None => Default::default(),
        };
        TimedSeries {
            wall_ms: measured.samples_ms.as_slice().into(),
            processes: (0..).zip(&measured.samples_of_processes).flat_map(|(k, &n)| repeat_n(k, n)).collect(),
            device_ms: measured.device_samples_ms.as_slice().into(),
            end_to_end_ms: measured.end_to_end_ms.as_slice().into(),
            aa_first_ms: aa_first_ms.into(),
            aa_second_ms: aa_second_ms.into(),
        }
    }

    /// Reads the rows of one configuration, column by column, without checking them. To check their order, gaps and
    /// lengths, compare them with [`TimedSeries::rows`] of the result.
    pub fn read(rows: &[&SampleRow]) -> TimedSeries<'static> {
        let column = |value: fn(&SampleRow) -> Option<f64>| rows.iter().filter_map(|row| value(row)).collect();
        TimedSeries {
            wall_ms: column(|row| row.latency_ms),
            processes: rows.iter().filter_map(|row| row.process).collect(),
            device_ms: column(|row| row.device_ms),
            end_to_end_ms: column(|row| row.end_to_end_ms),
            aa_first_ms: column(|row| row.aa_first_ms),
            aa_second_ms: column(|row| row.aa_second_ms),
        }
    }

    /// The series as rows of `samples.parquet`. There are as many rows as samples in the longest series.
    pub fn rows(&self, id: &str, environment: &str) -> impl Iterator<Item = SampleRow> {
        let all = [&self.wall_ms, &self.device_ms, &self.end_to_end_ms, &self.aa_first_ms, &self.aa_second_ms];
        let longest = all.iter().map(|series| series.len()).max().unwrap_or(0);
        (0..longest).map(move |index| {
            let [latency_ms, device_ms, end_to_end_ms, aa_first_ms, aa_second_ms] =
                all.map(|series| series.get(index).copied());
            SampleRow {
                id: id.to_owned(),
                environment: environment.to_owned(),
                index: index as u64,
                process: self.processes.get(index).copied(),
                latency_ms,
                device_ms,
                end_to_end_ms,
                aa_first_ms,
                aa_second_ms,
            }
        })
    }

    /// The median wall time of each process, in order; none where one process took all samples.
    pub fn medians_of_processes_ms(&self) -> Vec<f64> {
        let sample = |index: &usize| self.wall_ms.get(*index).copied();
        let indices: Vec<usize> = (0..self.processes.len()).collect();
        let of_process = indices.chunk_by(|&a, &b| self.processes[a] == self.processes[b]);
        of_process.filter_map(|of| median(&of.iter().filter_map(sample).collect::<Vec<_>>())).collect()
    }

    /// Whether every round of the A/A test has both medians.
    pub fn is_paired(&self) -> bool {
        self.aa_first_ms.len() == self.aa_second_ms.len()
    }
}
