//! `results.parquet` and `samples.parquet`, tampered with and sealed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixprec::store::parquet::{read_results, read_samples};
use mixprec_fuzz::{put, scratch, seal_table};

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    seal_table(&mut bytes);
    put("tables/results.parquet", &bytes);
    put("tables/samples.parquet", &bytes);
    let dir = scratch().join("tables");
    let _ = (read_results(&dir), read_samples(&dir));
});
