//! Pure statistics: slices of numbers in, structs out. This module uses no clock, file or domain type.
//!
//! An undefined value is `None`, never 0: for no samples, a sample that is not finite, or too few samples.

mod bootstrap;
#[cfg(test)]
#[path = "../../tests/fixtures/draws.rs"]
mod draws;
mod interval;
mod paired;
mod proportion;
mod quantile;
mod rank;
mod rounds;
pub mod scores;
mod summary;

use serde::{Deserialize, Serialize};

pub use bootstrap::{BOOTSTRAP_MIN_SAMPLES, BOOTSTRAP_RESAMPLES, bootstrap_median};
pub use interval::{median_interval, relative_half_width};
pub use paired::mcnemar;
pub use proportion::clopper_pearson;
pub use quantile::{Percentile, nearest_rank, supported_samples};
pub use rank::{pearson, spearman};
pub use rounds::ratio_of_rounds;
pub use summary::{Summary, median, summarize};

/// A closed interval; `low <= high`, in the unit of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A sorted copy, or `None` when there is nothing to sort or a sample is NaN or infinite.
fn sorted_finite(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.is_empty() || samples.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(sorted)
}

/// Median of a sorted, non-empty slice: the middle element, or the mean of the middle two.
fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
