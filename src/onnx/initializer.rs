//! The weights of an exported model: every parameter once in each type that it is used in, converted on demand.

use std::collections::BTreeSet;

use super::ExportError;
use super::element::{DataType, encode, encode_transposed};
use super::proto::{EXTERNAL, StringStringEntryProto, TensorProto};
use crate::graph::cost::param_formats;
use crate::graph::{Graph, ParamId, PolicyError, PrecisionPolicy};
use crate::model::Model;

/// Weights in a file of their own begin at multiples of this many bytes, so that a runtime can map them.
pub const ALIGNMENT: u64 = 4096;

/// The types in which each parameter is used.
#[derive(Debug)]
pub(super) struct ParamTypes(BTreeSet<(usize, DataType)>);

impl ParamTypes {
    pub fn of(graph: &Graph, policy: &PrecisionPolicy) -> Result<Self, PolicyError> {
        let roundings = graph.roundings(policy)?;
        let formats = graph.ops.iter().zip(roundings).flat_map(|(op, rounding)| param_formats(op, rounding));
        Ok(ParamTypes(formats.map(|(id, format)| (id.0, format.into())).collect()))
    }

    /// The parameter's name, with the type behind it if it is used in two.
    pub fn name(&self, graph: &Graph, id: ParamId, element: DataType) -> String {
        let name = &graph.param(id).name;
        match self.0.iter().filter(|(param, _)| *param == id.0).count() > 1 {
            true => format!("{name}/{}", element.name()),
            false => name.clone(),
        }
    }

    /// One initializer per weight, each with its offset in a file that holds all of them.
    pub fn initializers<'m>(&self, model: &'m Model) -> Vec<Initializer<'m>> {
        let mut end = 0u64;
        let place = |&(param, element): &(usize, DataType)| {
            let id = ParamId(param);
            let offset = end.next_multiple_of(ALIGNMENT);
            let name = self.name(&model.graph, id, element);
            let transposed = model.graph.is_product_weight(id);
            let initializer = Initializer { model, param: id, element, transposed, name, offset };
            end = offset + initializer.byte_count();
            initializer
        };
        self.0.iter().map(place).collect()
    }
}

/// One weight of an exported model. It holds no elements: [`Initializer::bytes`] reads and converts them.
#[derive(Debug, Clone)]
pub struct Initializer<'m> {
    model: &'m Model,
    param: ParamId,
    element: DataType,
    transposed: bool,
    name: String,
    offset: u64,
}

impl Initializer<'_> {
    /// The parameter's name, `layer.3/attention/qkv/weight`, followed by its type (`/fp16`) only if the parameter is stored
    /// in two types.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions; those of a linear layer's weight are `[in, out]`.
    pub fn dims(&self) -> Vec<usize> {
        let mut dims = self.model.graph.param(self.param).dims.clone();
        if self.transposed {
            dims.reverse();
        }
        dims
    }

    /// Element type.
    pub fn element(&self) -> DataType {
        self.element
    }

    /// Length of [`Initializer::bytes`].
    pub fn byte_count(&self) -> u64 {
        self.model.graph.param(self.param).elements() as u64 * self.element.bytes()
    }

    /// Where the weight begins in a file that holds all weights, bytes; a multiple of [`ALIGNMENT`].
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The elements, row-major and little-endian, read from the checkpoint (or drawn at random) and rounded to the element
    /// type.
    ///
    /// # Errors
    /// [`ExportError::Model`] naming the tensor.
    pub fn bytes(&self) -> Result<Vec<u8>, ExportError> {
        let values = self.model.param(self.param)?;
        Ok(match (self.transposed, self.model.graph.param(self.param).dims.as_slice()) {
            (true, [.., columns]) => encode_transposed(&values, *columns, self.element),
            _ => encode(&values, self.element),
        })
    }

    /// The tensor without its elements.
    pub(super) fn declaration(&self) -> TensorProto {
        TensorProto {
            dims: self.dims().iter().map(|&size| size as i64).collect(),
            data_type: Some(self.element.code()),
            name: Some(self.name.clone()),
            ..TensorProto::default()
        }
    }

    /// The tensor with its elements in the file `location`.
    pub(super) fn external(&self, location: &str) -> TensorProto {
        TensorProto {
            external_data: vec![
                StringStringEntryProto::new("location", location),
                StringStringEntryProto::new("offset", self.offset),
                StringStringEntryProto::new("length", self.byte_count()),
            ],
            data_location: Some(EXTERNAL),
            ..self.declaration()
        }
    }
}
