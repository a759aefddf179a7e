//! Precision policies: for every class of operation, the format it computes in, accumulates in and stores.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A floating-point format. `Tf32` is FP32 storage whose products see 10 mantissa bits (NVIDIA tensor cores).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// IEEE binary64, used by the oracle only.
    Fp64,
    /// IEEE binary32.
    Fp32,
    /// FP32 storage, operands of products rounded to 10 mantissa bits.
    Tf32,
    /// 8 exponent bits, 7 mantissa bits.
    Bf16,
    /// IEEE binary16, largest finite value 65504.
    Fp16,
}

impl Format {
    /// Every format, widest first.
    pub const ALL: [Format; 5] = [Format::Fp64, Format::Fp32, Format::Tf32, Format::Bf16, Format::Fp16];

    /// Bytes one stored element occupies.
    pub fn bytes(self) -> u64 {
        match self {
            Format::Fp64 => 8,
            Format::Fp32 | Format::Tf32 => 4,
            Format::Bf16 | Format::Fp16 => 2,
        }
    }

    /// The format of the elements in memory: TF32 products read FP32 and round their operands themselves.
    pub const fn storage(self) -> Format {
        match self {
            Format::Tf32 => Format::Fp32,
            other => other,
        }
    }

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            Format::Fp64 => "fp64",
            Format::Fp32 => "fp32",
            Format::Tf32 => "tf32",
            Format::Bf16 => "bf16",
            Format::Fp16 => "fp16",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The class of an operation: the unit that a policy assigns formats to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpClass {
    /// Sum of table rows (word, position, token type).
    Embedding,
    /// Layer normalisation over the hidden dimension.
    LayerNorm,
    /// Linear layers whose output feeds an attention product or an activation (QKV, FC1, pooler).
    Linear,
    /// Linear layers whose output is added to the residual stream (attention output projection, FC2).
    ResidualLinear,
    /// Linear layers that produce the model's logits (language-model head, classifier).
    OutputLinear,
    /// `Q Kᵀ`, scaled.
    AttentionScores,
    /// `P V`.
    AttentionContext,
    /// Masked softmax over keys.
    Softmax,
    /// The activation between two linear layers, whichever the model defines ([`super::Activation`]). It is GELU in most models.
    Gelu,
    /// The pooler's tanh.
    Tanh,
    /// Addition to the residual stream.
    Residual,
    /// Choice of one token per sequence: moves data, computes nothing.
    Select,
}

impl OpClass {
    /// Every class, in the order of a transformer layer.
    pub const ALL: [OpClass; 12] = [
        OpClass::Embedding,
        OpClass::LayerNorm,
        OpClass::Linear,
        OpClass::AttentionScores,
        OpClass::Softmax,
        OpClass::AttentionContext,
        OpClass::ResidualLinear,
        OpClass::Residual,
        OpClass::Gelu,
        OpClass::Select,
        OpClass::Tanh,
        OpClass::OutputLinear,
    ];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            OpClass::Embedding => "embedding",
            OpClass::LayerNorm => "layer_norm",
            OpClass::Linear => "linear",
            OpClass::ResidualLinear => "residual_linear",
            OpClass::OutputLinear => "output_linear",
            OpClass::AttentionScores => "attention_scores",
            OpClass::AttentionContext => "attention_context",
            OpClass::Softmax => "softmax",
            OpClass::Gelu => "gelu",
            OpClass::Tanh => "tanh",
            OpClass::Residual => "residual",
            OpClass::Select => "select",
        }
    }

    /// Whether operations of this class are matrix products and so have an accumulator.
    pub fn is_product(self) -> bool {
        matches!(
            self,
            OpClass::Linear
                | OpClass::ResidualLinear
                | OpClass::OutputLinear
                | OpClass::AttentionScores
                | OpClass::AttentionContext
        )
    }
}

impl fmt::Display for OpClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The formats of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounding {
    /// Products and embeddings: the format operands are rounded to. Everything else: the format of every
    /// element-wise intermediate, the inputs included. Parameters are stored in it, except biases.
    pub compute: Format,
    /// The format sums are kept in: the accumulator of a product, the reductions of softmax and layer norm.
    pub accumulate: Format,
    /// The format the output tensor is stored in, and a linear layer's bias.
    pub store: Format,
}

impl Rounding {
    /// One format throughout, sums included (TF32 sums and stores FP32).
    pub const fn uniform(format: Format) -> Self {
        let wide = format.storage();
        Rounding { compute: format, accumulate: wide, store: wide }
    }

    /// Operands and output in `format`, accumulation in FP32: a tensor-core product.
    pub const fn fp32_accumulated(format: Format) -> Self {
        Rounding { accumulate: Format::Fp32, ..Rounding::uniform(format) }
    }

    /// Operands in `format`, accumulated and stored in FP32 for a consumer that reads FP32.
    pub const fn into_fp32(format: Format) -> Self {
        Rounding { compute: format, accumulate: Format::Fp32, store: Format::Fp32 }
    }

    /// FP32 arithmetic whose result is stored in `format`.
    pub const fn fp32_stored_as(format: Format) -> Self {
        Rounding { compute: Format::Fp32, accumulate: Format::Fp32, store: format }
    }
}

/// Order of operations in the layer-norm mean and variance. It decides whether FP16 overflows silently: for 768 columns, the
/// sum of squares reaches 65504 at a row RMS of 9.24. If the squares are divided first, their sum does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReductionOrder {
    /// `(Σ v) / n`.
    SumThenDivide,
    /// `Σ (v / n)`.
    DivideFirst,
}

/// The presets of the paper and their comparison points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// True FP32, TF32 off.
    Fp32,
    /// FP32 storage, TF32 tensor cores.
    Tf32,
    /// Everything FP16, including softmax, layer norm and residual; products accumulate in FP32.
    Fp16,
    /// BF16 storage, FP32 accumulation, FP32 softmax and layer-norm statistics.
    Bf16,
    /// FP16 linears and attention products; FP32 softmax, layer norm and residual stream (the paper's strategy).
    Hybrid,
}

impl Preset {
    /// Every preset, in the order of the paper's tables.
    pub const ALL: [Preset; 5] = [Preset::Fp32, Preset::Tf32, Preset::Fp16, Preset::Bf16, Preset::Hybrid];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Fp32 => "fp32",
            Preset::Tf32 => "tf32",
            Preset::Fp16 => "fp16",
            Preset::Bf16 => "bf16",
            Preset::Hybrid => "hybrid",
        }
    }

    fn rounding(self, class: OpClass) -> Rounding {
        use Format::{Bf16, Fp16, Fp32, Tf32};
        match (self, class) {
            (Preset::Tf32, class) if class.is_product() => Rounding::into_fp32(Tf32),
            (Preset::Fp32 | Preset::Tf32, _) => Rounding::uniform(Fp32),
            (Preset::Fp16, class) if class.is_product() => Rounding::fp32_accumulated(Fp16),
            (Preset::Fp16, _) => Rounding::uniform(Fp16),
            (Preset::Bf16, OpClass::AttentionScores) => Rounding::into_fp32(Bf16),
            (Preset::Bf16, OpClass::Embedding) => Rounding::fp32_accumulated(Bf16),
            (Preset::Bf16, class) if class.is_product() => Rounding::fp32_accumulated(Bf16),
            (Preset::Bf16, _) => Rounding::fp32_stored_as(Bf16),
            (Preset::Hybrid, OpClass::Linear | OpClass::AttentionContext) => Rounding::fp32_accumulated(Fp16),
            // FP16 tables; these accumulators go straight into an FP32 consumer: softmax, residual stream, logits.
            (
                Preset::Hybrid,
                OpClass::Embedding | OpClass::AttentionScores | OpClass::ResidualLinear | OpClass::OutputLinear,
            ) => Rounding::into_fp32(Fp16),
            // The only consumer is a product, so the tensor is stored as that product's operand.
            (Preset::Hybrid, OpClass::Softmax | OpClass::Gelu) => Rounding::fp32_stored_as(Fp16),
            (Preset::Hybrid, OpClass::LayerNorm | OpClass::Tanh | OpClass::Residual | OpClass::Select) => {
                Rounding::uniform(Fp32)
            }
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A complete precision policy: a format triple per op class, overrides per op, and the layer-norm reduction order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionPolicy {
    /// The name rows and tables carry; a preset's name or the manifest's.
    pub name: String,
    /// Formats per class; total over [`OpClass::ALL`].
    pub classes: BTreeMap<OpClass, Rounding>,
    /// Formats per op name (`layer.3/attention/softmax`), which take precedence over the class.
    pub overrides: BTreeMap<String, Rounding>,
    /// Layer-norm reduction order.
    pub layer_norm_reduction: ReductionOrder,
}

impl PrecisionPolicy {
    /// The policy of a preset. Its layer norms sum, then divide.
    pub fn preset(preset: Preset) -> Self {
        PrecisionPolicy {
            name: preset.name().to_owned(),
            classes: OpClass::ALL.into_iter().map(|class| (class, preset.rounding(class))).collect(),
            overrides: BTreeMap::new(),
            layer_norm_reduction: ReductionOrder::SumThenDivide,
        }
    }

    /// The float64 policy of the oracle.
    pub fn oracle() -> Self {
        PrecisionPolicy {
            name: Format::Fp64.name().to_owned(),
            classes: OpClass::ALL.into_iter().map(|class| (class, Rounding::uniform(Format::Fp64))).collect(),
            overrides: BTreeMap::new(),
            layer_norm_reduction: ReductionOrder::SumThenDivide,
        }
    }

    /// The formats of an op. A class that is missing from `classes` (possible only in a policy made by hand) computes in FP32.
    pub fn rounding(&self, op: &str, class: OpClass) -> Rounding {
        self.overrides.get(op).or_else(|| self.classes.get(&class)).copied().unwrap_or(Rounding::uniform(Format::Fp32))
    }

    /// Every format that it names.
    pub fn formats(&self) -> BTreeSet<Format> {
        let roundings = self.classes.values().chain(self.overrides.values());
        roundings.flat_map(|rounding| [rounding.compute, rounding.accumulate, rounding.store]).collect()
    }

    /// The preset this policy equals, whatever its name, if any.
    pub fn as_preset(&self) -> Option<Preset> {
        Preset::ALL.into_iter().find(|&preset| {
            let other = PrecisionPolicy::preset(preset);
            other.classes == self.classes
                && other.overrides == self.overrides
                && other.layer_norm_reduction == self.layer_norm_reduction
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_keeps_softmax_layer_norm_and_residual_in_fp32() {
        let policy = PrecisionPolicy::preset(Preset::Hybrid);
        for class in [OpClass::Softmax, OpClass::LayerNorm, OpClass::Residual] {
            assert_eq!(policy.rounding("any", class).compute, Format::Fp32, "{class}");
        }
        assert_eq!(policy.rounding("any", OpClass::Linear), Rounding::fp32_accumulated(Format::Fp16));
        assert_eq!(policy.rounding("any", OpClass::ResidualLinear).store, Format::Fp32);
    }

    #[test]
    fn fp16_rounds_every_class_and_accumulates_products_in_fp32() {
        let policy = PrecisionPolicy::preset(Preset::Fp16);
        for class in OpClass::ALL {
            let rounding = policy.rounding("any", class);
            assert_eq!((rounding.compute, rounding.store), (Format::Fp16, Format::Fp16), "{class}");
            let sums = if class.is_product() { Format::Fp32 } else { Format::Fp16 };
            assert_eq!(rounding.accumulate, sums, "{class}");
        }
    }

    #[test]
    fn an_override_wins_over_its_class() {
        let mut policy = PrecisionPolicy::preset(Preset::Fp32);
        policy.overrides.insert("layer.0/attention/softmax".into(), Rounding::uniform(Format::Fp16));
        assert_eq!(policy.rounding("layer.0/attention/softmax", OpClass::Softmax).store, Format::Fp16);
        assert_eq!(policy.rounding("layer.1/attention/softmax", OpClass::Softmax).store, Format::Fp32);
        assert_eq!(policy.as_preset(), None);
        assert_eq!(PrecisionPolicy::preset(Preset::Bf16).as_preset(), Some(Preset::Bf16));
    }
}
