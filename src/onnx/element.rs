//! Element types of tensors and the bytes of their elements.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::graph::Format;

/// What the elements of an ONNX tensor are. TF32 is not among them: it is FP32 storage, and a flag of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// IEEE binary64.
    Fp64,
    /// IEEE binary32.
    Fp32,
    /// bfloat16.
    Bf16,
    /// IEEE binary16.
    Fp16,
    /// Signed 64-bit integer.
    Int64,
    /// One byte, 0 or 1.
    Bool,
}

impl From<Format> for Element {
    fn from(format: Format) -> Self {
        match format {
            Format::Fp64 => Element::Fp64,
            Format::Fp32 | Format::Tf32 => Element::Fp32,
            Format::Bf16 => Element::Bf16,
            Format::Fp16 => Element::Fp16,
        }
    }
}

impl Element {
    /// `TensorProto.DataType` of onnx.proto.
    pub fn code(self) -> i32 {
        match self {
            Element::Fp32 => 1,
            Element::Int64 => 7,
            Element::Bool => 9,
            Element::Fp16 => 10,
            Element::Fp64 => 11,
            Element::Bf16 => 16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Element::Fp64 | Element::Int64 => 8,
            Element::Fp32 => 4,
            Element::Bf16 | Element::Fp16 => 2,
            Element::Bool => 1,
        }
    }

    /// `fp16`, `int64`, `bool`: the manifest's spelling where there is one.
    pub fn name(self) -> &'static str {
        match self {
            Element::Fp64 => "fp64",
            Element::Fp32 => "fp32",
            Element::Bf16 => "bf16",
            Element::Fp16 => "fp16",
            Element::Int64 => "int64",
            Element::Bool => "bool",
        }
    }

    /// Whether it is one of the two 16-bit floating-point types.
    pub fn is_narrow(self) -> bool {
        matches!(self, Element::Bf16 | Element::Fp16)
    }

    /// The narrowest type that holds every value of two floating-point types: FP32 for FP16 and BF16.
    pub(super) fn join(self, other: Element) -> Element {
        match (self, other) {
            (a, b) if a == b => a,
            (Element::Fp64, _) | (_, Element::Fp64) => Element::Fp64,
            _ => Element::Fp32,
        }
    }

    /// The lowest finite value: masked scores get it, because with minus infinity a row without any permitted key would
    /// be `-inf - -inf`.
    pub(super) fn lowest(self) -> f64 {
        match self {
            Element::Fp64 => f64::MIN,
            Element::Bf16 => f64::from(bf16::MIN),
            Element::Fp16 => f64::from(f16::MIN),
            _ => f64::from(f32::MIN),
        }
    }

    /// Little-endian bytes of one number. It goes through FP32 on its way to 16 bits, as in the reference backend.
    pub(super) fn scalar(self, value: f64) -> Vec<u8> {
        match self {
            Element::Fp64 => value.to_le_bytes().to_vec(),
            Element::Fp32 => (value as f32).to_le_bytes().to_vec(),
            Element::Bf16 => bf16::from_f32(value as f32).to_le_bytes().to_vec(),
            Element::Fp16 => f16::from_f32(value as f32).to_le_bytes().to_vec(),
            Element::Int64 => (value as i64).to_le_bytes().to_vec(),
            Element::Bool => vec![u8::from(value != 0.0)],
        }
    }

    /// The number that [`Element::scalar`] has rounded `value` to.
    pub(super) fn rounded(self, value: f64) -> f64 {
        match self {
            Element::Fp32 => f64::from(value as f32),
            Element::Bf16 => f64::from(bf16::from_f32(value as f32)),
            Element::Fp16 => f64::from(f16::from_f32(value as f32)),
            _ => value,
        }
    }

    /// Little-endian bytes of FP32 numbers, appended. Integers and booleans are never made from FP32.
    fn append(self, values: &[f32], out: &mut [u8]) {
        match self {
            Element::Fp64 => {
                for (bytes, value) in out.chunks_exact_mut(8).zip(values) {
                    bytes.copy_from_slice(&f64::from(*value).to_le_bytes());
                }
            }
            Element::Bf16 => {
                let mut narrow = vec![bf16::ZERO; values.len()];
                narrow.convert_from_f32_slice(values);
                out.copy_from_slice(bytemuck::cast_slice(&narrow));
            }
            Element::Fp16 => {
                let mut narrow = vec![f16::ZERO; values.len()];
                narrow.convert_from_f32_slice(values);
                out.copy_from_slice(bytemuck::cast_slice(&narrow));
            }
            _ => out.copy_from_slice(bytemuck::cast_slice(values)),
        }
    }
}

// `append` copies words as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "ONNX stores little-endian words");

/// Elements one thread converts at a time.
const CHUNK: usize = 1 << 16;

/// Output rows one thread transposes at a time: a cache line of FP32 in the source.
const COLUMNS: usize = 16;

/// Bytes of `values` in their order.
pub(super) fn encode(values: &[f32], element: Element) -> Vec<u8> {
    let width = element.bytes() as usize;
    let mut out = vec![0; values.len() * width];
    out.par_chunks_mut(CHUNK * width).zip(values.par_chunks(CHUNK)).for_each(|(out, values)| {
        element.append(values, out);
    });
    out
}

/// Bytes of the transpose of `values`, a matrix of rows of `columns` elements.
pub(super) fn encode_transposed(values: &[f32], columns: usize, element: Element) -> Vec<u8> {
    let rows = values.len() / columns;
    let width = element.bytes() as usize;
    let mut out = vec![0; values.len() * width];
    out.par_chunks_mut(COLUMNS * rows * width).enumerate().for_each_init(
        || vec![0f32; COLUMNS * rows],
        |scratch, (block, out)| {
            let first = block * COLUMNS;
            let count = COLUMNS.min(columns - first);
            let scratch = &mut scratch[..count * rows];
            for (row, line) in values.chunks_exact(columns).enumerate() {
                for (column, value) in line[first..first + count].iter().enumerate() {
                    scratch[column * rows + row] = *value;
                }
            }
            element.append(scratch, out);
        },
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_bytes_are_those_of_the_transposed_matrix_in_every_float_type() {
        // Neither dimension is a multiple of the block.
        let (rows, columns) = (37, 53);
        let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 - 900.0) / 7.0).collect();
        let transposed: Vec<f32> =
            (0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied().collect::<Vec<_>>()).collect();
        for element in [Element::Fp64, Element::Fp32, Element::Bf16, Element::Fp16] {
            let expected: Vec<u8> = transposed.iter().flat_map(|&v| element.scalar(f64::from(v))).collect();
            assert_eq!(encode_transposed(&values, columns, element), expected, "{}", element.name());
            assert_eq!(encode(&transposed, element), expected, "{}", element.name());
        }
    }

    #[test]
    fn the_join_of_two_types_holds_both() {
        assert_eq!(Element::Fp16.join(Element::Bf16), Element::Fp32);
        assert_eq!(Element::Fp16.join(Element::Fp16), Element::Fp16);
        assert_eq!(Element::Bf16.join(Element::Fp64), Element::Fp64);
        assert_eq!(Element::Fp16.lowest(), -65504.0);
    }
}
