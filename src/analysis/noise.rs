//! The noise floor: how far apart the same engine can seem from itself.
//!
//! An A/A test builds a configuration's engine twice and times both by turns; its ratio is 1 but for noise. What such a
//! test cannot tell from 1 is the largest distance from 1 within its 95 % interval, and a backend's noise floor is the
//! largest of those of its tests: a ratio nearer to 1 is no difference.

use crate::engine::BackendKind;
use crate::results::data::{Data, distinct};
use crate::stats::median;
use crate::store::schema::ResultRow;

/// What the A/A tests of one backend came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor<'a> {
    /// Backend.
    pub backend: BackendKind,
    /// Rows with a test that has an interval.
    pub rows: Vec<&'a ResultRow>,
    /// Median over tests of what each cannot tell from 1, as a share.
    pub typical: f64,
    /// The largest of them: the noise floor, as a share.
    pub floor: f64,
    /// The row it is of.
    pub worst: &'a ResultRow,
}

/// What a row's test cannot tell from 1: the largest distance from 1 within its interval.
pub fn indistinct(row: &ResultRow) -> Option<f64> {
    let (low, high) = row.aa_ratio_low.zip(row.aa_ratio_high)?;
    Some((low - 1.0).abs().max((high - 1.0).abs()))
}

/// The floors of all backends that were tested, in plan order.
pub fn floors(data: &Data) -> Vec<Floor<'_>> {
    let backends = distinct(data.rows.iter().map(|row| row.backend));
    backends.into_iter().filter_map(|backend| floor(data, backend)).collect()
}

/// The floor of one backend.
pub fn floor(data: &Data, backend: BackendKind) -> Option<Floor<'_>> {
    let rows: Vec<&ResultRow> =
        data.measured().filter(|row| row.backend == backend && indistinct(row).is_some()).collect();
    let found: Vec<f64> = rows.iter().filter_map(|row| indistinct(row)).collect();
    let worst = rows.iter().copied().reduce(|a, b| if indistinct(b) > indistinct(a) { b } else { a })?;
    Some(Floor { backend, typical: median(&found)?, floor: indistinct(worst)?, worst, rows })
}
