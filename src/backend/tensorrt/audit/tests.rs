//! Networks made from a graph and a policy, judged under this and other policies.

use super::*;
use crate::graph::{OpClass, Preset, ReductionOrder};
use crate::model::Architecture;
use crate::model::architecture_graph;

const SHAPE: Shape = Shape { batch: 2, sequence: 8 };

fn layer(name: &str, kind: LayerKind, tensor: &str, format: Format) -> ParsedLayer {
    let outputs = vec![ParsedTensor { name: tensor.to_owned(), element: ParsedElement::Float(format.storage()) }];
    let type_name = format!("{kind:?}").to_lowercase();
    ParsedLayer { name: name.to_owned(), kind, type_name, precision: None, permitted: false, outputs }
}

/// A network that does what the policy says: a product or a sum per op, and a cast to its result.
fn network(graph: &Graph, policy: &PrecisionPolicy) -> Vec<ParsedLayer> {
    let roundings = graph.roundings(policy).unwrap();
    let layers = graph.ops.iter().zip(roundings).flat_map(|(op, rounding)| {
        let kind = match op.class {
            class if class.is_product() => LayerKind::Product,
            OpClass::Select => LayerKind::Movement,
            _ => LayerKind::Arithmetic,
        };
        let tensor = if op.output == graph.output { "logits" } else { &graph.value(op.output).name };
        [
            layer(&op.name, kind, &format!("{}/computed", op.name), rounding.compute),
            layer(&format!("{}/cast", op.name), LayerKind::Cast, tensor, rounding.store),
        ]
    });
    layers.collect()
}

fn judge(graph: &Graph, asked: &PrecisionPolicy, layers: &[ParsedLayer], tf32: bool) -> Result<Audit, AuditError> {
    audit(layers, Expectation { graph, policy: asked, output: "logits", shape: SHAPE, tf32 })
}

fn message(result: Result<Audit, AuditError>) -> String {
    result.map_or_else(|error| error.to_string(), |audit| format!("no error: {audit:?}"))
}

#[test]
fn a_network_passes_under_its_own_policy_and_fails_under_every_other() {
    for architecture in Architecture::ALL {
        let graph = architecture_graph(architecture);
        for built in Preset::ALL {
            let layers = network(&graph, &PrecisionPolicy::preset(built));
            let tf32 = built == Preset::Tf32;
            for asked in Preset::ALL {
                let result = judge(&graph, &PrecisionPolicy::preset(asked), &layers, tf32);
                assert_eq!(result.is_ok(), asked == built, "{architecture:?}: asked {asked}, built {built}");
            }
        }
    }
}

#[test]
fn every_operation_is_counted_once_in_the_format_it_is_computed_in() {
    let graph = architecture_graph(Architecture::BertTiny);
    for preset in Preset::ALL {
        let policy = PrecisionPolicy::preset(preset);
        let audit = judge(&graph, &policy, &network(&graph, &policy), preset == Preset::Tf32).unwrap();
        let total: u64 = audit.flops_by_format.values().sum();
        assert_eq!(total, graph.cost(&policy, SHAPE).unwrap().flops, "{preset}");
        let formats: Vec<Format> = audit.flops_by_format.into_keys().collect();
        let expected: &[Format] = match preset {
            Preset::Fp32 => &[Format::Fp32],
            Preset::Tf32 => &[Format::Fp32, Format::Tf32],
            Preset::Fp16 => &[Format::Fp16],
            // This network's one layer sums the tables in the format that they are stored in.
            Preset::Bf16 => &[Format::Fp32, Format::Bf16],
            Preset::Hybrid => &[Format::Fp32, Format::Fp16],
        };
        assert_eq!(formats, expected, "{preset}");
    }
}

#[test]
fn the_message_has_the_share_of_the_work_and_the_ops() {
    let graph = architecture_graph(Architecture::BertTiny);
    let policy = PrecisionPolicy::preset(Preset::Hybrid);
    let mut layers = network(&graph, &policy);
    let wide = ParsedElement::Float(Format::Fp32);
    for layer in layers.iter_mut().filter(|layer| layer.name.ends_with("attention/qkv")) {
        layer.outputs[0].element = wide;
    }
    // 3 of 12 d x d products of a layer.
    let text = message(judge(&graph, &policy, &layers, false));
    let expected = "precision audit: asked `hybrid`, got 25 % of linear FLOPs in fp32 (layer.0/attention/qkv, \
                    layer.1/attention/qkv)";
    assert_eq!(text, expected);
}

#[test]
fn results_epilogues_and_tf32_are_judged_too() {
    let graph = architecture_graph(Architecture::Gpt2Tiny);
    let fp32 = PrecisionPolicy::preset(Preset::Fp32);
    let text = message(judge(&graph, &fp32, &network(&graph, &fp32), true));
    assert!(text.contains("100 % of linear FLOPs in tf32 (layer.0/attention/qkv,"), "{text}");
    assert!(text.contains("100 % of attention FLOPs in tf32"), "{text}");

    let mut layers = network(&graph, &fp32);
    let name = "layer.0/mlp/gelu";
    let cast = layers.iter_mut().find(|layer| layer.name == format!("{name}/cast")).unwrap();
    cast.outputs[0].element = ParsedElement::Float(Format::Fp16);
    let text = message(judge(&graph, &fp32, &layers, false));
    assert_eq!(text, "precision audit: asked `fp32`, got gelu results stored in fp16 (layer.0/mlp/gelu)");

    let mut layers = network(&graph, &fp32);
    layers.push(layer("layer.1/mlp/fc2/add_bias", LayerKind::Arithmetic, "sum", Format::Bf16));
    let text = message(judge(&graph, &fp32, &layers, false));
    assert_eq!(text, "precision audit: asked `fp32`, got linear epilogues in bf16 (layer.1/mlp/fc2)");
}

#[test]
fn an_override_is_part_of_what_is_asked() {
    let graph = architecture_graph(Architecture::BertTiny);
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    let mut asked = fp16.clone();
    let name = "layer.1/attention/softmax";
    asked.overrides.insert(name.to_owned(), Rounding::uniform(Format::Fp32));
    assert!(judge(&graph, &asked, &network(&graph, &asked), false).is_ok());
    let text = message(judge(&graph, &asked, &network(&graph, &fp16), false));
    assert!(text.contains("50 % of softmax FLOPs in fp16 (layer.1/attention/softmax)"), "{text}");
    // The order of a reduction is no type.
    let divided = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16.clone() };
    assert!(judge(&graph, &divided, &network(&graph, &fp16), false).is_ok());
}

#[test]
fn layers_of_no_op_may_move_floats_and_compute_integers_and_nothing_else() {
    let graph = architecture_graph(Architecture::BertTiny);
    let policy = PrecisionPolicy::preset(Preset::Fp32);
    let network = network(&graph, &policy);
    let with = |extra: ParsedLayer| {
        let mut layers = network.clone();
        layers.push(extra);
        message(judge(&graph, &policy, &layers, false))
    };
    let mut indices = layer("shape", LayerKind::Arithmetic, "length", Format::Fp32);
    indices.outputs[0].element = ParsedElement::Discrete;
    for harmless in [indices, layer("broadcast", LayerKind::Movement, "b", Format::Fp32)] {
        assert!(with(harmless).starts_with("no error"));
    }
    let stray = with(layer("helper_7", LayerKind::Cast, "c", Format::Fp16));
    assert!(stray.contains("layer `helper_7` (cast) computes and belongs to no op"), "{stray}");
    let unknown = with(layer("layer.0/mlp/gelu/plugin", LayerKind::Other, "p", Format::Fp32));
    assert!(unknown.contains("which no policy speaks about"), "{unknown}");
}

#[test]
fn an_op_without_its_layer_or_its_result_is_named() {
    let graph = architecture_graph(Architecture::BertTiny);
    let policy = PrecisionPolicy::preset(Preset::Fp32);
    let mut layers = network(&graph, &policy);
    layers.retain(|layer| layer.name != "layer.1/mlp/fc1");
    let text = message(judge(&graph, &policy, &layers, false));
    assert_eq!(text, "precision audit: no layer of the network computes op `layer.1/mlp/fc1`");
    let mut layers = network(&graph, &policy);
    layers.retain(|layer| layer.name != "layer.1/mlp/fc1/cast");
    let text = message(judge(&graph, &policy, &layers, false));
    assert!(text.contains("no layer of the network yields `layer.1/mlp/fc1`, the result of op"), "{text}");
}
