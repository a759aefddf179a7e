//! The timed series of one configuration, as measured and as rows of `samples.parquet`.

use std::borrow::Cow;

use super::schema::SampleRow;
use crate::record::EngineMeasurements;

/// Raw samples of one configuration, milliseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TimedSeries<'a> {
    /// Wall time per forward.
    pub wall_ms: Cow<'a, [f64]>,
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
                latency_ms,
                device_ms,
                end_to_end_ms,
                aa_first_ms,
                aa_second_ms,
            }
        })
    }

    /// Whether every round of the A/A test has both medians.
    pub fn is_paired(&self) -> bool {
        self.aa_first_ms.len() == self.aa_second_ms.len()
    }
}
