//! The paper's tables, each from the rows of a run.

pub mod agreement;
pub mod configurations;
pub mod cross_gpu;
pub mod device;
pub mod engines;
pub mod environment;
pub mod forwards;
pub mod grid;
pub mod headline;
pub mod headroom;
pub mod latency;
pub mod machines;
pub mod memory;
pub mod noise;
pub mod numerics;
pub mod outputs;
pub mod peers;
pub mod quality;
pub mod scores;
pub mod searches;
pub mod speedup;

use crate::record::Status;
use crate::report::table::{Notes, TableCell};
use crate::results::data::{Group, series, shape};
use crate::store::schema::ResultRow;

/// Footnote of everything timed under an emulated policy.
pub const EMULATED_NOTE: &str = "Formats are emulated by rounding on the CPU. The numerics are those of the format. The \
                                 time says nothing about hardware with that format, so no speed-up includes it.";

/// The cell of a row without an FP32 counterpart: marked where an FP32 row of its shape was measured and does not pair.
pub fn without_fp32(group: &Group, row: &ResultRow, notes: &mut Notes) -> TableCell {
    let fp32 = series(row).fp32();
    let is_there =
        |other: &&ResultRow| series(other) == fp32 && shape(other) == shape(row) && other.status == Status::Ok;
    let unlike = series(row) != fp32 && row.status == Status::Ok && group.rows.iter().any(is_there);
    let why = "The FP32 row of this shape is of another environment or has other weights: the two are not compared.";
    TableCell { mark: unlike.then(|| notes.mark(why)), ..TableCell::dash() }
}
