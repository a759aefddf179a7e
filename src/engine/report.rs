//! What an engine reports: its outputs, its memory, its device's highest rates.

use serde::{Deserialize, Serialize};

use crate::graph::OutputKind;

/// Bytes that an engine holds, by purpose. A size that the backend cannot know is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryBreakdown {
    /// Parameters as stored.
    pub weights_bytes: Option<u64>,
    /// Intermediate tensors and outputs.
    pub activations_bytes: Option<u64>,
    /// Workspace of libraries.
    pub workspace_bytes: Option<u64>,
    /// Growth of the device's used memory while the engine was created, by the driver's count. It includes the kernels'
    /// code, and any memory that other processes allocated or freed meanwhile.
    #[serde(default)]
    pub device_bytes: Option<u64>,
}

/// The kernels that one forward launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launches {
    /// All of them.
    pub kernels: usize,
    /// Those that execute a single operation of the graph and round every step, where a product and a fused kernel do not.
    pub single_operations: usize,
}

/// Highest rates of computing and copying that were measured on a device, in the process that measures the engine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations per second of a large product in the formats of the engine's linear layers.
    pub flops_per_s: f64,
    /// The same while such products have kept the board busy for a while, so that its power limit sets the clock. `None` in older
    /// rows.
    #[serde(default)]
    pub sustained_flops_per_s: Option<f64>,
    /// Bytes per second, read and written, of a large copy.
    pub bytes_per_s: f64,
}

/// Description of an engine, for its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineDescription {
    /// Library and version, e.g. `reference 0.1.0 (gemm, avx512f)`.
    pub library: String,
    /// Device name.
    pub device: String,
    /// CPU threads used, if any.
    pub threads: Option<usize>,
    /// Whether the policy's formats are emulated by rounding. The time then says nothing about hardware with those
    /// formats.
    pub emulated: bool,
}

/// Outputs copied to the host. `values` is `[rows, width]` with padding rows included.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The meaning of a row.
    pub kind: OutputKind,
    /// Number of output vectors: `batch * sequence`, or `batch` for class logits.
    pub rows: usize,
    /// Elements of one vector.
    pub width: usize,
    /// Row-major elements, widened to f32. (The FP64 oracle has its own entry point.)
    pub values: Vec<f32>,
}
