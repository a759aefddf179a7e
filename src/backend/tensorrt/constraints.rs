//! The types that a weakly typed network must be given layer by layer, so that it computes what a policy requests.

use std::collections::BTreeMap;

use super::audit::{
    AuditError, Expectation, LayerKind, ParsedElement, ParsedLayer, ParsedTensor, ops_by_name, owner, result_name,
};
use super::binding::LayerTypes;
use crate::graph::{Format, Op, OpClass, Rounding};

/// The types of every layer that belongs to an op and has floating-point outputs, by the layer's index. Weights and the
/// layers that prepare them have none: the builder stores them as their reader wants them.
///
/// # Errors
/// [`AuditError::Policy`] when the policy does not fit the graph.
pub(super) fn constraints(
    layers: &[ParsedLayer],
    expected: Expectation<'_>,
) -> Result<Vec<(usize, LayerTypes)>, AuditError> {
    let graph = expected.graph;
    let roundings = graph.roundings(expected.policy)?;
    let names = ops_by_name(graph);
    let results = graph.ops.iter().map(|op| result_name(graph, op, expected.output));
    let results: BTreeMap<&str, usize> = results.enumerate().map(|(index, name)| (name, index)).collect();
    // The parser's own layers have names of their own, and may yield an op's result: behind a softmax, a shuffle does.
    let owner = |layer: &ParsedLayer| {
        let of_result = || layer.outputs.iter().find_map(|tensor| results.get(tensor.name.as_str()).copied());
        owner(&layer.name, &names).or_else(of_result)
    };
    let is_float = |tensor: &ParsedTensor| matches!(tensor.element, ParsedElement::Float(_));
    let floats = layers.iter().enumerate().filter(|(_, layer)| layer.outputs.iter().any(is_float));
    let owned: Vec<(usize, usize)> = floats.filter_map(|(index, layer)| Some((index, owner(layer)?))).collect();
    let computing = |layer: usize| matches!(layers[layer].kind, LayerKind::Product | LayerKind::Arithmetic);
    // The last one counts.
    let last: BTreeMap<usize, usize> =
        owned.iter().filter(|(layer, _)| computing(*layer)).map(|&(layer, op)| (op, layer)).collect();
    let types = owned.iter().filter_map(|&(layer, op)| {
        let is_last = last.get(&op) == Some(&layer);
        Some((layer, types(&graph.ops[op], roundings[op], &layers[layer], is_last)?))
    });
    Ok(types.collect())
}

/// The types of one layer of an op. The last one that computes yields what the op stores; what follows it moves that.
fn types(op: &Op, rounding: Rounding, layer: &ParsedLayer, is_last: bool) -> Option<LayerTypes> {
    let [compute, accumulate, store] = [rounding.compute, rounding.accumulate, rounding.store].map(Format::storage);
    let (compute, inner) = match layer.kind {
        LayerKind::Product => (compute, compute),
        LayerKind::Arithmetic => match op.class {
            // A bias or scale is applied in the wider of the two types that it stands between.
            class if class.is_product() && layer.name.ends_with("/scale_query") => (compute, compute),
            class if class.is_product() => (compute.min(store), compute.min(store)),
            OpClass::Embedding => (accumulate, accumulate),
            OpClass::LayerNorm if layer.type_name == "reduce" => (accumulate, compute),
            _ => (compute, compute),
        },
        LayerKind::Movement => match op.class {
            // Rows of a table; a slice of one is folded into a constant.
            OpClass::Embedding if layer.type_name != "gather" => return None,
            OpClass::Embedding => (compute, compute),
            // The choice between a score and the lowest number, in front of the softmax.
            OpClass::Softmax if layer.type_name == "select" => (compute, compute),
            OpClass::Linear | OpClass::ResidualLinear | OpClass::OutputLinear => return None,
            _ => (store, store),
        },
        LayerKind::Cast | LayerKind::Source | LayerKind::Other => return None,
    };
    Some(LayerTypes { compute, output: if is_last { store } else { inner } })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::audit::audit;
    use super::super::binding::OnnxModel;
    use super::super::library::TensorRtLibrary;
    use super::*;
    use crate::graph::{Graph, PrecisionPolicy, Preset, Shape};
    use crate::model::{Architecture, Head, Model, ModelSource, architecture_graph};
    use crate::onnx::{Dialect, Export, Extent};

    /// A layer per op with the op's result, of the kind that computes it, in FP32 as a parser leaves it.
    fn layers(graph: &Graph) -> Vec<ParsedLayer> {
        let layer = |op: &Op| {
            let type_name = match op.class {
                class if class.is_product() => "MATRIX_MULTIPLY",
                OpClass::Softmax => "SOFTMAX",
                OpClass::Select => "GATHER",
                _ => "ELEMENTWISE",
            };
            let name = result_name(graph, op, "output").to_owned();
            let outputs = vec![ParsedTensor { name, element: ParsedElement::Float(Format::Fp32) }];
            let kind = LayerKind::of(type_name);
            let (name, type_name) = (op.name.clone(), type_name.to_lowercase());
            ParsedLayer { name, kind, type_name, precision: None, permitted: false, outputs }
        };
        graph.ops.iter().map(layer).collect()
    }

    fn apply(layers: &mut [ParsedLayer], set: &[(usize, LayerTypes)]) {
        for (index, types) in set {
            layers[*index].precision = Some(types.compute);
            layers[*index].outputs[0].element = ParsedElement::Float(types.output);
        }
    }

    #[test]
    fn a_network_with_the_types_of_its_policy_passes_the_audit_and_another_does_not() {
        for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
            let graph = architecture_graph(architecture);
            for asked in [Preset::Fp16, Preset::Hybrid] {
                let policy = PrecisionPolicy::preset(asked);
                let shape = Shape { batch: 1, sequence: 8 };
                let expected = Expectation { graph: &graph, policy: &policy, output: "output", shape, tf32: false };
                let mut layers = layers(&graph);
                assert!(audit(&layers, expected).is_err(), "{asked}: nothing is set");
                let set = constraints(&layers, expected).unwrap();
                assert_eq!(set.len(), graph.ops.len());
                apply(&mut layers, &set);
                assert_eq!(audit(&layers, expected).unwrap().layers, graph.ops.len(), "{asked}");
                let other = PrecisionPolicy::preset(if asked == Preset::Fp16 { Preset::Hybrid } else { Preset::Fp16 });
                assert!(audit(&layers, Expectation { policy: &other, ..expected }).is_err(), "{asked}");
            }
        }
    }

    /// The parser of TensorRT-RTX names layers as TensorRT's does, and needs no GPU.
    #[test]
    fn every_layer_of_a_parsed_model_gets_the_types_of_its_op() {
        let Some(library) = TensorRtLibrary::rtx_or_skip() else { return };
        for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
            let source = ModelSource::Random { seed: 3, architecture };
            let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
            let presets = [Preset::Fp32, Preset::Fp16, Preset::Hybrid];
            for (preset, attention_mask) in presets.into_iter().flat_map(|preset| [(preset, true), (preset, false)]) {
                let policy = PrecisionPolicy::preset(preset);
                let shape = Shape { batch: 2, sequence: 8 };
                let dialect = Dialect { attention_mask, ..Dialect::WEAKLY_TYPED };
                let export = Export::in_dialect(&model, &policy, Extent::Static(shape), dialect).unwrap();
                let source = OnnxModel::Bytes(export.bytes().unwrap());
                let mut layers = library.call(|| library.binding.parse(source)?.layers()).unwrap();
                let graph = &model.graph;
                let expected = Expectation { graph, policy: &policy, output: export.output_name(), shape, tf32: false };
                for (index, types) in constraints(&layers, expected).unwrap() {
                    layers[index].precision = Some(types.compute);
                    let floats = layers[index].outputs.iter_mut();
                    let floats = floats.filter(|tensor| matches!(tensor.element, ParsedElement::Float(_)));
                    floats.for_each(|tensor| tensor.element = ParsedElement::Float(types.output));
                }
                let audited = audit(&layers, expected).unwrap();
                let counted = graph.cost(&policy, shape).unwrap().flops;
                assert_eq!(audited.flops_by_format.values().sum::<u64>(), counted, "{architecture:?} {preset}");
            }
        }
    }

    #[test]
    fn an_override_sets_the_layers_of_its_op_only() {
        let graph = architecture_graph(Architecture::BertTiny);
        let mut policy = PrecisionPolicy::preset(Preset::Fp16);
        policy.overrides.insert("layer.0/mlp/layer_norm".to_owned(), Rounding::uniform(Format::Fp32));
        let shape = Shape { batch: 1, sequence: 8 };
        let expected = Expectation { graph: &graph, policy: &policy, output: "output", shape, tf32: false };
        let set = constraints(&layers(&graph), expected).unwrap();
        let wide: Vec<&str> = set
            .iter()
            .filter(|(_, types)| types.compute == Format::Fp32)
            .map(|(index, _)| graph.ops[*index].name.as_str())
            .collect();
        assert_eq!(wide, ["layer.0/mlp/layer_norm"]);
    }
}
