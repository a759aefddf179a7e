//! How far the rows of one kind agree.

use serde::Serialize;

use super::{Agreement, Limits, Pair};
use crate::analysis::noise::Deviation;
use crate::results::data::{Data, Series, distinct, series};
use crate::stats::{median, nearest_rank};

/// The distances of two runs' medians, over rows of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Rows compared, including those that only one run has measured.
    pub rows: usize,
    /// Rows within the tolerance.
    pub within: usize,
    /// Median ratio. This and the following fields cover rows with a median in both runs.
    pub ratio: Option<f64>,
    /// Median distance from 1.
    pub typical: Option<f64>,
    /// 95th percentile of it, by nearest rank.
    pub most: Option<f64>,
    /// Largest.
    pub largest: Option<f64>,
}

impl Spread {
    /// The spread of these pairs and this many rows that ended differently; `None` without any.
    pub(super) fn of(pairs: &[&Pair], unlike: usize, limits: Limits) -> Option<Spread> {
        let deviations: Vec<f64> = pairs.iter().map(|pair| pair.deviation()).collect();
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ratio.0).collect();
        let rows = pairs.len() + unlike;
        (rows > 0).then(|| Spread {
            rows,
            within: pairs.iter().filter(|pair| Deviation::of(pair.ratio).is_within(limits.tolerance)).count(),
            ratio: median(&ratios),
            typical: median(&deviations),
            most: nearest_rank(&deviations, 95),
            largest: deviations.iter().copied().reduce(f64::max),
        })
    }

    /// The share of rows within the tolerance.
    pub fn share(&self) -> f64 {
        self.within as f64 / self.rows as f64
    }
}

/// How far the rows of each series agree, in plan order of the first run.
pub fn by_series(found: &Agreement, data: &Data) -> Vec<(String, Spread)> {
    let all = distinct(data.rows.iter().map(series));
    let of = |wanted: &Series| Some((wanted.label(), found.spread(|row| series(row) == *wanted)?));
    all.iter().filter_map(of).collect()
}
