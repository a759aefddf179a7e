//! Makes ONNX Runtime keep the roundings that the graph's types demand.
//!
//! Its CPU provider has FP16 kernels for few operators. It computes the others in FP32 and casts around them. It then
//! removes the casts between neighbours, including those written in the graph, because each pair widens again at once
//! (`insert_cast_transformer.cc`; its casts are named `InsertedPrecisionFreeCast_`). A chain of FP16 operators is therefore
//! executed as one FP32 chain: 60000 + 60000 - 60000 is 60000 there and not infinite, and the policy under study is not
//! executed at all. A single `Identity` becomes part of such a chain. Two in a row are executed in FP16, so the tensor
//! between them exists in FP16 and has been rounded. (Observed with 1.32.0; a test of the backend checks that it stays so.)

use std::collections::HashSet;

use crate::onnx::{Export, NodeProto};

/// The optimiser that would remove the barriers.
pub(super) const MUST_BE_OFF: &str = "EliminateIdentity";

/// The skeleton of `export` with two `Identity` nodes after every node output that is stored in 16 bits.
pub(super) fn skeleton(export: &Export<'_>) -> Vec<u8> {
    let outputs = export.node_outputs().iter();
    let narrow = outputs.filter(|output| output.element.is_narrow()).map(|output| output.tensor.as_str()).collect();
    export.rewritten_skeleton(|node| with_barriers(node, &narrow))
}

/// The node, with its outputs in `rounded` renamed, and the barriers whose outputs have the original names.
fn with_barriers(mut node: NodeProto, rounded: &HashSet<&str>) -> Vec<NodeProto> {
    let mut barriers = Vec::new();
    for output in node.output.iter_mut().filter(|output| rounded.contains(output.as_str())) {
        let (wide, narrow) = (format!("{output}/unrounded"), format!("{output}/rounded"));
        barriers.extend([identity(&wide, &narrow), identity(&narrow, output)]);
        *output = wide;
    }
    std::iter::once(node).chain(barriers).collect()
}

fn identity(from: &str, to: &str) -> NodeProto {
    NodeProto {
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        name: Some(format!("{to}/barrier")),
        op_type: Some("Identity".to_owned()),
        attribute: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::graph::{PrecisionPolicy, Preset, Shape};
    use crate::model::{Architecture, ModelSource};
    use crate::model::{Head, Model};
    use crate::onnx::Extent;

    /// `Op(inputs) -> outputs`
    fn listed(node: &NodeProto) -> String {
        let operator = node.op_type.as_deref().unwrap();
        format!("{operator}({}) -> {}", node.input.join(" "), node.output.join(" "))
    }

    #[test]
    fn two_barriers_follow_each_rounded_output_and_no_other() {
        let split = NodeProto {
            input: vec!["a".to_owned()],
            output: ["x", "y", "z"].map(str::to_owned).to_vec(),
            name: Some("split".to_owned()),
            op_type: Some("Split".to_owned()),
            attribute: Vec::new(),
        };
        let nodes = with_barriers(split.clone(), &HashSet::from(["x", "z", "elsewhere"]));
        assert_eq!(
            nodes.iter().map(listed).collect::<Vec<_>>(),
            [
                "Split(a) -> x/unrounded y z/unrounded",
                "Identity(x/unrounded) -> x/rounded",
                "Identity(x/rounded) -> x",
                "Identity(z/unrounded) -> z/rounded",
                "Identity(z/rounded) -> z",
            ]
        );
        assert_eq!(with_barriers(split.clone(), &HashSet::new()), [split]);
    }

    /// If every value is FP16, each passes two barriers; if none is narrow, the model does not change.
    #[test]
    fn a_policy_gets_as_many_barriers_as_it_has_narrow_tensors() {
        let source = ModelSource::Random { seed: 1, architecture: Architecture::BertTiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let extent = Extent::Static(Shape { batch: 1, sequence: 8 });
        let export = |preset| Export::new(&model, &PrecisionPolicy::preset(preset), extent).unwrap();
        let fp16 = export(Preset::Fp16);
        let narrow = fp16.node_outputs().iter().filter(|output| output.element.is_narrow()).count();
        let text = String::from_utf8_lossy(&skeleton(&fp16)).into_owned();
        assert!(narrow > 100, "{narrow}");
        assert_eq!(text.matches("/barrier").count(), 2 * narrow);
        let fp32 = export(Preset::Fp32);
        assert_eq!(skeleton(&fp32), fp32.skeleton());
    }
}
