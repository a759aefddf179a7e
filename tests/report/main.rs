//! Store, report and claims over hand-made runs: golden files, escaping, determinism, verdicts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agreement;
mod appendix;
mod artifact;
mod claims;
mod device;
mod fixture;
mod hostile;
mod machines;
mod render;
mod store;
mod study;
