//! Selects the element-wise code for an op's rounding, by carrier type. The code is in `elementwise`.

use super::activation::{activation, hyperbolic_tangent};
use super::elementwise::{embedding, layer_norm, reciprocal_deviations, residual, softmax};
use super::real::Real;
use super::rounding::{Bf16Grid, Exact, Fp16Grid};
use crate::graph::{Activation, Format, Mask, ReductionOrder, Rounding, Shape};

/// Arguments of a layer norm over rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerNormArguments<'a, T> {
    pub gamma: &'a [T],
    pub beta: &'a [T],
    pub epsilon: f64,
    pub order: ReductionOrder,
}

/// Arguments of a masked softmax over `[batch, heads, sequence, sequence]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoftmaxArguments<'a> {
    pub mask: Mask,
    pub shape: Shape,
    pub heads: usize,
    pub lengths: &'a [usize],
}

/// Arguments of an embedding, a sum of table rows. The tables are already rounded to the class's `compute` format.
#[derive(Debug, Clone, Copy)]
pub(super) struct EmbeddingArguments<'a, T> {
    pub word: &'a [T],
    pub position: &'a [T],
    pub token_type: Option<&'a [T]>,
    pub ids: &'a [u32],
    /// Type of each token; `None` where all are of type 0.
    pub types: Option<&'a [u32]>,
    pub sequence: usize,
    pub width: usize,
}

/// The kernels of a carrier type. The op's rounding selects their grids.
pub(super) trait Kernels: Real {
    fn embedding(rounding: Rounding, arguments: EmbeddingArguments<'_, Self>, out: &mut [Self]);
    fn layer_norm(rounding: Rounding, arguments: LayerNormArguments<'_, Self>, values: &mut [Self]);
    /// The factor by which [`Kernels::layer_norm`] scales each row. `values` is overwritten.
    fn reciprocal_deviations(
        rounding: Rounding,
        arguments: LayerNormArguments<'_, Self>,
        values: &mut [Self],
    ) -> Vec<Self>;
    fn softmax(rounding: Rounding, arguments: SoftmaxArguments<'_>, values: &mut [Self]);
    fn activation(rounding: Rounding, function: Activation, values: &mut [Self]);
    fn hyperbolic_tangent(rounding: Rounding, values: &mut [Self]);
    fn residual(rounding: Rounding, update: &[Self], values: &mut [Self]);
}

impl Kernels for f64 {
    fn embedding(_: Rounding, arguments: EmbeddingArguments<'_, f64>, out: &mut [f64]) {
        embedding::<f64, Exact>(arguments, out);
    }
    fn layer_norm(_: Rounding, arguments: LayerNormArguments<'_, f64>, values: &mut [f64]) {
        layer_norm::<f64, Exact, Exact>(arguments, values);
    }
    fn reciprocal_deviations(_: Rounding, arguments: LayerNormArguments<'_, f64>, values: &mut [f64]) -> Vec<f64> {
        reciprocal_deviations::<f64, Exact, Exact>(arguments, values)
    }
    fn softmax(_: Rounding, arguments: SoftmaxArguments<'_>, values: &mut [f64]) {
        softmax::<f64, Exact, Exact>(arguments, values);
    }
    fn activation(_: Rounding, function: Activation, values: &mut [f64]) {
        activation::<f64, Exact>(function, values);
    }
    fn hyperbolic_tangent(_: Rounding, values: &mut [f64]) {
        hyperbolic_tangent::<f64, Exact>(values);
    }
    fn residual(_: Rounding, update: &[f64], values: &mut [f64]) {
        residual::<f64, Exact>(update, values);
    }
}

/// Calls `$function::<f32, C>` with the grid of a format. TF32 concerns products only; elsewhere it is FP32.
macro_rules! on_grid {
    ($format:expr, $function:ident($($argument:expr),*)) => {
        match $format {
            Format::Fp16 => $function::<f32, Fp16Grid>($($argument),*),
            Format::Bf16 => $function::<f32, Bf16Grid>($($argument),*),
            Format::Fp64 | Format::Fp32 | Format::Tf32 => $function::<f32, Exact>($($argument),*),
        }
    };
}

/// Calls `$function::<f32, C, A>` with the grids of a rounding.
macro_rules! on_grids {
    ($rounding:expr, $function:ident($($argument:expr),*)) => {
        match ($rounding.compute, $rounding.accumulate) {
            (Format::Fp16, Format::Fp16) => $function::<f32, Fp16Grid, Fp16Grid>($($argument),*),
            (Format::Fp16, Format::Bf16) => $function::<f32, Fp16Grid, Bf16Grid>($($argument),*),
            (Format::Fp16, _) => $function::<f32, Fp16Grid, Exact>($($argument),*),
            (Format::Bf16, Format::Bf16) => $function::<f32, Bf16Grid, Bf16Grid>($($argument),*),
            (Format::Bf16, Format::Fp16) => $function::<f32, Bf16Grid, Fp16Grid>($($argument),*),
            (Format::Bf16, _) => $function::<f32, Bf16Grid, Exact>($($argument),*),
            (_, Format::Fp16) => $function::<f32, Exact, Fp16Grid>($($argument),*),
            (_, Format::Bf16) => $function::<f32, Exact, Bf16Grid>($($argument),*),
            _ => $function::<f32, Exact, Exact>($($argument),*),
        }
    };
}

impl Kernels for f32 {
    fn embedding(rounding: Rounding, arguments: EmbeddingArguments<'_, f32>, out: &mut [f32]) {
        on_grid!(rounding.accumulate, embedding(arguments, out));
    }
    fn layer_norm(rounding: Rounding, arguments: LayerNormArguments<'_, f32>, values: &mut [f32]) {
        on_grids!(rounding, layer_norm(arguments, values));
    }
    fn reciprocal_deviations(
        rounding: Rounding,
        arguments: LayerNormArguments<'_, f32>,
        values: &mut [f32],
    ) -> Vec<f32> {
        on_grids!(rounding, reciprocal_deviations(arguments, values))
    }
    fn softmax(rounding: Rounding, arguments: SoftmaxArguments<'_>, values: &mut [f32]) {
        on_grids!(rounding, softmax(arguments, values));
    }
    fn activation(rounding: Rounding, function: Activation, values: &mut [f32]) {
        on_grid!(rounding.compute, activation(function, values));
    }
    fn hyperbolic_tangent(rounding: Rounding, values: &mut [f32]) {
        on_grid!(rounding.compute, hyperbolic_tangent(values));
    }
    fn residual(rounding: Rounding, update: &[f32], values: &mut [f32]) {
        on_grid!(rounding.compute, residual(update, values));
    }
}
