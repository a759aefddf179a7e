//! An ONNX graph under construction. Every tensor carries its element type; equal constants are written once.

use std::collections::{BTreeMap, HashSet};

use super::element::DataType;
use super::proto::{AttributeProto, NodeProto, TensorProto};

/// A named tensor of known element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedTensor {
    pub name: String,
    pub element: DataType,
}

impl NamedTensor {
    pub fn new(name: impl Into<String>, element: DataType) -> Self {
        NamedTensor { name: name.into(), element }
    }
}

/// A call of an operator with one output, which has the element type of the first input unless set otherwise.
pub(super) struct OperatorCall<'a> {
    operator: &'static str,
    inputs: Vec<&'a NamedTensor>,
    attributes: Vec<AttributeProto>,
    element: DataType,
}

impl<'a> OperatorCall<'a> {
    pub fn new(operator: &'static str, inputs: &[&'a NamedTensor]) -> Self {
        let element = inputs.first().map_or(DataType::Fp32, |tensor| tensor.element);
        OperatorCall { operator, inputs: inputs.to_vec(), attributes: Vec::new(), element }
    }

    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attributes.push(attribute);
        self
    }

    pub fn yielding(mut self, element: DataType) -> Self {
        self.element = element;
        self
    }
}

/// The nodes and constants added so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub nodes: Vec<NodeProto>,
    /// Small constants by name, so that the file does not depend on the order of their first use.
    pub constants: BTreeMap<String, TensorProto>,
    /// Element type of every node output, by tensor name.
    pub elements: BTreeMap<String, DataType>,
    converted: HashSet<String>,
}

impl Assembly {
    /// Adds a node; its output has the node's name.
    pub fn emit(&mut self, name: impl Into<String>, call: OperatorCall<'_>) -> NamedTensor {
        let name = name.into();
        let output = NamedTensor::new(name.clone(), call.element);
        self.push(name, call, std::slice::from_ref(&output));
        output
    }

    /// Adds a `Split` along the last dimension of three into equal parts, whose number is an attribute if `counted`.
    pub fn split(&mut self, name: String, input: &NamedTensor, parts: [String; 3], counted: bool) -> [NamedTensor; 3] {
        let outputs = parts.map(|part| NamedTensor::new(part, input.element));
        let mut call = OperatorCall::new("Split", &[input]).with(AttributeProto::int("axis", -1));
        if counted {
            call = call.with(AttributeProto::int("num_outputs", outputs.len() as i64));
        }
        self.push(name, call, &outputs);
        outputs
    }

    fn push(&mut self, name: String, call: OperatorCall<'_>, outputs: &[NamedTensor]) {
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
    pub fn converted(&mut self, tensor: &NamedTensor, element: DataType) -> NamedTensor {
        if tensor.element == element {
            return tensor.clone();
        }
        let name = format!("{}/as_{}", tensor.name, element.name());
        match self.converted.insert(name.clone()) {
            true => self.cast(name, tensor, element),
            false => NamedTensor::new(name, element),
        }
    }

    /// Adds a `Cast`.
    pub fn cast(&mut self, name: impl Into<String>, tensor: &NamedTensor, element: DataType) -> NamedTensor {
        let to = AttributeProto::int("to", i64::from(element.code()));
        self.emit(name, OperatorCall::new("Cast", &[tensor]).with(to).yielding(element))
    }

    /// A floating-point number.
    pub fn scalar(&mut self, element: DataType, value: f64) -> NamedTensor {
        let label = if value == element.lowest() { "lowest".to_owned() } else { value.to_string() };
        self.constant(&label, element, Vec::new(), element.scalar(value))
    }

    /// A scalar index.
    pub fn index(&mut self, value: i64) -> NamedTensor {
        self.constant(&format!("scalar/{value}"), DataType::Int64, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// A vector of integers.
    pub fn integers(&mut self, values: &[i64]) -> NamedTensor {
        let label = values.iter().map(ToString::to_string).collect::<Vec<_>>().join("_");
        self.numbered(&label, values)
    }

    /// A vector of integers under a name of its own.
    pub fn numbered(&mut self, label: &str, values: &[i64]) -> NamedTensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(label, DataType::Int64, vec![values.len() as i64], bytes)
    }

    fn constant(&mut self, label: &str, element: DataType, dims: Vec<i64>, bytes: Vec<u8>) -> NamedTensor {
        let name = format!("constant/{}/{label}", element.name());
        self.constants.entry(name.clone()).or_insert_with(|| TensorProto {
            dims,
            data_type: Some(element.code()),
            name: Some(name.clone()),
            raw_data: Some(bytes),
            ..TensorProto::default()
        });
        NamedTensor::new(name, element)
    }

    /// Names the last tensor of an op after its value. The op's nodes begin at `first`. If one of them has that name
    /// already, its output becomes `NAME/computed`: the result of the op before it was converted or moved.
    pub fn name_output(&mut self, first: usize, tensor: &NamedTensor, value: &str) -> NamedTensor {
        if tensor.name != value {
            self.rename(first, value, &format!("{value}/computed"));
            self.rename(first, &tensor.name, value);
        }
        NamedTensor::new(value, tensor.element)
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
