//! Precision audit: compares the types of the network that the library read back with the types that the policy requests.
//!
//! Expectations come from the graph and the policy alone, never from the exporter, so that an exporter's mistake is found
//! here and not in a table. In a strongly typed network the type of a layer's output is the type that it computes in, and
//! the builder may not change it. In a weakly typed one a layer computes in the precision that was set for it, which the
//! builder must obey. Where none was set, the builder takes FP16 or FP32: such work is counted apart, as permitted.

mod findings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use thiserror::Error;

use findings::findings;

use super::binding::LayerTypes;
use crate::graph::{Format, Graph, Op, PolicyError, PrecisionPolicy, Rounding, Shape};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsedElement {
    /// Floating point. TF32 is a way to multiply, not a tensor's type.
    Float(Format),
    /// Integers, Booleans: ids, shapes and masks.
    Discrete,
    /// A type that no policy has (FP8, FP4).
    Unknown,
}

impl ParsedElement {
    fn format(self) -> Option<Format> {
        match self {
            ParsedElement::Float(format) => Some(format),
            ParsedElement::Discrete | ParsedElement::Unknown => None,
        }
    }
}

/// How a layer treats the types of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A matrix product.
    Product,
    /// Rounds in its own type: element-wise operations, reductions, softmax, normalisation.
    Arithmetic,
    /// Changes the type.
    Cast,
    /// Moves elements without changing them.
    Movement,
    /// Weights, constants and shapes.
    Source,
    /// Anything else: the exporter does not use it, so its arithmetic is unknown.
    Other,
}

impl LayerKind {
    /// The kind of a layer of `nvinfer1::LayerType`, by its name there without the `k`.
    pub(super) fn of(type_name: &str) -> LayerKind {
        match type_name {
            "MATRIX_MULTIPLY" => LayerKind::Product,
            "ACTIVATION" | "ELEMENTWISE" | "NORMALIZATION" | "REDUCE" | "SCALE" | "SOFTMAX" | "UNARY" => {
                LayerKind::Arithmetic
            }
            "CAST" => LayerKind::Cast,
            "CONCATENATION" | "GATHER" | "IDENTITY" | "SELECT" | "SHUFFLE" | "SLICE" | "SQUEEZE" | "UNSQUEEZE" => {
                LayerKind::Movement
            }
            "CONSTANT" | "FILL" | "SHAPE" => LayerKind::Source,
            _ => LayerKind::Other,
        }
    }
}

/// One layer of the network as the library's parser made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedLayer {
    /// The ONNX node's name, or the parser's own.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
    /// The library's name of its type, for messages.
    pub type_name: String,
    /// The format that was set for it to compute in, in a weakly typed network.
    pub precision: Option<Format>,
    /// Whether its types are permitted to the builder and not required of it.
    pub permitted: bool,
    /// Its outputs.
    pub outputs: Vec<ParsedTensor>,
}

impl ParsedLayer {
    /// Notes the types that the builder is permitted and not obliged to.
    pub(super) fn permit(&mut self, types: LayerTypes) {
        self.permitted = true;
        self.precision = Some(types.compute);
        for tensor in self.outputs.iter_mut().filter(|tensor| tensor.element.format().is_some()) {
            tensor.element = ParsedElement::Float(types.output);
        }
    }
}

/// An output of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedTensor {
    /// The ONNX tensor's name, or the parser's own.
    pub name: String,
    /// Type of its elements.
    pub element: ParsedElement,
}

/// What the network is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// The policy that was asked for.
    pub policy: &'a PrecisionPolicy,
    /// Name of the network's output; every other value's tensor is named after it.
    pub output: &'a str,
    /// The shape that FLOPs are counted at.
    pub shape: Shape,
    /// Whether the builder may compute products of FP32 tensors in TF32, read back from its configuration.
    pub tf32: bool,
}

/// The audited network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Floating-point operations by the format they are computed in.
    pub flops_by_format: BTreeMap<Format, u64>,
    /// Further ones, whose format the policy requests and the builder chooses.
    pub permitted_flops: u64,
    /// Layers of the network.
    pub layers: usize,
}

/// The network is not what the policy requests.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum AuditError {
    /// The policy does not fit the graph.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Types differ.
    #[error("precision audit: asked `{policy}`, got {findings}")]
    Mismatch { policy: String, findings: String },
    /// A layer that computes belongs to no op.
    #[error("precision audit: layer `{layer}` ({type_name}) computes and belongs to no op of the model")]
    Stray { layer: String, type_name: String },
    /// The arithmetic of a layer is not known.
    #[error("precision audit: layer `{layer}` is a {type_name}, which no policy speaks about")]
    UnknownLayer { layer: String, type_name: String },
    /// No layer computes an op.
    #[error("precision audit: no layer of the network computes op `{op}`")]
    Absent { op: String },
    /// No layer has the result of an op.
    #[error("precision audit: no layer of the network yields `{tensor}`, the result of op `{op}`")]
    NoResult { op: String, tensor: String },
}

/// One op's FLOPs and types, compared with the policy.
struct JudgedOp<'a> {
    op: &'a Op,
    computed: Vec<Computed>,
    /// The format of the result, and whether the policy requests it.
    stored: (Format, bool),
}

/// FLOPs of one layer.
#[derive(Debug, Clone, Copy)]
struct Computed {
    format: Format,
    flops: u64,
    /// Whether the policy requests the format.
    asked: bool,
    /// Whether the builder may take another.
    permitted: bool,
}

/// Compares every layer with the policy.
///
/// # Errors
/// [`AuditError`], which names the share of the work in the wrong type and its ops.
pub fn audit(layers: &[ParsedLayer], expected: Expectation<'_>) -> Result<Audit, AuditError> {
    let Expectation { graph, policy, shape, .. } = expected;
    let roundings = graph.roundings(policy)?;
    let costs = graph.costs(policy, shape)?;
    let by_op = attribute(layers, graph)?;
    let results = results(layers);
    let mut judged = Vec::with_capacity(graph.ops.len());
    for (index, op) in graph.ops.iter().enumerate() {
        let asked = RequestedTypes { rounding: roundings[index], tf32: expected.tf32 };
        let tensor = result_name(graph, op, expected.output);
        let no_result = || AuditError::NoResult { op: op.name.clone(), tensor: tensor.to_owned() };
        let stored = *results.get(tensor).ok_or_else(no_result)?;
        judged.push(JudgedOp {
            op,
            computed: computed(op, &by_op[index], asked, costs[index].flops)?,
            stored: (stored, stored == roundings[index].store.storage()),
        });
    }
    let findings = findings(&judged);
    if !findings.is_empty() {
        return Err(AuditError::Mismatch { policy: policy.name.clone(), findings });
    }
    let (mut flops_by_format, mut permitted_flops) = (BTreeMap::new(), 0);
    for computed in judged.iter().flat_map(|op| &op.computed).filter(|computed| computed.flops > 0) {
        match computed.permitted {
            true => permitted_flops += computed.flops,
            false => *flops_by_format.entry(computed.format).or_insert(0) += computed.flops,
        }
    }
    Ok(Audit { flops_by_format, permitted_flops, layers: layers.len() })
}

/// The index of every op by its name.
pub(super) fn ops_by_name(graph: &Graph) -> BTreeMap<&str, usize> {
    graph.ops.iter().enumerate().map(|(index, op)| (op.name.as_str(), index)).collect()
}

/// The tensor of an op's result in a network whose output has the name `output`.
pub(super) fn result_name<'a>(graph: &'a Graph, op: &Op, output: &'a str) -> &'a str {
    if op.output == graph.output { output } else { &graph.value(op.output).name }
}

/// The layers of every op, in the network's order. Layer names begin with the op's.
fn attribute<'l>(layers: &'l [ParsedLayer], graph: &Graph) -> Result<Vec<Vec<&'l ParsedLayer>>, AuditError> {
    let names = ops_by_name(graph);
    let mut by_op = vec![Vec::new(); graph.ops.len()];
    for layer in
        layers.iter().filter(|layer| layer.outputs.iter().any(|tensor| tensor.element != ParsedElement::Discrete))
    {
        let described = || (layer.name.clone(), layer.type_name.clone());
        if layer.kind == LayerKind::Other || layer.outputs.iter().any(|tensor| tensor.element == ParsedElement::Unknown)
        {
            let (layer, type_name) = described();
            return Err(AuditError::UnknownLayer { layer, type_name });
        }
        match owner(&layer.name, &names) {
            Some(op) => by_op[op].push(layer),
            None if matches!(layer.kind, LayerKind::Movement | LayerKind::Source) => {}
            None => {
                let (layer, type_name) = described();
                return Err(AuditError::Stray { layer, type_name });
            }
        }
    }
    Ok(by_op)
}

/// The op whose name is the layer's name or a path above it. The parser numbers further layers of one node: `gelu_7`.
pub(super) fn owner(layer: &str, names: &BTreeMap<&str, usize>) -> Option<usize> {
    let numbered = layer.rsplit_once('_').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(op) = numbered.and_then(|(name, _)| names.get(name)) {
        return Some(*op);
    }
    let mut path = layer;
    loop {
        if let Some(op) = names.get(path) {
            return Some(*op);
        }
        path = path.rsplit_once('/')?.0;
    }
}

/// The types that the policy requests for one op.
#[derive(Clone, Copy)]
struct RequestedTypes {
    rounding: Rounding,
    tf32: bool,
}

impl RequestedTypes {
    /// The format in which a product whose result is of type `element` is computed.
    fn of_product(self, element: Format) -> Format {
        if element == Format::Fp32 && self.tf32 { Format::Tf32 } else { element }
    }

    /// Whether arithmetic of an op may be of type `element`. A product's epilogue may also be in the type of its result.
    fn allows_arithmetic(self, element: Format, product: bool) -> bool {
        let Rounding { compute, accumulate, store } = self.rounding;
        [compute, accumulate].map(Format::storage).contains(&element) || (product && store.storage() == element)
    }
}

/// The floating-point tensors of the network by name.
fn results(layers: &[ParsedLayer]) -> BTreeMap<&str, Format> {
    let tensors = layers.iter().flat_map(|layer| &layer.outputs);
    tensors.filter_map(|tensor| Some((tensor.name.as_str(), tensor.element.format()?))).collect()
}

/// The FLOPs of an op by layer.
fn computed(op: &Op, layers: &[&ParsedLayer], asked: RequestedTypes, flops: u64) -> Result<Vec<Computed>, AuditError> {
    let floats = |kind| layers.iter().copied().filter(move |layer| layer.kind == kind).filter_map(float);
    let arithmetic: Vec<(Format, bool)> = floats(LayerKind::Arithmetic).collect();
    let mut computed = if op.class.is_product() {
        let products: Vec<(Format, bool)> = floats(LayerKind::Product).collect();
        let as_asked = |element| (asked.of_product(element), asked.of_product(element) == asked.rounding.compute);
        share(flops, &products, as_asked)
    } else {
        share(flops, &arithmetic, |element| (element, asked.allows_arithmetic(element, false)))
    };
    if computed.is_empty() && flops > 0 {
        return Err(AuditError::Absent { op: op.name.clone() });
    }
    if op.class.is_product() {
        // An epilogue's operations are not in the op's count, but its types are judged too.
        let wrong = arithmetic.iter().filter(|(element, _)| !asked.allows_arithmetic(*element, true));
        computed.extend(wrong.map(|&(format, permitted)| Computed { format, flops: 0, asked: false, permitted }));
    }
    Ok(computed)
}

/// The format that a layer computes in, and whether it is only permitted: the one that was set, or else that of its first
/// floating-point output.
fn float(layer: &ParsedLayer) -> Option<(Format, bool)> {
    let format = layer.precision.or_else(|| layer.outputs.iter().find_map(|tensor| tensor.element.format()))?;
    Some((format, layer.permitted))
}

/// `flops` shared evenly among the layers that do them, each as `judge` sees its type.
fn share(flops: u64, layers: &[(Format, bool)], judge: impl Fn(Format) -> (Format, bool)) -> Vec<Computed> {
    let count = layers.len() as u64;
    let part = |index: usize| (flops / count) + u64::from((index as u64) < flops % count);
    let judged = layers.iter().enumerate().map(|(index, &(element, permitted))| {
        let (format, asked) = judge(element);
        Computed { format, flops: part(index), asked, permitted }
    });
    judged.collect()
}
