//! The noise floor: how far apart the same engine can seem from itself.
//!
//! An A/A test builds a configuration's engine twice and times both by turns; its ratio is 1 but for noise. What such a
//! test cannot tell from 1 is the largest distance from 1 within its 95 % interval, and a backend's noise floor is the
//! largest of those of its tests: a ratio nearer to 1 is no difference.

use super::data::{Data, distinct};
use super::numbers;
use super::table::Note;
use crate::backend::BackendKind;
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

/// The remark under a table of ratios of these backends; `None` where none of them was tested.
pub fn note(data: &Data, backends: &[BackendKind]) -> Option<Note> {
    let floors: Vec<Floor> = backends.iter().filter_map(|&backend| floor(data, backend)).collect();
    if floors.is_empty() {
        return None;
    }
    let each: Vec<String> =
        floors.iter().map(|found| format!("{} {}", found.backend, numbers::percent(found.floor))).collect();
    let text = format!(
        "Noise floor: {}. So far apart two engines of one configuration can seem: a ratio is as uncertain as the floor of the \
         noisier of its two backends, and one nearer to 1 must not be called a difference.",
        each.join(", ")
    );
    Some(Note { mark: String::new(), text })
}

/// What the tests came to, or that there were none.
pub fn sentence(data: &Data) -> String {
    let floors = floors(data);
    if floors.is_empty() {
        return "This run has no A/A test, so that its noise floor is not known.".to_owned();
    }
    let each: Vec<String> = floors
        .iter()
        .map(|found| {
            format!(
                "{} {} ({}, half of them within {})",
                found.backend,
                numbers::percent(found.floor),
                numbers::plural(found.rows.len(), "A/A test"),
                numbers::percent(found.typical)
            )
        })
        .collect();
    format!("The noise floor is {}.", each.join(", "))
}
