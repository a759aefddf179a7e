//! The cost of the known architectures, which `graph::cost` counts.

use super::{Architecture, architecture_graph};
use crate::graph::{PrecisionPolicy, Preset, Shape};

/// The table of the design study: 24 T d² + 4 B S² d per layer, d = 768, products only.
#[test]
fn bert_base_at_1x128_does_22_gflop_in_its_encoder() {
    let graph = architecture_graph(Architecture::BertBase);
    let cost = graph
        .cost(&PrecisionPolicy::preset(Preset::Fp32), Shape { batch: 1, sequence: 128 })
        .expect("presets fit every graph");
    let expected = 12.0 * (24.0 * 128.0 * 768.0 * 768.0 + 4.0 * 128.0 * 128.0 * 768.0);
    let ratio = cost.flops as f64 / expected;
    assert!((1.0..1.01).contains(&ratio), "{ratio}");
    assert_eq!(cost.policy_weights_bytes, 4 * cost.parameters);
}

/// The byte column of the design study's table of floors (MB): 170.3 and 250.6 with FP16 logits, which hybrid stores in
/// FP32; the study leaves out biases and norms.
#[test]
fn compulsory_bytes_are_those_of_the_design_study() {
    let shape = Shape { batch: 1, sequence: 32 };
    let hybrid = PrecisionPolicy::preset(Preset::Hybrid);
    let megabytes = |architecture| {
        let cost = architecture_graph(architecture).cost(&hybrid, shape).expect("presets fit every graph");
        cost.compulsory_bytes.unwrap_or(0) as f64 / 1e6
    };
    let logits = 32.0 * 50257.0 * 2.0 / 1e6;
    let (bert, gpt2) = (megabytes(Architecture::BertBase), megabytes(Architecture::Gpt2) - logits);
    assert!((bert - 170.3).abs() < 1.0 && (gpt2 - 250.6).abs() < 1.0, "{bert} {gpt2}");
}

#[test]
fn hybrid_stores_nearly_all_parameters_in_two_bytes() {
    let graph = architecture_graph(Architecture::Gpt2);
    let cost = graph
        .cost(&PrecisionPolicy::preset(Preset::Hybrid), Shape { batch: 1, sequence: 32 })
        .expect("presets fit every graph");
    assert_eq!(cost.parameters, 124_439_808, "the published size of GPT-2, tied head counted once");
    let per_parameter = cost.policy_weights_bytes as f64 / cost.parameters as f64;
    assert!((2.0..2.01).contains(&per_parameter), "{per_parameter}");
}

/// The sizes of the published checkpoints without their heads, as `transformers` counts the parameters of
/// `AutoModel.from_config` less the poolers', which no trunk has here.
#[test]
fn named_architectures_have_the_published_sizes() {
    let sizes = [
        (Architecture::BertLarge, 334_092_288),
        (Architecture::RobertaBase, 124_053_504),
        (Architecture::DistilbertBase, 66_362_880),
        (Architecture::ElectraSmall, 13_483_008),
        (Architecture::AlbertBase, 11_092_992),
        (Architecture::Gpt2Medium, 354_823_168),
        (Architecture::Gpt2Large, 774_030_080),
        (Architecture::Gpt2Xl, 1_557_611_200),
        (Architecture::Opt125m, 125_237_760),
    ];
    for (architecture, parameters) in sizes {
        // Rows of the position table that belong to no position are not read.
        assert_eq!(architecture_graph(architecture).parameter_count(), parameters, "{architecture:?}");
    }
}
