//! Two rows set against each other: which rows pair, and what their ratio is.

use super::facts::{engine_bytes, latency_interval};
use crate::record::Status;
use crate::results::data::{Group, series, shape};
use crate::store::schema::ResultRow;

/// A value and, where one is known, the ends of its interval.
pub type Ranged = (f64, Option<(f64, f64)>);

/// Ratio of two medians and, where both have one, an interval from the ends of theirs: the smallest quotient the two
/// intervals allow to the largest. Conservative: both medians lie in their 95 % intervals with at least 90 %.
pub fn speedup(slow: &ResultRow, fast: &ResultRow) -> Option<Ranged> {
    let ratio = slow.latency_p50_ms? / fast.latency_p50_ms.filter(|&latency| latency > 0.0)?;
    let interval = latency_interval(slow).zip(latency_interval(fast));
    Some((ratio, interval.map(|((low, high), (fast_low, fast_high))| (low / fast_high, high / fast_low))))
}

/// How much less a row's engine holds than the FP32 engine of the same backend at the same shape, as a share: 0.5 is half.
/// `None` of FP32 itself, and where formats are emulated.
pub fn memory_reduction(group: &Group, row: &ResultRow) -> Option<f64> {
    let fp32 = group.row(&series(row).fp32(), shape(row)).filter(|fp32| fp32.id != row.id)?;
    let native = [row, fp32].iter().all(|row| row.status == Status::Ok && row.emulated == Some(false));
    native.then(|| less(engine_bytes(row)?, engine_bytes(fp32)?)).flatten()
}

/// How much less `bytes` is than `base`, as a share; `None` over an empty base.
pub fn less(bytes: u64, base: u64) -> Option<f64> {
    (base > 0).then(|| 1.0 - bytes as f64 / base as f64)
}
