//! Store, report and claims over hand-made runs: committed pages, snapshots of LaTeX, escaping, determinism, verdicts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agreement;
mod appendix;
mod artifact;
mod claims;
mod committed;
mod device;
mod explain;
mod fixture;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod hostile;
mod latex;
mod machines;
mod materials;
mod outputs;
mod readers;
mod readings;
mod render;
mod searches;
mod splice;
mod statistics;
mod store;
mod study;
mod weights;
