//! How elements lie in device memory.

use crate::graph::Format;

/// The type of a device tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Element {
    /// binary32.
    F32,
    /// binary16.
    F16,
    /// bfloat16.
    Bf16,
}

impl Element {
    /// The storage of a format. FP64 is the oracle's alone: it does not reach a device.
    pub fn of(format: Format) -> Element {
        match format {
            Format::Fp64 | Format::Fp32 | Format::Tf32 => Element::F32,
            Format::Bf16 => Element::Bf16,
            Format::Fp16 => Element::F16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
        }
    }

    /// The name of its format in the kernels' source.
    pub fn cuda(self) -> &'static str {
        match self {
            Element::F32 => "F32",
            Element::F16 => "F16",
            Element::Bf16 => "BF16",
        }
    }
}
