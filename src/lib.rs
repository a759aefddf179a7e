//! `mixprec` re-measures a mixed-precision transformer inference paper (arXiv 2603.28708) on the reader's hardware.
//!
//! Data flows one way: manifest, plan, engine, measurement, store, report. Each module is one of those stages.

pub mod appendix;
pub mod artifact;
pub mod backend;
pub mod cache;
pub mod cli;
pub mod contained;
pub mod difference;
pub mod digest;
pub mod doctor;
pub mod fetch;
pub mod graph;
pub mod infer;
pub mod input;
pub mod manifest;
pub mod measure;
pub mod merge;
pub mod model;
pub mod numerics;
pub mod nvml;
pub mod onnx;
pub mod plan;
pub mod provenance;
pub mod report;
pub mod rerun;
pub mod runner;
pub mod selftest;
#[cfg(test)]
#[path = "../tests/fixtures/skip.rs"]
mod skip;
pub mod stats;
pub mod store;
pub mod timing;
