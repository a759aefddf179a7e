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

    /// The independent observations of the wall time: the medians of the processes, or the samples where one process took all.
    pub fn observations_ms(&self) -> Cow<'_, [f64]> {
        match self.medians_of_processes_ms() {
            medians if medians.is_empty() => Cow::Borrowed(&self.wall_ms),
            medians => Cow::Owned(medians),
        }
    }

    /// Whether every round of the A/A test has both medians.
    pub fn is_paired(&self) -> bool {
        self.aa_first_ms.len() == self.aa_second_ms.len()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::stats::median_interval;

    /// Normal with mean 0 and standard deviation 1, nearly: the sum of twelve uniform numbers.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
    }

    /// `each` samples of every process: 100 ms, 8 % by the process, 2 % by the pass.
    fn drawn(random: &mut ChaCha8Rng, processes: u64, each: usize) -> TimedSeries<'static> {
        let mut series = TimedSeries::default();
        for process in 0..processes {
            let of_process = 100.0 + 8.0 * normal(random);
            series.wall_ms.to_mut().extend((0..each).map(|_| of_process + 2.0 * normal(random)));
            series.processes.extend(repeat_n(process, each));
        }
        series
    }

    #[test]
    fn a_process_has_one_median() {
        let series = TimedSeries {
            wall_ms: vec![3.0, 1.0, 2.0, 10.0, 20.0, 7.0].into(),
            processes: vec![0, 0, 0, 1, 1, 2],
            ..TimedSeries::default()
        };
        assert_eq!(series.medians_of_processes_ms(), [2.0, 15.0, 7.0]);
        let rows: Vec<SampleRow> = series.rows("id", "environment").collect();
        assert_eq!(TimedSeries::read(&rows.iter().collect::<Vec<_>>()).medians_of_processes_ms(), [2.0, 15.0, 7.0]);
        assert!(TimedSeries { processes: vec![], ..series }.medians_of_processes_ms().is_empty());
    }

    /// The extremes of six independent medians hold the true one unless all six lie on one side of it, which `2 / 2^6` do. The
    /// interval of all samples, as if each were drawn anew, holds it far less often.
    #[test]
    fn the_interval_of_processes_covers_and_that_of_passes_does_not() {
        const TRIALS: usize = 4000;
        let mut random = ChaCha8Rng::seed_from_u64(6);
        let (mut by_process, mut by_pass) = (0, 0);
        for _ in 0..TRIALS {
            let series = drawn(&mut random, 6, 20);
            let holds = |values: &[f64]| {
                let interval = median_interval(values).unwrap();
                usize::from((interval.low..=interval.high).contains(&100.0))
            };
            by_process += holds(&series.medians_of_processes_ms());
            by_pass += holds(&series.wall_ms);
        }
        let [by_process, by_pass] = [by_process, by_pass].map(|held| held as f64 / TRIALS as f64);
        let expected = 1.0 - 2.0 / 64.0;
        let deviation = (expected * (1.0 - expected) / TRIALS as f64).sqrt();
        assert!((by_process - expected).abs() < 4.0 * deviation, "{by_process}");
        assert!(by_pass < 0.7, "{by_pass}");
    }
}
