//! The carrier types of the interpreter: f32 for engines, f64 for the oracle.
//!
//! The f32 functions are free of branches so that compilers vectorise them. Their errors are stated and tested. The f64
//! functions are those of the standard library and of `statrs`.

use faer::traits::ComplexField;

use super::rounding::round_f32;
use crate::graph::Format;

/// Runs `work`, compiled for the widest vectors of this machine. `work` and all functions it calls must be
/// `inline(always)`.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// A carrier type.
pub(super) trait Real:
    ComplexField
    + Copy
    + PartialOrd
    + Default
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + std::ops::MulAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    const MINUS_INFINITY: Self;
    fn of(x: f64) -> Self;
    /// Converts f32 values, without a copy if the carrier is f32.
    fn carry(values: Vec<f32>) -> Vec<Self>;
    fn exp(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    fn reciprocal_sqrt(self) -> Self;
    fn square_root(self) -> Self;
    /// `ln(1 + eˣ)`, of both carriers in f64.
    fn softplus(self) -> Self;
    fn larger(self, other: Self) -> Self;
    /// Rounds in place. Only f32 carries narrower formats.
    fn round_slice(format: Format, values: &mut [Self]);
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const MINUS_INFINITY: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn carry(values: Vec<f32>) -> Vec<f32> {
        values
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        exp_f32(self)
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh_f32(self)
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        erf_f32(self)
    }
    #[inline(always)]
    fn reciprocal_sqrt(self) -> f32 {
        1.0 / self.sqrt()
    }
    #[inline(always)]
    fn square_root(self) -> f32 {
        self.sqrt()
    }
    fn softplus(self) -> f32 {
        f64::from(self).softplus() as f32
    }
    #[inline(always)]
    fn larger(self, other: f32) -> f32 {
        if other > self { other } else { self }
    }
    fn round_slice(format: Format, values: &mut [f32]) {
        round_f32(format, values);
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const MINUS_INFINITY: f64 = f64::NEG_INFINITY;
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
    fn carry(values: Vec<f32>) -> Vec<f64> {
        values.into_iter().map(f64::from).collect()
    }
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    #[inline(always)]
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    #[inline(always)]
    fn erf(self) -> f64 {
        statrs::function::erf::erf(self)
    }
    #[inline(always)]
    fn reciprocal_sqrt(self) -> f64 {
        1.0 / self.sqrt()
    }
    #[inline(always)]
    fn square_root(self) -> f64 {
        self.sqrt()
    }
    fn softplus(self) -> f64 {
        self.max(0.0) + (-self.abs()).exp().ln_1p()
    }
    #[inline(always)]
    fn larger(self, other: f64) -> f64 {
        if other > self { other } else { self }
    }
    fn round_slice(_: Format, _: &mut [f64]) {}
}

/// `c[0] + c[1] x + ...` by Horner's rule. This is a loop, not an iterator chain, because it must be inlined to be
/// vectorised. There is no fused multiply-add: machines without one would call a library for each, and others would
/// round differently.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut sum = 0.0;
    let mut index = N;
    while index > 0 {
        index -= 1;
        sum = sum * x + coefficients[index];
    }
    sum
}

/// 2ᵉ for -126 <= e <= 127.
#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// eˣ within 2 ulp: range reduction by ln 2 in two parts, Taylor polynomial on |r| <= ln2/2, scaling in two steps so
/// that subnormal results and overflow are right. NaN stays NaN.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const TAYLOR: [f32; 8] = [1.0, 1.0, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];
    // Adding 1.5·2²³ rounds to an integer.
    const ROUNDER: f32 = 12_582_912.0;
    let clamped = x.clamp(-105.0, 90.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    // The integer sits in the low mantissa bits; converting `n` would saturate, which is slow.
    let exponent = shifted.to_bits() as i32 - ROUNDER.to_bits() as i32;
    let low = exponent >> 1;
    let result = polynomial(TAYLOR, r) * power_of_two(low) * power_of_two(exponent - low);
    if x.is_nan() { x } else { result }
}

/// erf within 2e-7: `x P(x²)` up to 1, `1 - exp(-Q(x))` up to 4, 1 beyond. P and Q are Chebyshev fits of erf(x)/x and
/// -ln erfc(x) computed to 40 digits. NaN stays NaN.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    const P: [f32; 8] = [
        std::f32::consts::FRAC_2_SQRT_PI,
        -0.376_126_4,
        0.112_837_83,
        -2.686_543_8e-2,
        5.221_053_4e-3,
        -8.484_396_5e-4,
        1.126_825_4e-4,
        -9.673_59e-6,
    ];
    const Q: [f32; 9] = [
        7.806_815,
        8.029_021,
        2.123_760_7,
        3.664_749_5e-2,
        -1.096_112_4e-2,
        3.190_472_8e-3,
        -8.815_709e-4,
        2.274_034e-4,
        -4.136_663e-5,
    ];
    let magnitude = x.abs();
    let small = x * polynomial(P, x * x);
    // At 4 the complement is below half an ulp of 1.
    let bounded = if magnitude > 4.0 { 4.0 } else { magnitude };
    let large = 1.0 - exp_f32(-polynomial(Q, (bounded - 2.5) / 1.5));
    if magnitude < 1.0 { small } else { large.copysign(x) }
}

/// tanh within 4e-7 of its value: the odd series below 0.3, `1 - 2 / (e^2|x| + 1)` above. NaN stays NaN.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    const SERIES: [f32; 5] = [1.0, -1.0 / 3.0, 2.0 / 15.0, -17.0 / 315.0, 62.0 / 2835.0];
    let magnitude = x.abs();
    let small = x * polynomial(SERIES, x * x);
    let large = 1.0 - 2.0 / (exp_f32(2.0 * magnitude) + 1.0);
    if magnitude < 0.3 { small } else { large.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..200_001).map(move |i| from + (to - from) * i as f32 / 200_000.0)
    }

    #[test]
    fn exp_is_within_two_ulp_of_f64() {
        for x in sweep(-87.0, 88.7) {
            let (ours, exact) = (f64::from(exp_f32(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 2.5 * f64::from(f32::EPSILON) * exact, "{x}: {ours} {exact}");
        }
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(0.0), 1.0);
        assert!(exp_f32(f32::NAN).is_nan());
        let tiny = exp_f32(-100.0);
        assert!(tiny > 0.0 && tiny < f32::MIN_POSITIVE, "subnormal results are kept: {tiny}");
    }

    #[test]
    fn tanh_is_within_4e_7_of_its_f64_value() {
        for x in sweep(-12.0, 12.0).chain(sweep(-0.31, 0.31)) {
            let (ours, exact) = (f64::from(tanh_f32(x)), f64::from(x).tanh());
            assert!((ours - exact).abs() <= 4e-7 * exact.abs(), "{x}: {ours} {exact}");
        }
        assert_eq!((tanh_f32(f32::INFINITY), tanh_f32(f32::NEG_INFINITY), tanh_f32(0.0)), (1.0, -1.0, 0.0));
        assert!(tanh_f32(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_within_2e_7_of_statrs() {
        for x in sweep(-5.0, 5.0) {
            let (ours, exact) = (f64::from(erf_f32(x)), statrs::function::erf::erf(f64::from(x)));
            assert!((ours - exact).abs() < 2e-7, "{x}: {ours} {exact}");
        }
        assert_eq!((erf_f32(f32::INFINITY), erf_f32(f32::NEG_INFINITY)), (1.0, -1.0));
        assert!(erf_f32(f32::NAN).is_nan());
        assert_eq!(erf_f32(1e-20), 1e-20 * std::f32::consts::FRAC_2_SQRT_PI);
    }
}
