//! Whether two times are the same within noise: how far a ratio is from 1, as far as its interval lets one see.
//!
//! `rerun` asks whether the interval of a ratio reaches 1, `compare` whether the ratio itself is within a tolerance of 1, and
//! the noise floor how far from 1 the interval reaches. An A/A test builds a configuration's engine twice and times both
//! interleaved, so that only noise sets its ratio apart from 1. A backend's noise floor is the farthest that the interval of
//! any of its tests reaches: a ratio nearer to 1 is no difference.

use super::pairs::Ranged;
use crate::engine::BackendKind;
use crate::results::data::{Data, distinct};
use crate::stats::median;
use crate::store::schema::ResultRow;

/// Distance of a ratio of two times from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// Of the ratio itself.
    pub measured: f64,
    /// Of the nearest and the farthest value of its interval, where it has one.
    pub range: Option<(f64, f64)>,
}

impl Deviation {
    /// The deviation of a ratio and its interval.
    pub fn of((ratio, interval): Ranged) -> Self {
        let range = interval.map(|(low, high)| {
            let (to_low, to_high) = ((low - 1.0).abs(), (high - 1.0).abs());
            let nearest = if low <= 1.0 && 1.0 <= high { 0.0 } else { to_low.min(to_high) };
            (nearest, to_low.max(to_high))
        });
        Deviation { measured: (ratio - 1.0).abs(), range }
    }

    /// Whether the ratio is within `tolerance` of 1.
    pub fn is_within(self, tolerance: f64) -> bool {
        self.measured <= tolerance
    }

    /// Whether the interval holds 1, so that nothing sets the two times apart; `None` without an interval.
    pub fn is_nothing(self) -> Option<bool> {
        self.range.map(|(nearest, _)| nearest == 0.0)
    }
}

/// The A/A tests of one backend.
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
    /// The row with the largest one.
    pub worst: &'a ResultRow,
}

/// What a row's test cannot tell from 1: the largest distance from 1 within its interval.
pub fn indistinct(row: &ResultRow) -> Option<f64> {
    let deviation = Deviation::of((row.aa_ratio?, row.aa_ratio_low.zip(row.aa_ratio_high)));
    deviation.range.map(|(_, farthest)| farthest)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_around_1_sets_nothing_apart_and_one_beyond_it_does() {
        let deviation = |low, ratio, high| Deviation::of((ratio, Some((low, high))));
        assert_eq!(deviation(0.75, 1.25, 1.5).is_nothing(), Some(true));
        assert_eq!(deviation(1.0, 1.25, 1.5).is_nothing(), Some(true), "an end at 1 touches it");
        assert_eq!(deviation(1.125, 1.25, 1.5).is_nothing(), Some(false));
        assert_eq!(deviation(0.25, 0.5, 0.75).range, Some((0.25, 0.75)));
        assert_eq!(deviation(0.5, 1.25, 1.5).range, Some((0.0, 0.5)));
        assert_eq!(Deviation::of((1.25, None)).is_nothing(), None);
    }

    #[test]
    fn a_tolerance_is_asked_of_the_ratio_alone() {
        assert!(Deviation::of((1.25, Some((0.0, 9.0)))).is_within(0.25));
        assert!(!Deviation::of((0.5, Some((0.25, 1.0)))).is_within(0.25));
    }
}
