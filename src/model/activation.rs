//! Activations by the names that config.json has for them.

use super::keys::ConfigKeys;
use crate::graph::{Activation, Gelu};

/// A function that transformers' `ACT2FN` names and that has no parameters of its own.
pub(super) fn activation(keys: &ConfigKeys, key: &str, default: &str) -> Result<Activation, String> {
    Ok(match keys.text(key, default)? {
        "gelu" | "gelu_python" => Activation::Gelu(Gelu::Erf),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => {
            Activation::Gelu(Gelu::Tanh)
        }
        "gelu_10" => Activation::ClippedGelu,
        "quick_gelu" => Activation::QuickGelu,
        "relu" => Activation::Relu,
        "relu2" => Activation::SquaredRelu,
        "relu6" => Activation::Relu6,
        "leaky_relu" => Activation::LeakyRelu,
        "silu" | "swish" => Activation::Silu,
        "hardswish" => Activation::HardSwish,
        "mish" => Activation::Mish,
        "sqrtsoftplus" => Activation::SqrtSoftplus,
        "laplace" => Activation::Laplace,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "linear" => Activation::Identity,
        other => {
            return Err(format!(
                "{key} `{other}` is not supported; the functions of transformers without weights of their own are, like `gelu`, \
                 `gelu_new`, `relu` and `silu`"
            ));
        }
    })
}
