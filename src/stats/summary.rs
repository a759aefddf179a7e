//! Location and spread of one configuration's samples.

use serde::{Deserialize, Serialize};

use super::{Interval, Percentile, bootstrap_median, median_of_sorted, sorted_finite};

/// Summary statistics of one series of samples, in the samples' unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of samples.
    pub samples: usize,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with n - 1 in the denominator; `None` for one sample.
    pub sd: Option<f64>,
    /// Median, the headline value.
    pub median: f64,
    /// Bootstrap 95 % interval of the median; see [`bootstrap_median`].
    pub median_interval: Option<Interval>,
    /// 90th percentile, or `None` below 64 samples; see [`Percentile::min_samples`].
    pub p90: Option<f64>,
    /// 95th percentile, or `None` below 130 samples.
    pub p95: Option<f64>,
    /// 99th percentile, or `None` below 662 samples.
    pub p99: Option<f64>,
}

/// Summarises samples. Only the bootstrap uses `seed`. `None` when there are no samples or one is not finite.
pub fn summarize(samples: &[f64], seed: u64) -> Option<Summary> {
    let sorted = sorted_finite(samples)?;
    let mean = mean(&sorted);
    Some(Summary {
        samples: sorted.len(),
        min: sorted[0],
        max: sorted[sorted.len() - 1],
        mean,
        sd: standard_deviation(&sorted, mean),
        median: median_of_sorted(&sorted),
        median_interval: bootstrap_median(&sorted, seed),
        p90: Percentile::P90.of_sorted(&sorted),
        p95: Percentile::P95.of_sorted(&sorted),
        p99: Percentile::P99.of_sorted(&sorted),
    })
}

/// Median. `None` when there are no samples or one is not finite.
pub fn median(samples: &[f64]) -> Option<f64> {
    sorted_finite(samples).map(|sorted| median_of_sorted(&sorted))
}

/// Running mean. It cannot overflow when the samples are finite.
fn mean(samples: &[f64]) -> f64 {
    let mut mean = 0.0;
    for (index, x) in samples.iter().enumerate() {
        let n = (index + 1) as f64;
        mean += x / n - mean / n;
    }
    mean
}

/// Two-pass standard deviation with n - 1.
fn standard_deviation(samples: &[f64], mean: f64) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
    let sd = (squares / (samples.len() - 1) as f64).sqrt();
    sd.is_finite().then_some(sd)
}
