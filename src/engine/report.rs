//! What an engine says of itself: its outputs, what it holds, what its device can do.

use serde::{Deserialize, Serialize};

use crate::graph::OutputKind;

/// Bytes an engine holds, by purpose. Sizes the backend cannot know are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryBreakdown {
    /// Parameters as stored.
    pub weights_bytes: Option<u64>,
    /// Intermediate tensors and outputs.
    pub activations_bytes: Option<u64>,
    /// Scratch of libraries.
    pub workspace_bytes: Option<u64>,
    /// Growth of the device's used memory since before the engine's parts were made, by the driver's count. It holds the
    /// kernels' code too, and what other processes took or gave back meanwhile.
    #[serde(default)]
    pub device_bytes: Option<u64>,
}

/// The fastest a device was seen to do the two things a pass consists of, in the process that measures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations per second of a large product in the formats of the engine's linear layers.
    pub flops_per_s: f64,
    /// Bytes per second, read and written, of a large copy.
    pub bytes_per_s: f64,
}

/// What an engine says of itself, for the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineDescription {
    /// Library and version, e.g. `reference 0.1.0 (gemm, avx512f)`.
    pub library: String,
    /// Device name.
    pub device: String,
    /// CPU threads used, if any.
    pub threads: Option<usize>,
    /// The policy's formats are emulated by rounding, so the row's time says nothing about hardware with that format.
    pub emulated: bool,
}

/// Outputs copied to the host. `values` is `[rows, width]` with padding rows included.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// What a row is.
    pub kind: OutputKind,
    /// Output vectors: `batch * sequence` or, for class logits, `batch`.
    pub rows: usize,
    /// Elements of one vector.
    pub width: usize,
    /// Row-major elements, widened to f32. (The FP64 oracle has its own entry point.)
    pub values: Vec<f32>,
}
