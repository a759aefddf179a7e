//! Activations, in place. Every elementary operation is rounded to the grid `C`, in the order written; an exponential, a
//! logistic function or an error function is one operation.

use rayon::prelude::*;

use super::elementwise::CHUNK;
use super::real::{Real, vectorised};
use super::rounding::RoundingGrid;
use crate::graph::activation::{LAPLACE_DEVIATION, LAPLACE_MEAN, QUICK_GELU_FACTOR};
use crate::graph::{Activation, Gelu};

/// Replaces every element by an expression of it. A macro, because a function passed as a value is not inlined into the
/// vectorised loop.
macro_rules! each {
    ($values:expr, $x:ident => $expression:expr) => {
        $values.par_chunks_mut(CHUNK).for_each(|chunk| {
            vectorised(
                #[inline(always)]
                || {
                    for element in chunk.iter_mut() {
                        let $x = *element;
                        *element = $expression;
                    }
                },
            )
        })
    };
}

pub(super) fn activation<T: Real, C: RoundingGrid<T>>(function: Activation, values: &mut [T]) {
    match function {
        Activation::Gelu(Gelu::Erf) => each!(values, x => gelu_erf::<T, C>(x)),
        Activation::Gelu(Gelu::Tanh) => each!(values, x => gelu_tanh::<T, C>(x)),
        Activation::ClippedGelu => each!(values, x => clip(gelu_erf::<T, C>(x), -10.0, 10.0)),
        Activation::QuickGelu => {
            each!(values, x => C::round(x * sigmoid::<T, C>(C::round(x * constant::<T, C>(QUICK_GELU_FACTOR)))))
        }
        Activation::Relu => each!(values, x => relu(x)),
        Activation::SquaredRelu => each!(values, x => C::round(relu(x) * relu(x))),
        Activation::Relu6 => each!(values, x => clip(x, 0.0, 6.0)),
        Activation::LeakyRelu => each!(values, x => relu(x) - C::round(relu(T::ZERO - x) * constant::<T, C>(LEAK))),
        Activation::Silu => each!(values, x => C::round(x * sigmoid::<T, C>(x))),
        Activation::HardSwish => each!(values, x => hard_swish::<T, C>(x)),
        Activation::Mish => values.iter_mut().for_each(|x| *x = C::round(*x * C::round(C::round(x.softplus()).tanh()))),
        Activation::SqrtSoftplus => values.iter_mut().for_each(|x| *x = C::round(C::round(x.softplus()).square_root())),
        Activation::Laplace => each!(values, x => laplace::<T, C>(x)),
        Activation::Sigmoid => each!(values, x => sigmoid::<T, C>(x)),
        Activation::Tanh => hyperbolic_tangent::<T, C>(values),
        Activation::Identity => {}
    }
}

/// Slope of [`Activation::LeakyRelu`] below 0, PyTorch's default.
const LEAK: f64 = 0.01;

pub(super) fn hyperbolic_tangent<T: Real, C: RoundingGrid<T>>(values: &mut [T]) {
    each!(values, x => C::round(x.tanh()));
}

#[inline(always)]
fn constant<T: Real, C: RoundingGrid<T>>(value: f64) -> T {
    C::round(T::of(value))
}

/// A value that is not a number stays one.
#[inline(always)]
fn relu<T: Real>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

#[inline(always)]
fn clip<T: Real>(x: T, least: f64, most: f64) -> T {
    let (least, most) = (T::of(least), T::of(most));
    let x = if x < least { least } else { x };
    if x > most { most } else { x }
}

#[inline(always)]
fn sigmoid<T: Real, C: RoundingGrid<T>>(x: T) -> T {
    C::round(T::ONE / (T::ONE + (T::ZERO - x).exp()))
}

/// `x (min(max(x + 3, 0), 6) / 6)`
#[inline(always)]
fn hard_swish<T: Real, C: RoundingGrid<T>>(x: T) -> T {
    let gate = clip(C::round(x + T::of(3.0)), 0.0, 6.0);
    C::round(x * C::round(gate * constant::<T, C>(1.0 / 6.0)))
}

/// `(1 + erf((x - mean) / (deviation √2))) / 2`
#[inline(always)]
fn laplace<T: Real, C: RoundingGrid<T>>(x: T) -> T {
    let centred = C::round(x - constant::<T, C>(LAPLACE_MEAN));
    let inner = C::round(centred * constant::<T, C>(1.0 / (LAPLACE_DEVIATION * std::f64::consts::SQRT_2)));
    let sum = C::round(T::ONE + C::round(inner.erf()));
    C::round(sum * T::of(0.5))
}

/// `(x/2) (1 + erf(x/√2))`.
#[inline(always)]
fn gelu_erf<T: Real, C: RoundingGrid<T>>(x: T) -> T {
    let inner = C::round(x * C::round(T::of(std::f64::consts::FRAC_1_SQRT_2)));
    let factor = C::round(T::ONE + C::round(inner.erf()));
    C::round(C::round(x * T::of(0.5)) * factor)
}

/// `(x/2) (1 + tanh(u))`, `u = √(2/π)(x + 0.044715 x³)`. Where nothing is rounded, it is computed as `x / (1 + e^-2u)`,
/// which is the same function without a tanh.
#[inline(always)]
fn gelu_tanh<T: Real, C: RoundingGrid<T>>(x: T) -> T {
    let cube = C::round(C::round(x * x) * x);
    let sum = C::round(x + C::round(C::round(T::of(0.044715)) * cube));
    let u = C::round(C::round(T::of((2.0 / std::f64::consts::PI).sqrt())) * sum);
    if C::EXACT {
        return x / (T::ONE + (T::of(-2.0) * u).exp());
    }
    let factor = C::round(T::ONE + C::round(u.tanh()));
    C::round(C::round(x * T::of(0.5)) * factor)
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Kernels;
    use super::*;
    use crate::graph::{Format, Rounding};

    #[test]
    fn gelu_forms_agree_with_their_definitions_and_differ_from_each_other() {
        let xs: Vec<f32> = (-60..=60).map(|i| i as f32 / 10.0).collect();
        let run = |form, format| {
            let mut values = xs.clone();
            f32::activation(Rounding::uniform(format), Activation::Gelu(form), &mut values);
            values
        };
        let (erf, tanh) = (run(Gelu::Erf, Format::Fp32), run(Gelu::Tanh, Format::Fp32));
        let mut largest_difference = 0f64;
        for (index, &x) in xs.iter().enumerate() {
            let x = f64::from(x);
            let exact = 0.5 * x * (1.0 + statrs::function::erf::erf(x / 2f64.sqrt()));
            assert!((f64::from(erf[index]) - exact).abs() < 1e-6, "{x}");
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            assert!((f64::from(tanh[index]) - 0.5 * x * (1.0 + u.tanh())).abs() < 1e-6, "{x}");
            largest_difference = largest_difference.max(f64::from(erf[index] - tanh[index]).abs());
        }
        // The design study's figure: 4.73e-4 at x = ±2.70.
        assert!((largest_difference - 4.73e-4).abs() < 2e-6, "{largest_difference}");
        for (half, full) in run(Gelu::Erf, Format::Fp16).iter().zip(&erf) {
            assert_eq!(*half, half::f16::from_f32(*half).to_f32(), "on the grid");
            assert!((half - full).abs() <= 4e-3 * full.abs().max(0.1), "{half} {full}");
        }
    }

    /// The definitions of transformers 5.24.0, `activations.py`, and of PyTorch's modules that it names.
    #[test]
    fn functions_agree_with_their_definitions_in_both_carriers() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let normal = |x: f64| 0.5 * (1.0 + statrs::function::erf::erf(x / 2f64.sqrt()));
        let softplus = |x: f64| if x > 20.0 { x } else { x.exp().ln_1p() };
        let cases: [(Activation, &dyn Fn(f64) -> f64); 13] = [
            (Activation::ClippedGelu, &|x| (x * normal(x)).clamp(-10.0, 10.0)),
            (Activation::QuickGelu, &|x| x * sigmoid(1.702 * x)),
            (Activation::Relu, &|x| x.max(0.0)),
            (Activation::SquaredRelu, &|x| x.max(0.0).powi(2)),
            (Activation::Relu6, &|x| x.clamp(0.0, 6.0)),
            (Activation::LeakyRelu, &|x| if x < 0.0 { 0.01 * x } else { x }),
            (Activation::Silu, &|x| x * sigmoid(x)),
            (Activation::HardSwish, &|x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            (Activation::Mish, &|x| x * softplus(x).tanh()),
            (Activation::SqrtSoftplus, &|x| softplus(x).sqrt()),
            (Activation::Laplace, &|x| normal((x - LAPLACE_MEAN) / LAPLACE_DEVIATION)),
            (Activation::Sigmoid, &sigmoid),
            (Activation::Tanh, &f64::tanh),
        ];
        let xs: Vec<f64> = (-1200..=1200).map(|i| f64::from(i) / 10.0).collect();
        for (function, definition) in cases {
            let (mut wide, mut narrow) = (xs.clone(), xs.iter().map(|&x| x as f32).collect::<Vec<_>>());
            f64::activation(Rounding::uniform(Format::Fp64), function, &mut wide);
            f32::activation(Rounding::uniform(Format::Fp32), function, &mut narrow);
            for ((x, wide), narrow) in xs.iter().zip(wide).zip(narrow) {
                let expected = definition(*x);
                assert!(
                    (wide - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
                    "{function:?} {x}: {wide} {expected}"
                );
                let error = (f64::from(narrow) - expected).abs();
                assert!(error <= 3e-6 * expected.abs().max(0.1), "{function:?} {x}: {narrow} {expected}");
            }
        }
        let mut values = [f32::NAN; 1];
        for function in [Activation::Relu, Activation::Relu6, Activation::LeakyRelu, Activation::HardSwish] {
            f32::activation(Rounding::uniform(Format::Fp32), function, &mut values);
            assert!(values[0].is_nan(), "{function:?}");
        }
    }
}
