//! Element types of tensors and the bytes of their elements.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::graph::Format;

/// What the elements of an ONNX tensor are. TF32 is not among them: it is FP32 storage, and a flag of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElementType {
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

impl From<Format> for ElementType {
    fn from(format: Format) -> Self {
        match format {
            Format::Fp64 => ElementType::Fp64,
            Format::Fp32 | Format::Tf32 => ElementType::Fp32,
            Format::Bf16 => ElementType::Bf16,
            Format::Fp16 => ElementType::Fp16,
        }
    }
}

impl ElementType {
    /// `TensorProto.DataType` of onnx.proto.
    pub fn code(self) -> i32 {
        match self {
            ElementType::Fp32 => 1,
            ElementType::Int64 => 7,
            ElementType::Bool => 9,
            ElementType::Fp16 => 10,
            ElementType::Fp64 => 11,
            ElementType::Bf16 => 16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            ElementType::Fp64 | ElementType::Int64 => 8,
            ElementType::Fp32 => 4,
            ElementType::Bf16 | ElementType::Fp16 => 2,
            ElementType::Bool => 1,
        }
    }

    /// `fp16`, `int64`, `bool`: the manifest's spelling where there is one.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::Fp64 => "fp64",
            ElementType::Fp32 => "fp32",
            ElementType::Bf16 => "bf16",
            ElementType::Fp16 => "fp16",
            ElementType::Int64 => "int64",
            ElementType::Bool => "bool",
        }
    }

    /// Whether it is one of the two 16-bit floating-point types.
    pub fn is_narrow(self) -> bool {
        matches!(self, ElementType::Bf16 | ElementType::Fp16)
    }

    /// The narrowest type that holds every value of two floating-point types: FP32 for FP16 and BF16.
    pub(super) fn join(self, other: ElementType) -> ElementType {
        match (self, other) {
            (a, b) if a == b => a,
            (ElementType::Fp64, _) | (_, ElementType::Fp64) => ElementType::Fp64,
            _ => ElementType::Fp32,
        }
    }

    /// The lowest finite value: masked scores get it, because with minus infinity a row without any permitted key would
    /// be `-inf - -inf`.
    pub(super) fn lowest(self) -> f64 {
        match self {
            ElementType::Fp64 => f64::MIN,
            ElementType::Bf16 => f64::from(bf16::MIN),
            ElementType::Fp16 => f64::from(f16::MIN),
            _ => f64::from(f32::MIN),
        }
    }

    /// Little-endian bytes of one number. It goes through FP32 on its way to 16 bits, as in the reference backend.
    pub(super) fn scalar(self, value: f64) -> Vec<u8> {
        match self {
            ElementType::Fp64 => value.to_le_bytes().to_vec(),
            ElementType::Fp32 => (value as f32).to_le_bytes().to_vec(),
            ElementType::Bf16 => bf16::from_f32(value as f32).to_le_bytes().to_vec(),
            ElementType::Fp16 => f16::from_f32(value as f32).to_le_bytes().to_vec(),
            ElementType::Int64 => (value as i64).to_le_bytes().to_vec(),
            ElementType::Bool => vec![u8::from(value != 0.0)],
        }
    }

    /// The number that [`ElementType::scalar`] has rounded `value` to.
    pub(super) fn rounded(self, value: f64) -> f64 {
        match self {
            ElementType::Fp32 => f64::from(value as f32),
            ElementType::Bf16 => f64::from(bf16::from_f32(value as f32)),
            ElementType::Fp16 => f64::from(f16::from_f32(value as f32)),
            _ => value,
        }
    }

    /// Little-endian bytes of FP32 numbers, appended. Integers and booleans are never made from FP32.
    fn append(self, values: &[f32], out: &mut [u8]) {
        match self {
            ElementType::Fp64 => {
                for (bytes, value) in out.chunks_exact_mut(8).zip(values) {
                    bytes.copy_from_slice(&f64::from(*value).to_le_bytes());
                }
            }
            ElementType::Bf16 => {
                let mut narrow = vec![bf16::ZERO; values.len()];
                narrow.convert_from_f32_slice(values);
                out.copy_from_slice(bytemuck::cast_slice(&narrow));
            }
            ElementType::Fp16 => {
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
pub(super) fn encode(values: &[f32], element: ElementType) -> Vec<u8> {
    let width = element.bytes() as usize;
    let mut out = vec![0; values.len() * width];
    out.par_chunks_mut(CHUNK * width).zip(values.par_chunks(CHUNK)).for_each(|(out, values)| {
        element.append(values, out);
    });
    out
}

/// Bytes of the transpose of `values`, a matrix of rows of `columns` elements.
pub(super) fn encode_transposed(values: &[f32], columns: usize, element: ElementType) -> Vec<u8> {
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
        for element in [ElementType::Fp64, ElementType::Fp32, ElementType::Bf16, ElementType::Fp16] {
            let expected: Vec<u8> = transposed.iter().flat_map(|&v| element.scalar(f64::from(v))).collect();
            assert_eq!(encode_transposed(&values, columns, element), expected, "{}", element.name());
            assert_eq!(encode(&transposed, element), expected, "{}", element.name());
        }
    }

    #[test]
    fn the_join_of_two_types_holds_both() {
        assert_eq!(ElementType::Fp16.join(ElementType::Bf16), ElementType::Fp32);
        assert_eq!(ElementType::Fp16.join(ElementType::Fp16), ElementType::Fp16);
        assert_eq!(ElementType::Bf16.join(ElementType::Fp64), ElementType::Fp64);
        assert_eq!(ElementType::Fp16.lowest(), -65504.0);
    }
}
