//! The fused kernels of full FP16 with a few operations in FP32, as a search leaves them, against the kernels of single operations:
//! every bit of every tensor that both forwards have.

use super::forward::Values;
use super::model;
use super::rounded::check_policies;
use crate::backend::cuda::calls::tests::with_in_fp32;
use crate::graph::PrecisionPolicy;
use crate::model::{Architecture, build_graph};

/// What a search leaves in FP32 between FP16 neighbours: norms whose product adds the residual or leaves partial sums, and sums.
#[test]
fn fused_fp16_with_operations_in_fp32_has_the_bits_of_single_operations() {
    let bert = [
        &["layer.0/mlp/layer_norm"][..],
        &["embeddings/layer_norm", "layer.1/attention/layer_norm", "layer.1/mlp/layer_norm"],
        &["layer.0/mlp/residual", "layer.1/attention/residual", "layer.1/attention/layer_norm"],
    ];
    let gpt2 = [&["final/layer_norm"][..], &["layer.1/attention/layer_norm", "layer.0/mlp/residual"]];
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny, Architecture::BertBase, Architecture::Gpt2] {
        let mut model = model(architecture);
        model.config.dimensions.layers = 2;
        model.graph = build_graph(&model.config);
        let is_bert = matches!(architecture, Architecture::BertTiny | Architecture::BertBase);
        let policies: Vec<PrecisionPolicy> =
            if is_bert { &bert[..] } else { &gpt2 }.iter().map(|ops| with_in_fp32(ops)).collect();
        let name = format!("{architecture:?}");
        check_policies(&name, &model, (&[(1, 32), (4, 127)], &policies), &[Values::Ordinary, Values::Outliers]);
        check_policies(&name, &model, (&[(2, 64)], &policies[..1]), &[Values::Overflow]);
    }
}
