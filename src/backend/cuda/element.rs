//! The types of elements in device memory.

use crate::graph::Format;

/// The type of a device tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ElementType {
    /// binary32.
    F32,
    /// binary16.
    F16,
    /// bfloat16.
    Bf16,
}

impl ElementType {
    /// The type that stores a format. Only the oracle computes in FP64, and it never reaches a device.
    pub fn of(format: Format) -> ElementType {
        match format {
            Format::Fp64 | Format::Fp32 | Format::Tf32 => ElementType::F32,
            Format::Bf16 => ElementType::Bf16,
            Format::Fp16 => ElementType::F16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            ElementType::F32 => 4,
            ElementType::F16 | ElementType::Bf16 => 2,
        }
    }

    /// Its name in the kernels' source.
    pub fn cuda(self) -> &'static str {
        match self {
            ElementType::F32 => "F32",
            ElementType::F16 => "F16",
            ElementType::Bf16 => "BF16",
        }
    }
}
