//! Element types of tensors and the bytes of their elements.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::graph::Format;

/// The type of an ONNX tensor's elements. TF32 is not among them: it is FP32 storage and a flag of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataType {
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
    /// Signed 32-bit integer.
    Int32,
    /// One byte, 0 or 1.
    Bool,
}

impl From<Format> for DataType {
    fn from(format: Format) -> Self {
        match format {
            Format::Fp64 => DataType::Fp64,
            Format::Fp32 | Format::Tf32 => DataType::Fp32,
            Format::Bf16 => DataType::Bf16,
            Format::Fp16 => DataType::Fp16,
        }
    }
}

impl DataType {
    /// `TensorProto.DataType` of onnx.proto.
    pub fn code(self) -> i32 {
        match self {
            DataType::Fp32 => 1,
            DataType::Int32 => 6,
            DataType::Int64 => 7,
            DataType::Bool => 9,
            DataType::Fp16 => 10,
            DataType::Fp64 => 11,
            DataType::Bf16 => 16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            DataType::Fp64 | DataType::Int64 => 8,
            DataType::Fp32 | DataType::Int32 => 4,
            DataType::Bf16 | DataType::Fp16 => 2,
            DataType::Bool => 1,
        }
    }

    /// `fp16`, `int64`, `bool`: the manifest's spelling where there is one.
    pub fn name(self) -> &'static str {
        match self {
            DataType::Fp64 => "fp64",
            DataType::Fp32 => "fp32",
            DataType::Bf16 => "bf16",
            DataType::Fp16 => "fp16",
            DataType::Int64 => "int64",
            DataType::Int32 => "int32",
            DataType::Bool => "bool",
        }
    }

    /// Whether it is one of the two 16-bit floating-point types.
    pub fn is_narrow(self) -> bool {
        matches!(self, DataType::Bf16 | DataType::Fp16)
    }

    /// The narrowest type that holds every value of two floating-point types: FP32 for FP16 and BF16.
    pub(super) fn join(self, other: DataType) -> DataType {
        match (self, other) {
            (a, b) if a == b => a,
            (DataType::Fp64, _) | (_, DataType::Fp64) => DataType::Fp64,
            _ => DataType::Fp32,
        }
    }

    /// The lowest finite value, which masked scores get: with minus infinity, a row without a permitted key would be
    /// `-inf - -inf`.
    pub(super) fn lowest(self) -> f64 {
        match self {
            DataType::Fp64 => f64::MIN,
            DataType::Bf16 => f64::from(bf16::MIN),
            DataType::Fp16 => f64::from(f16::MIN),
            _ => f64::from(f32::MIN),
        }
    }

    /// Little-endian bytes of one number. It is rounded to FP32 before it is rounded to 16 bits, as in the reference backend.
    pub(super) fn scalar(self, value: f64) -> Vec<u8> {
        match self {
            DataType::Fp64 => value.to_le_bytes().to_vec(),
            DataType::Fp32 => (value as f32).to_le_bytes().to_vec(),
            DataType::Bf16 => bf16::from_f32(value as f32).to_le_bytes().to_vec(),
            DataType::Fp16 => f16::from_f32(value as f32).to_le_bytes().to_vec(),
            DataType::Int64 => (value as i64).to_le_bytes().to_vec(),
            DataType::Int32 => (value as i32).to_le_bytes().to_vec(),
            DataType::Bool => vec![u8::from(value != 0.0)],
        }
    }

    /// The number that [`DataType::scalar`] has rounded `value` to.
    pub(super) fn rounded(self, value: f64) -> f64 {
        match self {
            DataType::Fp32 => f64::from(value as f32),
            DataType::Bf16 => f64::from(bf16::from_f32(value as f32)),
            DataType::Fp16 => f64::from(f16::from_f32(value as f32)),
            _ => value,
        }
    }

    /// Writes FP32 numbers to `out` as little-endian bytes. Integers and booleans are never made from FP32.
    fn append(self, values: &[f32], out: &mut [u8]) {
        match self {
            DataType::Fp64 => {
                for (bytes, value) in out.chunks_exact_mut(8).zip(values) {
                    bytes.copy_from_slice(&f64::from(*value).to_le_bytes());
                }
            }
            DataType::Bf16 => {
                let mut narrow = vec![bf16::ZERO; values.len()];
                narrow.convert_from_f32_slice(values);
                out.copy_from_slice(bytemuck::cast_slice(&narrow));
            }
            DataType::Fp16 => {
                let mut narrow = vec![f16::ZERO; values.len()];
                narrow.convert_from_f32_slice(values);
                out.copy_from_slice(bytemuck::cast_slice(&narrow));
            }
            _ => out.copy_from_slice(bytemuck::cast_slice(values)),
        }
    }
}

// `append` copies words in the order of memory.
const _: () = assert!(cfg!(target_endian = "little"), "ONNX stores little-endian words");

/// Elements one thread converts at a time.
const CHUNK: usize = 1 << 16;

/// Output rows one thread transposes at a time: a cache line of FP32 in the source.
const COLUMNS: usize = 16;

/// Bytes of `values` in their order.
pub(super) fn encode(values: &[f32], element: DataType) -> Vec<u8> {
    let width = element.bytes() as usize;
    let mut out = vec![0; values.len() * width];
    out.par_chunks_mut(CHUNK * width).zip(values.par_chunks(CHUNK)).for_each(|(out, values)| {
        element.append(values, out);
    });
    out
}

/// Bytes of the transpose of `values`, a matrix of rows of `columns` elements.
pub(super) fn encode_transposed(values: &[f32], columns: usize, element: DataType) -> Vec<u8> {
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
        for element in [DataType::Fp64, DataType::Fp32, DataType::Bf16, DataType::Fp16] {
            let expected: Vec<u8> = transposed.iter().flat_map(|&v| element.scalar(f64::from(v))).collect();
            assert_eq!(encode_transposed(&values, columns, element), expected, "{}", element.name());
            assert_eq!(encode(&transposed, element), expected, "{}", element.name());
        }
    }

    #[test]
    fn the_join_of_two_types_holds_both() {
        assert_eq!(DataType::Fp16.join(DataType::Bf16), DataType::Fp32);
        assert_eq!(DataType::Fp16.join(DataType::Fp16), DataType::Fp16);
        assert_eq!(DataType::Bf16.join(DataType::Fp64), DataType::Fp64);
        assert_eq!(DataType::Fp16.lowest(), -65504.0);
    }
}
