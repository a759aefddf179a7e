//! Rounds to the storage formats, in code that compilers vectorise. Rounding is to nearest, ties to even. Overflow
//! gives infinity and never saturates; subnormals are kept. The tests below compare it with the `half` crate bit by
//! bit.

use rayon::prelude::*;

use super::real::{Real, vectorised};
use crate::graph::Format;

/// The grid of a format: the values that it can represent, to which values of `T` are rounded.
pub(super) trait RoundingGrid<T>: Copy + Default + Send + Sync + 'static {
    /// Whether every `T` is on the grid. Then rounding does nothing, and sums may be reordered.
    const EXACT: bool;
    /// The nearest value of the grid.
    fn round(x: T) -> T;
}

/// Every value of the carrier type: no rounding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Exact;
/// IEEE binary16.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fp16Grid;
/// bfloat16.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bf16Grid;
/// TF32: the 10 mantissa bits that a tensor core reads.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tf32Grid;

impl<T: Real> RoundingGrid<T> for Exact {
    const EXACT: bool = true;
    #[inline(always)]
    fn round(x: T) -> T {
        x
    }
}

/// Rounds off the low `23 - bits` mantissa bits, to nearest even. A carry into the exponent gives the right result.
#[inline(always)]
fn keep_mantissa(x: f32, bits: u32) -> f32 {
    let drop = 23 - bits;
    let word = x.to_bits();
    let half = (1 << (drop - 1)) - 1 + ((word >> drop) & 1);
    let rounded = f32::from_bits(word.wrapping_add(half) >> drop << drop);
    if x.is_nan() { x } else { rounded }
}

impl RoundingGrid<f32> for Fp16Grid {
    const EXACT: bool = false;
    #[inline(always)]
    fn round(x: f32) -> f32 {
        // Below 2^-14 the spacing is fixed at 2^-24, which is the spacing of f32 in [0.5, 1).
        let subnormal = ((x.abs() + 0.5) - 0.5).copysign(x);
        let normal = keep_mantissa(x, 10);
        let finite = if x.abs() < 6.103_515_6e-5 { subnormal } else { normal };
        if normal.abs() >= 65536.0 { f32::INFINITY.copysign(x) } else { finite }
    }
}

impl RoundingGrid<f32> for Bf16Grid {
    const EXACT: bool = false;
    #[inline(always)]
    fn round(x: f32) -> f32 {
        keep_mantissa(x, 7)
    }
}

impl RoundingGrid<f32> for Tf32Grid {
    const EXACT: bool = false;
    #[inline(always)]
    fn round(x: f32) -> f32 {
        keep_mantissa(x, 10)
    }
}

/// Elements one thread rounds at a time.
const CHUNK: usize = 1 << 14;

fn round_all<T: Real, G: RoundingGrid<T>>(values: &mut [T]) {
    values.par_chunks_mut(CHUNK).for_each(|chunk| {
        vectorised(
            #[inline(always)]
            || {
                for value in chunk.iter_mut() {
                    *value = G::round(*value);
                }
            },
        );
    });
}

/// Rounds a tensor to `format`. FP64 and formats as wide as the carrier type leave it unchanged.
pub(super) fn round_to<T: Real>(format: Format, values: &mut [T]) {
    T::round_slice(format, values);
}

pub(super) fn round_f32(format: Format, values: &mut [f32]) {
    match format {
        Format::Fp64 | Format::Fp32 => {}
        Format::Tf32 => round_all::<f32, Tf32Grid>(values),
        Format::Bf16 => round_all::<f32, Bf16Grid>(values),
        Format::Fp16 => round_all::<f32, Fp16Grid>(values),
    }
}

/// Whether a value stored in `stored` is already on the grid of `wanted`.
pub(super) fn is_on_grid(stored: Format, wanted: Format) -> bool {
    match wanted {
        Format::Fp64 | Format::Fp32 => true,
        // TF32 keeps FP16's mantissa and FP32's exponent; BF16 has fewer bits of the same exponent.
        Format::Tf32 => matches!(stored, Format::Tf32 | Format::Bf16 | Format::Fp16),
        Format::Bf16 | Format::Fp16 => stored == wanted,
    }
}

/// Sum by a binary tree over neighbours (`v0+v1`, `v2+v3`, ...). Every partial sum is rounded to `G`, and an odd tail
/// is carried up. The emulated policies define this reduction. `values` is overwritten.
#[inline(always)]
pub(super) fn tree_sum<T: Real, G: RoundingGrid<T>>(values: &mut [T]) -> T {
    let mut length = values.len();
    while length > 1 {
        let half = length / 2;
        for i in 0..half {
            values[i] = G::round(values[2 * i] + values[2 * i + 1]);
        }
        if length % 2 == 1 {
            values[half] = values[length - 1];
        }
        length = length.div_ceil(2);
    }
    values.first().copied().unwrap_or(T::ZERO)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    /// Values around every boundary of both 16-bit formats, and a sweep over all exponents.
    fn probes() -> Vec<f32> {
        let mut probes = vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45, 6e-8];
        for bits in 0..=u16::MAX {
            for exact in [f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32()] {
                // The value, its f32 neighbours, and the midpoint to the next value of the grid with its neighbours.
                let next = f16::from_bits(bits.wrapping_add(1)).to_f32();
                let middle = exact + (next - exact) / 2.0;
                for x in [exact, middle] {
                    probes.extend([x, f32::from_bits(x.to_bits() ^ 1), f32::from_bits(x.to_bits().wrapping_add(1))]);
                }
            }
        }
        probes.extend((0..1 << 18).map(|i: u32| f32::from_bits(i.wrapping_mul(0x9E37_79B9))));
        probes
    }

    #[test]
    fn half_and_brain_rounding_equal_the_half_crate_bit_for_bit() {
        for x in probes() {
            let (half, brain) = (f16::from_f32(x).to_f32(), bf16::from_f32(x).to_f32());
            if x.is_nan() {
                assert!(Fp16Grid::round(x).is_nan() && Bf16Grid::round(x).is_nan());
            } else {
                assert_eq!(Fp16Grid::round(x).to_bits(), half.to_bits(), "fp16 of {x:e}");
                assert_eq!(Bf16Grid::round(x).to_bits(), brain.to_bits(), "bf16 of {x:e}");
            }
        }
    }

    #[test]
    fn vectorised_rounding_equals_scalar_rounding() {
        let probes = probes();
        let mut rounded = probes.clone();
        round_f32(Format::Fp16, &mut rounded);
        for (x, y) in probes.iter().zip(&rounded) {
            assert!(y.to_bits() == Fp16Grid::round(*x).to_bits() || (x.is_nan() && y.is_nan()));
        }
    }

    #[test]
    fn a_tree_sum_rounds_every_partial_sum() {
        // 2048 + 1 is a tie in FP16 and goes to 2048; pairs of ones survive.
        assert_eq!(tree_sum::<f32, Fp16Grid>(&mut [2048.0, 1.0, 1.0, 1.0]), 2050.0);
        assert!(tree_sum::<f32, Fp16Grid>(&mut [60000.0, 60000.0, -60000.0, -60000.0]).is_nan(), "inf - inf");
        assert_eq!(tree_sum::<f32, Exact>(&mut [1.0, 2.0, 3.0, 4.0, 5.0]), 15.0);
        assert_eq!(tree_sum::<f32, Exact>(&mut []), 0.0);
    }
}
