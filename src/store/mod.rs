//! Results on disk: the journal's records and the parquet tables derived from them.

pub mod record;
