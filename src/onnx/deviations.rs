//! What a policy specifies and ONNX cannot express: every operator of a standard ONNX graph computes in the type of its
//! inputs and returns that type, and nothing names its accumulator.

use super::element::DataType;
use super::products::scale_of_queries;
use crate::graph::{Format, Graph, Op, OpClass, OpKind, PolicyError, PrecisionPolicy, Rounding};

/// Sentences that state where the exported model differs from the policy, each with the classes it concerns; none if the
/// model expresses the whole policy.
///
/// # Errors
/// [`PolicyError`] when the policy does not fit the graph.
pub fn deviations(graph: &Graph, policy: &PrecisionPolicy) -> Result<Vec<String>, PolicyError> {
    let roundings = graph.roundings(policy)?;
    let ops: Vec<(&Op, Rounding)> = graph.ops.iter().zip(roundings).collect();
    let sentence = |rule: &Rule| {
        let concerned = ops.iter().filter(|(op, rounding)| (rule.concerns)(op, *rounding));
        let classes: Vec<OpClass> = concerned.map(|(op, _)| op.class).collect();
        let named = OpClass::ALL.into_iter().filter(|class| classes.contains(class));
        let named = named.map(OpClass::name).collect::<Vec<_>>().join(", ");
        (!named.is_empty()).then(|| format!("{named}: {}", rule.text))
    };
    Ok(RULES.iter().filter_map(sentence).collect())
}

struct Rule {
    concerns: fn(&Op, Rounding) -> bool,
    text: &'static str,
}

const RULES: [Rule; 9] = [
    Rule {
        concerns: |_, rounding| rounding.compute == Format::Tf32,
        text: "the tensors are FP32; rounding the operands of products to TF32 is a setting of the runtime, not of the \
               model.",
    },
    Rule {
        concerns: |op, rounding| op.class.is_product() && is_narrow(rounding.compute),
        text: "ONNX does not name the accumulator of a 16-bit product; the runtime chooses it, whatever `accumulate` says.",
    },
    Rule {
        concerns: |op, rounding| op.class.is_product() && is_narrow(rounding.compute) && widens(rounding),
        text: "a 16-bit product has a 16-bit result in ONNX; it is rounded to `compute` before it becomes what the policy \
               stores.",
    },
    Rule {
        concerns: |op, rounding| {
            matches!(op.kind, OpKind::Linear { bias: Some(_), .. }) && is_narrow(rounding.compute) && !widens(rounding)
        },
        text: "the product is rounded once before its bias is added, the policy adds the bias in the accumulator.",
    },
    Rule {
        concerns: |op, rounding| match op.kind {
            OpKind::AttentionScores { scale, .. } => taken(scale, rounding) != 1.0,
            _ => false,
        },
        text: "the power of two in the scale is multiplied into the queries, so that the FP16 product does not \
               overflow; the rest of the scale, if any, follows in the stored type.",
    },
    Rule {
        concerns: |op, rounding| match op.kind {
            OpKind::AttentionScores { scale, .. } => is_narrow(rounding.store) && rest_is_inexact(scale, rounding),
            _ => false,
        },
        text: "the scale itself is rounded to the stored type.",
    },
    Rule {
        concerns: |op, rounding| {
            let reduces = matches!(op.class, OpClass::LayerNorm | OpClass::Softmax);
            reduces && is_narrow(rounding.accumulate)
        },
        text: "the runtime chooses how to round partial sums inside a 16-bit `ReduceSum`; the policy rounds every one.",
    },
    Rule {
        concerns: |op, rounding| op.class == OpClass::LayerNorm && is_narrow(rounding.compute),
        text: "the reciprocal root is `Sqrt` and `Reciprocal`, two roundings where the policy has one.",
    },
    Rule {
        concerns: |op, rounding| op.class == OpClass::AttentionContext && rounding.compute == Format::Fp16,
        text: "the probabilities of padding are 0 and are multiplied by its values; if these have overflowed, the result is \
               NaN, where the policy never reads them.",
    },
];

fn is_narrow(format: Format) -> bool {
    DataType::from(format).is_narrow()
}

/// Whether the policy stores a product in a type other than that of its operands.
fn widens(rounding: Rounding) -> bool {
    DataType::from(rounding.compute) != DataType::from(rounding.store)
}

/// The part of a scale that is multiplied into the queries.
fn taken(scale: f64, rounding: Rounding) -> f64 {
    scale_of_queries(scale, rounding.compute.into(), rounding.store.into())
}

fn rest_is_inexact(scale: f64, rounding: Rounding) -> bool {
    let rest = scale / taken(scale, rounding);
    DataType::from(rounding.store).rounded(rest) != rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Preset;
    use crate::model::Architecture;
    use crate::model::architecture_graph;

    fn of(architecture: Architecture, preset: Preset) -> Vec<String> {
        deviations(&architecture_graph(architecture), &PrecisionPolicy::preset(preset)).unwrap()
    }

    fn mentions(sentences: &[String], classes: &str, text: &str) -> bool {
        sentences.iter().any(|sentence| sentence.starts_with(classes) && sentence.contains(text))
    }

    #[test]
    fn fp32_is_said_completely_and_tf32_needs_a_setting() {
        assert_eq!(of(Architecture::BertBase, Preset::Fp32), Vec::<String>::new());
        let tf32 = of(Architecture::BertBase, Preset::Tf32);
        assert_eq!(tf32.len(), 1);
        assert!(mentions(&tf32, "linear, attention_scores, attention_context, residual_linear", "setting"), "{tf32:?}");
    }

    #[test]
    fn the_sentences_name_the_classes_they_are_about() {
        let hybrid = of(Architecture::Gpt2, Preset::Hybrid);
        let wide = "attention_scores, residual_linear, output_linear:";
        assert!(mentions(&hybrid, wide, "16-bit result"), "{hybrid:?}");
        assert!(mentions(&hybrid, "linear:", "before its bias"), "{hybrid:?}");
        assert!(mentions(&hybrid, "attention_scores:", "queries"), "{hybrid:?}");
        // 1/√64 is a power of two, 1/√32 is not.
        let (base, tiny) = (of(Architecture::BertBase, Preset::Fp16), of(Architecture::BertTiny, Preset::Fp16));
        assert!(!mentions(&base, "attention_scores:", "scale itself"), "{base:?}");
        assert!(mentions(&tiny, "attention_scores:", "scale itself"), "{tiny:?}");
        assert!(mentions(&base, "layer_norm:", "two roundings"), "{base:?}");
        assert!(mentions(&base, "layer_norm, softmax:", "ReduceSum"), "{base:?}");
    }
}
