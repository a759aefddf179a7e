//! Every column of the table of samples.

use polars::prelude::{Column, DataFrame};

use super::column::{ColumnValue, Stored, from_column, to_column};
use super::table::{ColumnInfo, table};

table! {
    /// One timed execution: a row of `samples.parquet`.
    SampleRow {
        /// Configuration.
        id: String,
        /// Environment it ran in: with the id it names the row of `results.parquet`.
        environment: String,
        /// Position in the order taken, from 0, in each of the series below; a series that is over is null.
        index: u64,
        /// Of several processes, each with an engine of its own, the one that took the sample of `latency_ms`, from 0.
        process: Option<u64>,
        /// Wall time of one forward pass.
        latency_ms: Option<f64>,
        /// The device's own time of the same pass: between two events on its stream.
        device_ms: Option<f64>,
        /// Of another, shorter series: wall time of one pass from token ids to outputs in host memory.
        end_to_end_ms: Option<f64>,
        /// Of an A/A test, round by round: median wall time of a pass of the first engine.
        aa_first_ms: Option<f64>,
        /// That of the second, the same engine built again.
        aa_second_ms: Option<f64>,
    }
}
