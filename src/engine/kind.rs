//! The backends by name, and the device that each of them executes on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The backends that an experiment can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// The interpreter of this program on the CPU: FP32, the FP64 oracle, and bit-faithful emulation of the other
    /// policies.
    Reference,
    /// ONNX Runtime on the CPU.
    OnnxRuntime,
    /// The CUDA kernels of this program, and cuBLASLt.
    Cuda,
    /// TensorRT.
    TensorRt,
    /// A fake engine with known outputs, for tests of the runner.
    Mock,
}

impl BackendKind {
    /// Every backend that a manifest may name, in the order of the tables.
    pub const ALL: [BackendKind; 5] =
        [BackendKind::Reference, BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt, BackendKind::Mock];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Reference => "reference",
            BackendKind::OnnxRuntime => "onnxruntime",
            BackendKind::Cuda => "cuda",
            BackendKind::TensorRt => "tensorrt",
            BackendKind::Mock => "mock",
        }
    }

    /// Whether its engines are built ahead of time for a [`Target`](super::Target).
    pub fn has_targets(self) -> bool {
        self == BackendKind::TensorRt
    }

    /// Whether this build of the program contains it.
    pub fn is_built_in(self) -> bool {
        self != BackendKind::TensorRt || cfg!(feature = "tensorrt")
    }

    /// The device that its engines execute on.
    pub fn device(self) -> DeviceKind {
        match self {
            BackendKind::Reference | BackendKind::OnnxRuntime | BackendKind::Mock => DeviceKind::Cpu,
            BackendKind::Cuda | BackendKind::TensorRt => DeviceKind::Gpu,
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of device that an engine executes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Host processor.
    Cpu,
    /// CUDA device.
    Gpu,
}
