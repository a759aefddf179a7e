//! An ONNX graph under construction: every tensor carries its element type, constants are written once.

use std::collections::{BTreeMap, HashSet};

use super::element::Element;
use super::proto::{AttributeProto, NodeProto, TensorProto};

/// A named tensor of known element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub name: String,
    pub element: Element,
}

impl Tensor {
    pub fn new(name: impl Into<String>, element: Element) -> Self {
        Tensor { name: name.into(), element }
    }
}

/// A call of an operator with one output, of the element type of its first input unless said otherwise.
pub(super) struct Call<'a> {
    operator: &'static str,
    inputs: Vec<&'a Tensor>,
    attributes: Vec<AttributeProto>,
    element: Element,
}

impl<'a> Call<'a> {
    pub fn new(operator: &'static str, inputs: &[&'a Tensor]) -> Self {
        let element = inputs.first().map_or(Element::Fp32, |tensor| tensor.element);
        Call { operator, inputs: inputs.to_vec(), attributes: Vec::new(), element }
    }

    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attributes.push(attribute);
        self
    }

    pub fn yielding(mut self, element: Element) -> Self {
        self.element = element;
        self
    }
}

/// Nodes and constants so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub nodes: Vec<NodeProto>,
    /// Small constants by name, so that the file does not depend on the order of their first use.
    pub constants: BTreeMap<String, TensorProto>,
    /// Element type of every node output, by tensor name.
    pub elements: BTreeMap<String, Element>,
    converted: HashSet<String>,
}

impl Assembly {
    /// Adds a node; its output is named as it is.
    pub fn emit(&mut self, name: impl Into<String>, call: Call<'_>) -> Tensor {
        let name = name.into();
        let output = Tensor::new(name.clone(), call.element);
        self.push(name, call, std::slice::from_ref(&output));
        output
    }

    /// Adds a `Split` along the last dimension of three into equal parts.
    pub fn split(&mut self, name: String, input: &Tensor, parts: [String; 3]) -> [Tensor; 3] {
        let outputs = parts.map(|part| Tensor::new(part, input.element));
        let count = outputs.len() as i64;
        let call = Call::new("Split", &[input])
            .with(AttributeProto::int("axis", -1))
            .with(AttributeProto::int("num_outputs", count));
        self.push(name, call, &outputs);
        outputs
    }

    fn push(&mut self, name: String, call: Call<'_>, outputs: &[Tensor]) {
        self.elements.extend(outputs.iter().map(|tensor| (tensor.name.clone(), tensor.element)));
        self.nodes.push(NodeProto {
            input: call.inputs.iter().map(|tensor| tensor.name.clone()).collect(),
            output: outputs.iter().map(|tensor| tensor.name.clone()).collect(),
            name: Some(name),
            op_type: Some(call.operator.to_owned()),
            attribute: call.attributes,
        });
    }

    /// `tensor` as `element`, through a `Cast` that all its readers share.
    pub fn converted(&mut self, tensor: &Tensor, element: Element) -> Tensor {
        if tensor.element == element {
            return tensor.clone();
        }
        let name = format!("{}/as_{}", tensor.name, element.name());
        match self.converted.insert(name.clone()) {
            true => self.cast(name, tensor, element),
            false => Tensor::new(name, element),
        }
    }

    /// Adds a `Cast`.
    pub fn cast(&mut self, name: impl Into<String>, tensor: &Tensor, element: Element) -> Tensor {
        let to = AttributeProto::int("to", i64::from(element.code()));
        self.emit(name, Call::new("Cast", &[tensor]).with(to).yielding(element))
    }

    /// A floating-point number.
    pub fn scalar(&mut self, element: Element, value: f64) -> Tensor {
        let label = if value == element.lowest() { "lowest".to_owned() } else { value.to_string() };
        self.constant(&label, element, Vec::new(), element.scalar(value))
    }

    /// A scalar index.
    pub fn index(&mut self, value: i64) -> Tensor {
        self.constant(&format!("scalar/{value}"), Element::Int64, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// A vector of integers.
    pub fn integers(&mut self, values: &[i64]) -> Tensor {
        let label = values.iter().map(ToString::to_string).collect::<Vec<_>>().join("_");
        self.numbered(&label, values)
    }

    /// A vector of integers under a name of its own.
    pub fn numbered(&mut self, label: &str, values: &[i64]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(label, Element::Int64, vec![values.len() as i64], bytes)
    }

    fn constant(&mut self, label: &str, element: Element, dims: Vec<i64>, bytes: Vec<u8>) -> Tensor {
        let name = format!("constant/{}/{label}", element.name());
        self.constants.entry(name.clone()).or_insert_with(|| TensorProto {
            dims,
            data_type: Some(element.code()),
            name: Some(name.clone()),
            raw_data: Some(bytes),
            ..TensorProto::default()
        });
        Tensor::new(name, element)
    }

    /// Names the last tensor of an op, whose nodes begin at `first`, after the value it is. A node may have taken the
    /// name before; its output then becomes `NAME/computed`: what the op computed before it was converted or moved.
    pub fn name_output(&mut self, first: usize, tensor: &Tensor, value: &str) -> Tensor {
        if tensor.name != value {
            self.rename(first, value, &format!("{value}/computed"));
            self.rename(first, &tensor.name, value);
        }
        Tensor::new(value, tensor.element)
    }

    fn rename(&mut self, first: usize, from: &str, to: &str) {
        let Some(element) = self.elements.remove(from) else { return };
        self.elements.insert(to.to_owned(), element);
        for node in &mut self.nodes[first..] {
            for name in node.input.iter_mut().chain(&mut node.output).filter(|name| *name == from) {
                to.clone_into(name);
            }
        }
    }
}
