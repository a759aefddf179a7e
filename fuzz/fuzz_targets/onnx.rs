//! A model of any small size, under any policy of the presets with any override, exported: the file decodes to what was
//! written, and every tensor a node reads was there before it.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use mixprec::graph::{Format, PrecisionPolicy, Preset, Rounding, Shape};
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use mixprec::onnx::{Export, Extent};
use mixprec_fuzz::{checkpoint, scratch};
use prost::Message;

const FORMATS: [Format; 4] = [Format::Fp32, Format::Tf32, Format::Fp16, Format::Bf16];

fuzz_target!(|bytes: [u8; 24]| {
    let at = |index: usize, most: usize| 1 + usize::from(bytes[index]) % most;
    let heads = at(0, 4);
    let sizes = [at(1, 3), heads * at(2, 8), heads, at(3, 16), at(4, 40), at(5, 20)];
    let bert = bytes[6].is_multiple_of(2);
    checkpoint("onnx", bert, sizes, at(7, 3), bytes[8]);
    let source = ModelSource::Checkpoint { path: "onnx".into(), sha256: None };
    let head = Head::ALL[usize::from(bytes[9]) % Head::ALL.len()];
    let Ok(model) = Model::open("fuzzed", &source, scratch(), head) else { return };
    let mut policy = PrecisionPolicy::preset(Preset::ALL[usize::from(bytes[10]) % Preset::ALL.len()]);
    for edit in bytes[11..20].chunks_exact(3) {
        let op = &model.graph.ops[usize::from(edit[0]) % model.graph.ops.len()];
        let format = |shift: u8| FORMATS[usize::from(edit[1] >> shift) % 4];
        let rounding = Rounding { compute: format(0), accumulate: format(2), store: format(4) };
        match edit[2] % 3 {
            0 => drop(policy.overrides.insert(op.name.clone(), rounding)),
            1 => drop(policy.classes.insert(op.class, rounding)),
            _ => {}
        }
    }
    let shape = |batch, sequence| Shape { batch, sequence };
    let smallest = shape(usize::from(bytes[20]) % 5, usize::from(bytes[21]) % 24);
    let largest = shape(smallest.batch + usize::from(bytes[22]) % 4, smallest.sequence + usize::from(bytes[23]) % 8);
    let extent = if smallest == largest { Extent::Static(smallest) } else { Extent::Dynamic { smallest, largest } };
    let Ok(export) = Export::new(&model, &policy, extent) else { return };
    let file = export.bytes().expect("a small model fits");
    assert_eq!(file.len() as u64, export.total_bytes());
    check(&export, &file);
});

/// What an independent reader needs of ONNX's schema; other fields are skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, optional, tag = "4")]
    op_type: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(string, optional, tag = "8")]
    name: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValueInfoProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
}

fn check(export: &Export<'_>, file: &[u8]) {
    let graph = ModelProto::decode(file).expect("protobuf").graph.expect("a graph");
    let named =
        |names: &[ValueInfoProto]| names.iter().map(|value| value.name.clone().expect("a name")).collect::<Vec<_>>();
    let mut known: BTreeSet<String> = named(&graph.input).into_iter().collect();
    for tensor in &graph.initializer {
        assert!(tensor.dims.iter().all(|&size| size >= 0));
        assert!(known.insert(tensor.name.clone().expect("a name")), "a weight is there twice");
    }
    for node in &graph.node {
        let kind = node.op_type.as_deref().expect("an operator");
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            assert!(known.contains(input), "{kind} reads {input}, which nothing before it wrote");
        }
        for output in &node.output {
            assert!(known.insert(output.clone()), "{output} is written twice");
        }
    }
    let written: Vec<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    let described: Vec<&String> = export.node_outputs().iter().map(|output| &output.tensor).collect();
    assert_eq!(written, described);
    assert!(named(&graph.output).iter().all(|name| written.contains(&name)), "the output is no node's");
}
