//! The numbers in the tensors and parameters of the tests, and the stages in float64.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Attention, Embedding, Epilogue, Linear, Norm, Stages, WeightKey};
use crate::graph::activation::{LAPLACE_DEVIATION, LAPLACE_MEAN, QUICK_GELU_FACTOR};
use crate::graph::{Activation, Gelu, Mask};

/// A number between -1 and 1 with 7 significant bits, which is exact in every format.
pub(super) fn number(tensor: usize, index: usize) -> f64 {
    let mut x = (tensor as u64) << 40 ^ index as u64 ^ 0x9E37_79B9_7F4A_7C15;
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x >> 33) % 255) as f64 / 128.0 - 127.0 / 128.0
}

/// Element `index` of a parameter.
pub(super) fn weight(key: WeightKey, index: usize) -> f64 {
    WEIGHT_SCALE * number(key.param, index)
}

/// A value as a tensor of an element type holds it. FP32 holds those of these tests.
fn stored_as(element: ElementType, value: f64) -> f64 {
    match element {
        ElementType::F32 => value,
        ElementType::F16 => f16::from_f64(value).to_f64(),
        ElementType::Bf16 => bf16::from_f64(value).to_f64(),
    }
}

/// Factor of the weights. It is so small that sums of 3072 products stay near 1.
pub(super) const WEIGHT_SCALE: f64 = 1.0 / 16.0;

/// Largest relative error of a kernel's output.
pub(super) fn gate(element: ElementType) -> f64 {
    match element {
        ElementType::F32 => 2e-5,
        ElementType::F16 => 5e-4,
        ElementType::Bf16 => 4e-3,
    }
}

/// Computes stages in float64, row by row.
#[derive(Clone, Copy)]
pub(super) struct Float64Reference<'a> {
    pub stages: &'a Stages,
    pub lengths: &'a [usize],
}

impl Float64Reference<'_> {
    pub fn linear_row(&self, stage: &Linear, x: &[f64], before: &[f64], row: usize) -> Vec<f64> {
        let element = self.stages.tensor(stage.output).element;
        let rounded = |value| stored_as(element, value);
        let x = &x[row * stage.depth..][..stage.depth];
        let column = |column: usize| {
            let first = column * stage.depth;
            let sum: f64 = x.iter().enumerate().map(|(k, x)| x * weight(stage.weight, first + k)).sum();
            let sum = sum + stage.bias.map_or(0.0, |bias| weight(bias, column));
            match stage.epilogue {
                Epilogue::Store => sum,
                Epilogue::Activation(function) | Epilogue::RoundedActivation(function) => {
                    activated(function, rounded(sum))
                }
                Epilogue::Residual | Epilogue::RoundedResidual => {
                    before[row * self.stages.tensor(stage.output).stride + column] + sum
                }
            }
        };
        (0..stage.width).into_par_iter().map(column).collect()
    }

    /// The sum of a token of type 0, as the policy stores it.
    pub fn embedding_row(&self, stage: &Embedding, id: usize, position: usize) -> Vec<f64> {
        let main = self.stages.tensor(stage.outputs.main);
        let element = stage.norm.map_or(main.element, |of_sum| of_sum.stored);
        let rows = [Some((stage.word, id)), Some((stage.position, position)), stage.token_type.map(|table| (table, 0))];
        let rows: Vec<_> = rows.into_iter().flatten().collect();
        let sum = |column: usize| rows.iter().map(|&(table, row)| weight(table, row * main.stride + column)).sum();
        (0..main.stride).map(|column| stored_as(element, sum(column))).collect()
    }

    pub fn norm_row(&self, norm: &Norm, row: &[f64]) -> Vec<f64> {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let scale = 1.0 / (variance + norm.epsilon).sqrt();
        let column =
            |(index, x): (usize, &f64)| (x - mean) * scale * weight(norm.gamma, index) + weight(norm.beta, index);
        row.iter().enumerate().map(column).collect()
    }

    pub fn attention_row(&self, stage: &Attention, packed: &[f64], row: usize) -> Vec<f64> {
        let shape = stage.shape;
        let hidden = shape.heads * shape.size;
        let (sequence, query) = (row / shape.sequence, row % shape.sequence);
        let length = self.lengths[sequence];
        let keys = if shape.mask == Mask::Causal { length.min(query + 1) } else { length };
        let at = |token: usize, part: usize, index: usize| {
            packed[((sequence * shape.sequence + token) * 3 + part) * hidden + index]
        };
        let mut out = vec![0.0; hidden];
        for head in 0..shape.heads {
            let dot = |key: usize| -> f64 {
                let index = head * shape.size..(head + 1) * shape.size;
                index.map(|index| at(query, 0, index) * at(key, 1, index)).sum::<f64>() * stage.scale
            };
            let scores: Vec<f64> = (0..keys).map(dot).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            for (index, out) in out.iter_mut().enumerate().skip(head * shape.size).take(shape.size) {
                let share = |(key, score): (usize, &f64)| (score - largest).exp() / total * at(key, 2, index);
                *out = scores.iter().enumerate().map(share).sum();
            }
        }
        out
    }
}

/// The definitions of `transformers.activations` and of PyTorch.
pub(super) fn activated(function: Activation, x: f64) -> f64 {
    let normal = |x: f64| 0.5 * (1.0 + statrs::function::erf::erf(x * std::f64::consts::FRAC_1_SQRT_2));
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    // Of its two equal forms the one whose exponential does not overflow.
    let softplus = |x: f64| x.clamp(0.0, f64::INFINITY) + (-x.abs()).exp().ln_1p();
    match function {
        Activation::Gelu(Gelu::Erf) => x * normal(x),
        Activation::Gelu(Gelu::Tanh) => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::ClippedGelu => (x * normal(x)).clamp(-10.0, 10.0),
        Activation::QuickGelu => x * logistic(QUICK_GELU_FACTOR * x),
        // `max` would make NaN zero.
        Activation::Relu => x.clamp(0.0, f64::INFINITY),
        Activation::SquaredRelu => x.clamp(0.0, f64::INFINITY).powi(2),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu => x.max(0.01 * x),
        Activation::Silu => x * logistic(x),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::Mish => x * softplus(x).tanh(),
        Activation::SqrtSoftplus => softplus(x).sqrt(),
        Activation::Laplace => normal((x - LAPLACE_MEAN) / LAPLACE_DEVIATION),
        Activation::Sigmoid => logistic(x),
        Activation::Tanh => x.tanh(),
        Activation::Identity => x,
    }
}
