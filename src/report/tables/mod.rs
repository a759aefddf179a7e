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
pub mod quality;
pub mod speedup;

/// Footnote of everything timed under an emulated policy.
pub const EMULATED_NOTE: &str = "Formats are emulated by rounding on the CPU. The numerics are those of the format. The \
                                 time says nothing about hardware with that format, so no speed-up includes it.";
