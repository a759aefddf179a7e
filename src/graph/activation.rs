//! Element-wise activations. The model decides the function, never the backend.

use serde::{Deserialize, Serialize};

/// What quick GELU multiplies the argument of the logistic function by (github.com/hendrycks/GELUs).
pub const QUICK_GELU_FACTOR: f64 = 1.702;
/// Mean of the normal distribution whose distribution function [`Activation::Laplace`] is.
#[allow(clippy::approx_constant, reason = "transformers rounds it to these digits")]
pub const LAPLACE_MEAN: f64 = 0.707107;
/// Its standard deviation.
pub const LAPLACE_DEVIATION: f64 = 0.282095;

/// The two forms of GELU in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    /// `x/2 (1 + erf(x/√2))` (BERT).
    Erf,
    /// `x/2 (1 + tanh(√(2/π)(x + 0.044715 x³)))` (GPT-2).
    Tanh,
}

/// An element-wise function between two linear layers. Every one is of class `gelu` in a precision policy: the class says
/// where the operation stands and how it rounds, the function says what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// One of the two forms of GELU.
    Gelu(Gelu),
    /// GELU's erf form, limited to -10 to 10 (arXiv 2004.09602).
    ClippedGelu,
    /// `x σ(1.702 x)`, with σ the logistic function.
    QuickGelu,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)²`
    SquaredRelu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` above 0, `0.01 x` below.
    LeakyRelu,
    /// `x σ(x)`
    Silu,
    /// `x min(max(x + 3, 0), 6) / 6`
    HardSwish,
    /// `x tanh(ln(1 + eˣ))`
    Mish,
    /// `√ln(1 + eˣ)`
    SqrtSoftplus,
    /// `(1 + erf((x - 0.707107) / (0.282095 √2))) / 2` (arXiv 2209.10655).
    Laplace,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
    /// `x`
    Identity,
}

impl Activation {
    /// Every function.
    #[cfg(test)]
    pub(crate) const ALL: [Activation; 16] = [
        Activation::Gelu(Gelu::Erf),
        Activation::Gelu(Gelu::Tanh),
        Activation::ClippedGelu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::SquaredRelu,
        Activation::Relu6,
        Activation::LeakyRelu,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Mish,
        Activation::SqrtSoftplus,
        Activation::Laplace,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Identity,
    ];

    /// Name of its operations and of its ONNX nodes.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Gelu(_) => "gelu",
            Activation::ClippedGelu => "clipped_gelu",
            Activation::QuickGelu => "quick_gelu",
            Activation::Relu => "relu",
            Activation::SquaredRelu => "squared_relu",
            Activation::Relu6 => "relu6",
            Activation::LeakyRelu => "leaky_relu",
            Activation::Silu => "silu",
            Activation::HardSwish => "hard_swish",
            Activation::Mish => "mish",
            Activation::SqrtSoftplus => "sqrt_softplus",
            Activation::Laplace => "laplace",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Identity => "identity",
        }
    }

    /// Operations per element, for the count of a forward pass. The smallest of them matter as little as GELU's.
    pub fn flops(self) -> u64 {
        match self {
            Activation::Identity => 0,
            Activation::Relu | Activation::LeakyRelu | Activation::Relu6 | Activation::Tanh => 1,
            Activation::SquaredRelu => 2,
            Activation::Sigmoid | Activation::Silu | Activation::QuickGelu | Activation::HardSwish => 4,
            // The tanh form's polynomial; the erf form is of the same order.
            _ => 8,
        }
    }
}
