//! What is in the file: valid ONNX, the types that were meant, every weight once, names a person can read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mixprec::graph::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use mixprec::model::Architecture;
use mixprec::model::{Head, Model};
use mixprec::onnx::{ALIGNMENT, Dialect, Export, Extent, Opset, Typing};
use serde::Deserialize;
use serde_json::Value;

use super::{ARCHITECTURES, python, tiny, with_head};

const SHAPE: Shape = Shape { batch: 2, sequence: 16 };
const RANGE: Extent =
    Extent::Dynamic { smallest: Shape { batch: 1, sequence: 4 }, largest: Shape { batch: 8, sequence: 100 } };

/// What `check.py` says of a file.
#[derive(Deserialize)]
struct Checked {
    nodes: Vec<String>,
    elements: BTreeMap<String, i32>,
    output: Vec<Value>,
    metadata: BTreeMap<String, String>,
    initializer_bytes: u64,
    offsets: Vec<u64>,
}

fn check(files: &[String]) -> Option<Vec<Checked>> {
    let arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    let lines = python("check.py", &arguments)?;
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The presets, the oracle, and policies whose ops round in every way the lowering distinguishes.
fn policies() -> Vec<PrecisionPolicy> {
    let mut policies: Vec<PrecisionPolicy> = Preset::ALL.into_iter().map(PrecisionPolicy::preset).collect();
    policies.push(PrecisionPolicy::oracle());
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    policies.push(PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16 });
    let mixtures = [
        (Format::Fp16, Format::Fp32, Format::Fp16),
        (Format::Fp32, Format::Fp16, Format::Bf16),
        (Format::Fp16, Format::Bf16, Format::Bf16),
    ];
    for (compute, accumulate, store) in mixtures {
        let mut policy = PrecisionPolicy::preset(Preset::Fp32);
        let rounding = Rounding { compute, accumulate, store };
        policy.classes = OpClass::ALL.into_iter().map(|class| (class, rounding)).collect();
        // A tied head in a type of its own needs the table twice.
        policy.classes.insert(OpClass::OutputLinear, Rounding::uniform(Format::Bf16));
        policies.push(policy);
    }
    policies
}

fn write(export: &Export<'_>, path: &Path) -> String {
    let written = export.write(path).unwrap();
    assert_eq!(written.files[0], path);
    assert_eq!(written.bytes, written.files.iter().map(|file| file.metadata().unwrap().len()).sum::<u64>());
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_policy_passes_the_checker_and_inference_finds_the_types_that_were_meant() {
    let folder = tempfile::tempdir().unwrap();
    let mut models: Vec<Model> = ARCHITECTURES.into_iter().map(tiny).collect();
    models.push(with_head(Architecture::Gpt2Tiny, Head::LastToken));
    let policies = policies();
    let mut exports = Vec::new();
    for model in &models {
        for policy in &policies {
            exports.extend([Extent::Static(SHAPE), RANGE].map(|extent| Export::new(model, policy, extent).unwrap()));
        }
    }
    let files: Vec<String> = exports
        .iter()
        .enumerate()
        .map(|(index, export)| {
            let path = folder.path().join(format!("{index}.onnx"));
            let name = write(export, &path);
            assert_eq!(path.metadata().unwrap().len(), export.total_bytes());
            assert_eq!(std::fs::read(&path).unwrap(), export.bytes().unwrap());
            name
        })
        .collect();
    let Some(checked) = check(&files) else { return };
    assert_eq!(checked.len(), exports.len());
    for (index, (export, checked)) in exports.iter().zip(checked).enumerate() {
        let meant: BTreeMap<String, i32> =
            export.node_outputs().iter().map(|output| (output.tensor.clone(), output.element.code())).collect();
        assert_eq!(meant, checked.elements);
        let unique: BTreeSet<&String> = checked.nodes.iter().collect();
        assert_eq!(unique.len(), checked.nodes.len(), "node names are unique");
        let one_a_row = index / (2 * policies.len()) == models.len() - 1;
        let dims = |batch: Value, sequence: Value, width: i64| match one_a_row {
            true => vec![batch, width.into()],
            false => vec![batch, sequence, width.into()],
        };
        let width = if export.output_name() == "logits" { 1000 } else { 64 };
        let expected = match export.extent() {
            Extent::Static(_) => dims(2.into(), 16.into(), width),
            Extent::Dynamic { .. } => dims("batch".into(), "sequence".into(), width),
        };
        assert_eq!(checked.output, expected);
        assert_eq!(checked.metadata["mixprec.batch"], export.extent().batch().to_string());
        assert_eq!(checked.metadata["mixprec.weights"], "random seed 3");
        let stated = checked.metadata.keys().filter(|key| key.starts_with("mixprec.deviation.")).count();
        assert_eq!(stated, export.deviations().len());
    }
}

/// Older operator sets, and the dialect of a runtime whose builder sets the types: every tensor is FP32 or discrete there.
#[test]
fn every_dialect_passes_the_checker_and_inference_finds_the_types_that_were_meant() {
    let folder = tempfile::tempdir().unwrap();
    let mut models: Vec<Model> = ARCHITECTURES.into_iter().map(tiny).collect();
    models.push(with_head(Architecture::Gpt2Tiny, Head::LastToken));
    let in_model = |opset| Dialect { opset, ..Dialect::default() };
    let unmasked = Dialect { attention_mask: false, ..Dialect::WEAKLY_TYPED };
    let dialects = [in_model(Opset::V13), in_model(Opset::V17), Dialect::WEAKLY_TYPED, unmasked];
    let policies = [Preset::Fp32, Preset::Fp16, Preset::Hybrid].map(PrecisionPolicy::preset);
    let mut exports = Vec::new();
    for (model, dialect) in models.iter().flat_map(|model| dialects.map(|dialect| (model, dialect))) {
        for (policy, extent) in policies.iter().flat_map(|policy| [Extent::Static(SHAPE), RANGE].map(|e| (policy, e))) {
            exports.push(Export::in_dialect(model, policy, extent, dialect).unwrap());
        }
    }
    let files: Vec<String> = exports
        .iter()
        .enumerate()
        .map(|(index, export)| write(export, &folder.path().join(format!("{index}.onnx"))))
        .collect();
    let Some(checked) = check(&files) else { return };
    for (export, checked) in exports.iter().zip(checked) {
        let meant: BTreeMap<String, i32> =
            export.node_outputs().iter().map(|output| (output.tensor.clone(), output.element.code())).collect();
        assert_eq!(meant, checked.elements);
        let unique: BTreeSet<&String> = checked.nodes.iter().collect();
        assert_eq!(unique.len(), checked.nodes.len(), "node names are unique");
        if export.dialect().typing == Typing::PerLayer {
            let narrow = export.node_outputs().iter().find(|output| output.element.is_narrow());
            assert_eq!(narrow, None, "the builder sets the types");
        }
    }
}

#[test]
fn every_op_is_a_node_of_its_name_that_computes_in_its_type() {
    for architecture in ARCHITECTURES {
        let model = tiny(architecture);
        for policy in policies() {
            let export = Export::new(&model, &policy, RANGE).unwrap();
            let by_node: BTreeMap<&str, _> =
                export.node_outputs().iter().map(|output| (output.node.as_str(), output)).collect();
            let by_tensor: BTreeMap<&str, _> =
                export.node_outputs().iter().map(|output| (output.tensor.as_str(), output)).collect();
            let roundings = model.graph.roundings(&policy).unwrap();
            for (op, rounding) in model.graph.ops.iter().zip(roundings) {
                let is_output = op.output == model.graph.output;
                let value = if is_output { export.output_name() } else { &op.name };
                assert_eq!(by_tensor[value].element, rounding.store.into(), "{value} under {}", policy.name);
                let node = by_node[op.name.as_str()];
                // Sums of embeddings are in the accumulator's type; a softmax may divide in it; selecting moves bits.
                if op.class.is_product() || matches!(op.class, OpClass::Residual | OpClass::Gelu | OpClass::LayerNorm) {
                    assert_eq!(node.element, rounding.compute.into(), "{} under {}", op.name, policy.name);
                }
            }
        }
    }
}

#[test]
fn hybrid_is_one_operator_per_softmax_layer_norm_and_gelu() {
    let model = tiny(ARCHITECTURES[0]);
    let export = Export::new(&model, &PrecisionPolicy::preset(Preset::Hybrid), Extent::Static(SHAPE)).unwrap();
    let operator = |name: &str| {
        let node = export.node_outputs().iter().find(|output| output.node == name).unwrap();
        (node.operator.clone(), node.element.name())
    };
    assert_eq!(operator("layer.1/attention/softmax"), ("Softmax".into(), "fp32"));
    assert_eq!(operator("layer.1/attention/softmax/cast"), ("Cast".into(), "fp16"));
    assert_eq!(operator("layer.1/mlp/layer_norm"), ("LayerNormalization".into(), "fp32"));
    assert_eq!(operator("layer.0/mlp/gelu"), ("Gelu".into(), "fp32"));
    assert_eq!(operator("layer.0/attention/residual"), ("Add".into(), "fp32"));
    assert_eq!(operator("layer.0/mlp/fc2"), ("MatMul".into(), "fp16"));
    assert_eq!(operator("layer.0/mlp/fc2/add_bias"), ("Add".into(), "fp32"));
}

#[test]
fn every_weight_is_stored_once_in_its_type() {
    for architecture in ARCHITECTURES {
        let model = tiny(architecture);
        for policy in policies() {
            let export = Export::new(&model, &policy, RANGE).unwrap();
            let weights: u64 = export.initializers().map(|weight| weight.byte_count()).sum();
            assert_eq!(weights, model.graph.cost(&policy, SHAPE).unwrap().policy_weights_bytes, "{}", policy.name);
            for weight in export.initializers() {
                assert_eq!(weight.bytes().unwrap().len() as u64, weight.byte_count(), "{}", weight.name());
                let elements: usize = weight.dims().iter().product();
                assert_eq!(elements as u64 * weight.element().bytes(), weight.byte_count(), "{}", weight.name());
            }
            let names: BTreeSet<&str> = export.initializers().map(|weight| weight.name()).collect();
            assert_eq!(names.len(), export.initializers().count());
        }
    }
}

#[test]
fn weights_above_the_limit_lie_in_a_file_of_their_own_and_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(ARCHITECTURES[1]);
    let policy = PrecisionPolicy::preset(Preset::Hybrid);
    let inside = Export::new(&model, &policy, Extent::Static(SHAPE)).unwrap();
    let outside = Export::new(&model, &policy, Extent::Static(SHAPE)).unwrap().with_inline_limit(1000);
    let error = outside.bytes().unwrap_err().to_string();
    assert!(error.contains("1000") && error.contains("Export::write"), "{error}");
    let files = ["inside.onnx", "outside.onnx"].map(|name| folder.path().join(name));
    let files = [write(&inside, &files[0]), write(&outside, &files[1])];
    let data = std::fs::read(folder.path().join("outside.onnx.data")).unwrap();
    for weight in inside.initializers() {
        assert_eq!(weight.offset() % ALIGNMENT, 0);
        assert_eq!(data[weight.offset() as usize..][..weight.byte_count() as usize], weight.bytes().unwrap());
    }
    assert_eq!(inside.digest(), outside.digest());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing half-written is left: {left:?}");
    let Some(checked) = check(&files) else { return };
    assert_eq!(checked[0].initializer_bytes, checked[1].initializer_bytes);
    assert_eq!(checked[0].nodes, checked[1].nodes);
    assert!(checked[0].offsets.is_empty());
    assert_eq!(checked[1].offsets, outside.initializers().map(|weight| weight.offset()).collect::<Vec<_>>());
}

#[test]
fn the_digest_is_of_nodes_types_and_shapes_alone() {
    let (model, policy) = (tiny(ARCHITECTURES[0]), PrecisionPolicy::preset(Preset::Hybrid));
    let digest = |model: &Model, policy: &PrecisionPolicy, extent| Export::new(model, policy, extent).unwrap().digest();
    let ours = digest(&model, &policy, RANGE);
    let renamed = PrecisionPolicy { name: "mine".to_owned(), ..policy.clone() };
    assert_eq!(ours, digest(&model, &renamed, RANGE));
    assert_ne!(ours, digest(&model, &policy, Extent::Static(SHAPE)));
    let Extent::Dynamic { smallest, .. } = RANGE else { unreachable!() };
    assert_ne!(ours, digest(&model, &policy, Extent::Dynamic { smallest, largest: SHAPE }));
    assert_ne!(ours, digest(&model, &PrecisionPolicy::preset(Preset::Fp16), RANGE));
    assert_ne!(ours, digest(&tiny(ARCHITECTURES[1]), &policy, RANGE));
}
