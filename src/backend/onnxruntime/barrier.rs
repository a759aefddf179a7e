//! Makes ONNX Runtime keep the roundings that the graph's types demand.
//!
//! Its CPU provider has FP16 kernels for few operators. For the others it computes in FP32 and casts around them, and
//! then removes the casts between neighbours, those written in the graph included, because each pair widens again at
//! once (`insert_cast_transformer.cc`; its casts are named `InsertedPrecisionFreeCast_`). A chain of FP16 operators is so
//! executed as one FP32 chain: 60000 + 60000 - 60000 is 60000 there and not infinite, and the policy under study
//! would not be executed at all. A single `Identity` is drawn into such a chain too; two in a row are executed in FP16, so
//! the tensor between them exists in FP16 and has been rounded. (Observed with 1.32.0; a test of the backend sees to it
//! that it stays so.)

use std::collections::HashSet;

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use thiserror::Error;

/// The optimiser that would remove the barriers.
pub(super) const MUST_BE_OFF: &str = "EliminateIdentity";

/// Field numbers of `onnx.proto`.
const MODEL_GRAPH: u32 = 7;
const GRAPH_NODE: u32 = 1;
const NODE_INPUT: u32 = 1;
const NODE_OUTPUT: u32 = 2;
const NODE_NAME: u32 = 3;
const NODE_OP_TYPE: u32 = 4;

/// Bytes that are no protobuf message, or one with groups, which `onnx.proto` does not have.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the exported model is no protobuf message")]
pub(super) struct Malformed;

/// The model with two `Identity` nodes behind every node output named in `rounded`. Whatever else it holds is copied as it
/// is.
///
/// # Errors
/// [`Malformed`].
pub(super) fn with_barriers(model: &[u8], rounded: &HashSet<&[u8]>) -> Result<Vec<u8>, Malformed> {
    let mut rewritten = Vec::with_capacity(model.len() * 2);
    for field in fields(model) {
        match field? {
            Field { number: MODEL_GRAPH, payload, .. } => put(MODEL_GRAPH, &graph(payload, rounded)?, &mut rewritten),
            field => rewritten.extend_from_slice(field.whole),
        }
    }
    Ok(rewritten)
}

fn graph(graph: &[u8], rounded: &HashSet<&[u8]>) -> Result<Vec<u8>, Malformed> {
    let mut rewritten = Vec::with_capacity(graph.len() * 2);
    for field in fields(graph) {
        match field? {
            Field { number: GRAPH_NODE, payload, .. } => node(payload, rounded, &mut rewritten)?,
            field => rewritten.extend_from_slice(field.whole),
        }
    }
    Ok(rewritten)
}

/// Writes the node, its rounded outputs renamed, and the barriers that carry the outputs' own names.
fn node(node: &[u8], rounded: &HashSet<&[u8]>, graph: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut renamed = Vec::with_capacity(node.len() + 16);
    let mut barriers = Vec::new();
    for field in fields(node) {
        let field = field?;
        if field.number != NODE_OUTPUT || !rounded.contains(field.payload) {
            renamed.extend_from_slice(field.whole);
            continue;
        }
        let wide = [field.payload, b"/unrounded"].concat();
        let narrow = [field.payload, b"/rounded"].concat();
        put(NODE_OUTPUT, &wide, &mut renamed);
        barriers.extend([identity(&wide, &narrow), identity(&narrow, field.payload)]);
    }
    put(GRAPH_NODE, &renamed, graph);
    barriers.iter().for_each(|barrier| put(GRAPH_NODE, barrier, graph));
    Ok(())
}

fn identity(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut node = Vec::new();
    put(NODE_INPUT, from, &mut node);
    put(NODE_OUTPUT, to, &mut node);
    put(NODE_NAME, &[to, b"/barrier"].concat(), &mut node);
    put(NODE_OP_TYPE, b"Identity", &mut node);
    node
}

/// Appends a length-delimited field.
fn put(number: u32, payload: &[u8], to: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, to);
    encode_varint(payload.len() as u64, to);
    to.extend_from_slice(payload);
}

/// A field of a message. `payload` is empty for numbers.
struct Field<'a> {
    number: u32,
    whole: &'a [u8],
    payload: &'a [u8],
}

/// The fields of a message in their order.
fn fields(message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Malformed>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let start = rest;
        (!start.is_empty()).then(|| {
            let field = next(start);
            rest = field.as_ref().map_or(&[][..], |field| &start[field.whole.len()..]);
            field
        })
    })
}

fn next(start: &[u8]) -> Result<Field<'_>, Malformed> {
    let mut rest = start;
    let (number, wire_type) = decode_key(&mut rest).map_err(|_| Malformed)?;
    let length = match wire_type {
        WireType::LengthDelimited => decode_varint(&mut rest).map_err(|_| Malformed)?,
        WireType::Varint => {
            decode_varint(&mut rest).map_err(|_| Malformed)?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
    };
    let (content, rest) =
        usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or(Malformed)?;
    let payload = if wire_type == WireType::LengthDelimited { content } else { &[] };
    Ok(Field { number, whole: &start[..start.len() - rest.len()], payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node of this operator from `inputs` to `outputs` with a doc string that must survive.
    fn operator(op_type: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let mut node = Vec::new();
        inputs.iter().for_each(|name| put(NODE_INPUT, name.as_bytes(), &mut node));
        outputs.iter().for_each(|name| put(NODE_OUTPUT, name.as_bytes(), &mut node));
        put(NODE_OP_TYPE, op_type.as_bytes(), &mut node);
        put(6, b"doc", &mut node);
        node
    }

    /// A model with an `ir_version`, these nodes, and an output named `y`.
    fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
        let mut graph = Vec::new();
        nodes.iter().for_each(|node| put(GRAPH_NODE, node, &mut graph));
        put(12, b"\x0a\x01y", &mut graph);
        let mut model = Vec::new();
        encode_key(1, WireType::Varint, &mut model);
        encode_varint(10, &mut model);
        put(MODEL_GRAPH, &graph, &mut model);
        model
    }

    /// `Op(inputs) -> outputs` of every node.
    fn listed(model: &[u8]) -> Vec<String> {
        let of = |bytes: &[u8], number: u32| -> Vec<Vec<u8>> {
            fields(bytes).map(Result::unwrap).filter(|f| f.number == number).map(|f| f.payload.to_vec()).collect()
        };
        let joined = |parts: Vec<Vec<u8>>| String::from_utf8(parts.join(&b' ')).unwrap();
        let graph = of(model, MODEL_GRAPH).remove(0);
        let node = |node: &Vec<u8>| {
            let [op, inputs, outputs] = [NODE_OP_TYPE, NODE_INPUT, NODE_OUTPUT].map(|number| joined(of(node, number)));
            format!("{op}({inputs}) -> {outputs}")
        };
        of(&graph, GRAPH_NODE).iter().map(node).collect()
    }

    #[test]
    fn two_barriers_follow_each_rounded_output_and_no_other() {
        let nodes = [
            operator("Transpose", &["x"], &["t"]),
            operator("Add", &["t", "t"], &["a"]),
            operator("Split", &["a"], &["y", "z"]),
        ];
        let rewritten = with_barriers(&model(&nodes), &HashSet::from([&b"a"[..], &b"z"[..]])).unwrap();
        assert_eq!(
            listed(&rewritten),
            [
                "Transpose(x) -> t",
                "Add(t t) -> a/unrounded",
                "Identity(a/unrounded) -> a/rounded",
                "Identity(a/rounded) -> a",
                "Split(a) -> y z/unrounded",
                "Identity(z/unrounded) -> z/rounded",
                "Identity(z/rounded) -> z",
            ]
        );
        assert_eq!(rewritten[..2], [0x08, 10], "the version of the format is kept");
        assert_eq!(rewritten.windows(3).filter(|window| window == b"doc").count(), 3);
        assert!(rewritten.ends_with(b"\x62\x03\x0a\x01y"), "the graph's outputs are kept");
        assert_eq!(with_barriers(&model(&nodes), &HashSet::new()).unwrap(), model(&nodes));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let whole = model(&[operator("Add", &["x", "x"], &["y"])]);
        assert_eq!(with_barriers(&whole[..whole.len() - 1], &HashSet::new()), Err(Malformed));
        assert_eq!(with_barriers(b"\x0b", &HashSet::new()), Err(Malformed), "a group");
    }
}
