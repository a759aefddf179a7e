//! The runner under faults, through the real binary and the mock backend: kills at any instant, crashing and hanging
//! workers, damaged journals, full and read-only disks. The measurement itself, on a simulated device. Takes seconds and needs
//! no model file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod disk;
mod experiment;
mod faults;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod journal;
mod kills;
mod limits;
mod measure;
mod merging;
mod rerun;
