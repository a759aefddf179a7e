//! The timed series of one configuration: as they are measured, and as rows of `samples.parquet`.

use std::borrow::Cow;

use super::schema::SampleRow;
use crate::record::Measured;

/// Raw samples of one configuration, milliseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TimedSeries<'a> {
    /// Wall time per pass.
    pub wall_ms: Cow<'a, [f64]>,
    /// The device's time of the same passes; empty without a device.
    pub device_ms: Cow<'a, [f64]>,
    /// The series from token ids to outputs.
    pub end_to_end_ms: Cow<'a, [f64]>,
    /// An A/A test's medians of the first engine, round by round; empty without a test.
    pub aa_first_ms: Cow<'a, [f64]>,
    /// Those of the second.
    pub aa_second_ms: Cow<'a, [f64]>,
}

impl<'a> TimedSeries<'a> {
    /// What was measured.
    pub fn of(measured: &'a Measured) -> Self {
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

    /// What rows of one configuration hold, column by column. Whether they are in order, without a hole and of one length
    /// where they must be is told by [`TimedSeries::rows`] of it, which are these rows again or not.
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

    /// As rows of `samples.parquet`: as many as the longest series has samples.
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

    /// The rounds of an A/A test are pairs.
    pub fn is_paired(&self) -> bool {
        self.aa_first_ms.len() == self.aa_second_ms.len()
    }
}
