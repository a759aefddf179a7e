//! The kernels of a carrier type: which element-wise code runs for an op's rounding. See `elementwise` for the code.

use super::elementwise::{embedding, gelu, hyperbolic_tangent, layer_norm, reciprocal_deviations, residual, softmax};
use super::real::Real;
use super::rounding::{Brain, Exact, Half};
use crate::graph::{Format, Gelu, Mask, ReductionOrder, Rounding, Shape};

/// A layer norm over rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerNorm<'a, T> {
    pub gamma: &'a [T],
    pub beta: &'a [T],
    pub epsilon: f64,
    pub order: ReductionOrder,
}

/// A masked softmax over `[batch, heads, sequence, sequence]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax<'a> {
    pub mask: Mask,
    pub shape: Shape,
    pub heads: usize,
    pub lengths: &'a [usize],
}

/// Table rows to add up. Tables are already rounded to the class's `compute` format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Embedding<'a, T> {
    pub word: &'a [T],
    pub position: &'a [T],
    pub token_type: Option<&'a [T]>,
    pub ids: &'a [u32],
    pub sequence: usize,
    pub width: usize,
}

/// The kernels of a carrier type, with grids chosen by the op's rounding.
pub(super) trait Kernels: Real {
    fn embedding(rounding: Rounding, job: Embedding<'_, Self>, out: &mut [Self]);
    fn layer_norm(rounding: Rounding, job: LayerNorm<'_, Self>, values: &mut [Self]);
    /// The factor that [`Kernels::layer_norm`] scales each row with. `values` is overwritten.
    fn reciprocal_deviations(rounding: Rounding, job: LayerNorm<'_, Self>, values: &mut [Self]) -> Vec<Self>;
    fn softmax(rounding: Rounding, job: Softmax<'_>, values: &mut [Self]);
    fn gelu(rounding: Rounding, form: Gelu, values: &mut [Self]);
    fn hyperbolic_tangent(rounding: Rounding, values: &mut [Self]);
    fn residual(rounding: Rounding, update: &[Self], values: &mut [Self]);
}

impl Kernels for f64 {
    fn embedding(_: Rounding, job: Embedding<'_, f64>, out: &mut [f64]) {
        embedding::<f64, Exact>(job, out);
    }
    fn layer_norm(_: Rounding, job: LayerNorm<'_, f64>, values: &mut [f64]) {
        layer_norm::<f64, Exact, Exact>(job, values);
    }
    fn reciprocal_deviations(_: Rounding, job: LayerNorm<'_, f64>, values: &mut [f64]) -> Vec<f64> {
        reciprocal_deviations::<f64, Exact, Exact>(job, values)
    }
    fn softmax(_: Rounding, job: Softmax<'_>, values: &mut [f64]) {
        softmax::<f64, Exact, Exact>(job, values);
    }
    fn gelu(_: Rounding, form: Gelu, values: &mut [f64]) {
        gelu::<f64, Exact>(form, values);
    }
    fn hyperbolic_tangent(_: Rounding, values: &mut [f64]) {
        hyperbolic_tangent::<f64, Exact>(values);
    }
    fn residual(_: Rounding, update: &[f64], values: &mut [f64]) {
        residual::<f64, Exact>(update, values);
    }
}

/// Calls `$function::<f32, C>` with the grid of a format; TF32 concerns products only, elsewhere it is FP32.
macro_rules! on_grid {
    ($format:expr, $function:ident($($argument:expr),*)) => {
        match $format {
            Format::Fp16 => $function::<f32, Half>($($argument),*),
            Format::Bf16 => $function::<f32, Brain>($($argument),*),
            Format::Fp64 | Format::Fp32 | Format::Tf32 => $function::<f32, Exact>($($argument),*),
        }
    };
}

/// Calls `$function::<f32, C, A>` with the grids of a rounding.
macro_rules! on_grids {
    ($rounding:expr, $function:ident($($argument:expr),*)) => {
        match ($rounding.compute, $rounding.accumulate) {
            (Format::Fp16, Format::Fp16) => $function::<f32, Half, Half>($($argument),*),
            (Format::Fp16, Format::Bf16) => $function::<f32, Half, Brain>($($argument),*),
            (Format::Fp16, _) => $function::<f32, Half, Exact>($($argument),*),
            (Format::Bf16, Format::Bf16) => $function::<f32, Brain, Brain>($($argument),*),
            (Format::Bf16, Format::Fp16) => $function::<f32, Brain, Half>($($argument),*),
            (Format::Bf16, _) => $function::<f32, Brain, Exact>($($argument),*),
            (_, Format::Fp16) => $function::<f32, Exact, Half>($($argument),*),
            (_, Format::Bf16) => $function::<f32, Exact, Brain>($($argument),*),
            _ => $function::<f32, Exact, Exact>($($argument),*),
        }
    };
}

impl Kernels for f32 {
    fn embedding(rounding: Rounding, job: Embedding<'_, f32>, out: &mut [f32]) {
        on_grid!(rounding.accumulate, embedding(job, out));
    }
    fn layer_norm(rounding: Rounding, job: LayerNorm<'_, f32>, values: &mut [f32]) {
        on_grids!(rounding, layer_norm(job, values));
    }
    fn reciprocal_deviations(rounding: Rounding, job: LayerNorm<'_, f32>, values: &mut [f32]) -> Vec<f32> {
        on_grids!(rounding, reciprocal_deviations(job, values))
    }
    fn softmax(rounding: Rounding, job: Softmax<'_>, values: &mut [f32]) {
        on_grids!(rounding, softmax(job, values));
    }
    fn gelu(rounding: Rounding, form: Gelu, values: &mut [f32]) {
        on_grid!(rounding.compute, gelu(form, values));
    }
    fn hyperbolic_tangent(rounding: Rounding, values: &mut [f32]) {
        on_grid!(rounding.compute, hyperbolic_tangent(values));
    }
    fn residual(rounding: Rounding, update: &[f32], values: &mut [f32]) {
        on_grid!(rounding.compute, residual(update, values));
    }
}
