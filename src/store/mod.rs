//! Results on disk: the journal's records and the parquet tables derived from them.

pub mod journal;
pub mod record;
pub mod replace;
