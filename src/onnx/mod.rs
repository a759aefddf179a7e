//! ONNX export: the graph under any precision policy, which becomes explicit element types and `Cast` nodes. TensorRT and
//! ONNX Runtime build exactly what the exported file says. [`deviations()`] lists what ONNX cannot express of the policy.
//!
//! The inputs are [`INPUT_IDS`], [`ATTENTION_MASK`] but where a dialect has none, and [`TOKEN_TYPE_IDS`] where a dialect has them
//! as an input. The one output is `logits` or `last_hidden_state`, in the type that
//! the last op stores. Node names are op names (`layer.3/attention/softmax`), tensors are named after the graph's values,
//! weights after its parameters.

mod activation;
mod assembly;
mod deviations;
mod dialect;
mod element;
mod elementwise;
mod extent;
mod initializer;
mod lowering;
mod normalisation;
mod products;
mod proto;
mod write;

use std::path::PathBuf;

use prost::Message;
use thiserror::Error;

pub use deviations::deviations;
pub use dialect::{Dialect, Opset, Typing};
pub use element::DataType;
pub use extent::{DimensionRange, Extent};
pub use initializer::{ALIGNMENT, Initializer};
pub(crate) use proto::NodeProto;
pub use write::WrittenModel;

use crate::digest::sha256;
use crate::files::FileError;
use crate::graph::{Format, OutputKind, PolicyError, PrecisionPolicy, Preset};
use crate::model::{Model, ModelError};
use initializer::ParamTypes;
use proto::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};

/// Token ids: int64 (int32 in [`Dialect::WEAKLY_TYPED`]) `[batch, sequence]`.
pub const INPUT_IDS: &str = "input_ids";

/// 1 for a token, 0 for padding, which follows the tokens: of the type of the ids, `[batch, sequence]`, as in Hugging Face
/// models.
pub const ATTENTION_MASK: &str = "attention_mask";

/// Type of each token: of the type of the ids, `[batch, sequence]`.
pub const TOKEN_TYPE_IDS: &str = "token_type_ids";

/// File name of the weights in [`Export::skeleton`].
pub const SKELETON_WEIGHTS: &str = "weights";

/// Dimensions are 64-bit integers in ONNX, and 32-bit ones in the libraries that read it.
const LARGEST_DIMENSION: usize = i32::MAX as usize;

/// Longest protobuf message, bytes: 2 GiB less one.
const PROTOBUF_LIMIT: u64 = i32::MAX as u64;

/// A model that cannot be exported.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ExportError {
    /// The policy does not fit the graph.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A weight could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More tokens than the model has positions for.
    #[error("sequence length {sequence} is beyond the {positions} positions `{model}` has; export a shorter one")]
    Positions { model: String, sequence: usize, positions: usize },
    /// No shape lies in the extent.
    #[error(
        "no shape lies between batch {batch}, sequence {sequence}: both must begin at 1 or more and end no lower than \
         they begin"
    )]
    Empty { batch: DimensionRange, sequence: DimensionRange },
    /// No library can execute such a shape.
    #[error(
        "a dimension of {size} is beyond {LARGEST_DIMENSION}, the largest that libraries take; choose a smaller one"
    )]
    Huge { size: usize },
    /// The model is too large for one protobuf message.
    #[error(
        "the model is {bytes} bytes with its weights inside, protobuf ends at {limit}; `Export::write` puts the weights \
         in a file of their own"
    )]
    TooLarge { bytes: u64, limit: u64 },
    /// The file of the weights could not be named in the model.
    #[error("{path}: the name of a model whose weights lie beside it must be UTF-8; choose another")]
    FileName { path: PathBuf },
    /// A file could not be written.
    #[error("{0}; choose a file in a folder that exists and has room")]
    Io(#[from] FileError),
}

/// A model lowered to ONNX under a policy. It holds the nodes and no weights.
#[derive(Debug)]
pub struct Export<'m> {
    model: &'m Model,
    policy: PrecisionPolicy,
    extent: Extent,
    dialect: Dialect,
    /// Without weights.
    graph: GraphProto,
    weights: Vec<Initializer<'m>>,
    outputs: Vec<NodeOutput>,
    output_format: Format,
    deviations: Vec<String>,
    inline_limit: u64,
}

/// One output of a node, to compare what a parser reads with what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOutput {
    /// Node name, which is or begins with that of its op.
    pub node: String,
    /// ONNX operator.
    pub operator: String,
    /// Tensor name.
    pub tensor: String,
    /// Element type of the tensor.
    pub element: DataType,
}

impl<'m> Export<'m> {
    /// Lowers the graph in the default dialect. Reads no weights.
    ///
    /// # Errors
    /// [`ExportError::Policy`] when the policy does not fit the graph, and those of [`check_extent`].
    pub fn new(model: &'m Model, policy: &PrecisionPolicy, extent: Extent) -> Result<Self, ExportError> {
        Export::in_dialect(model, policy, extent, Dialect::default())
    }

    /// Lowers the graph for a runtime that reads `dialect`. Reads no weights.
    ///
    /// # Errors
    /// Those of [`Export::new`].
    pub fn in_dialect(
        model: &'m Model,
        policy: &PrecisionPolicy,
        extent: Extent,
        dialect: Dialect,
    ) -> Result<Self, ExportError> {
        check_extent(model, extent)?;
        let graph = &model.graph;
        let dialect = dialect.for_graph(graph);
        let typed = match dialect.typing {
            Typing::InModel => policy,
            Typing::PerLayer => &PrecisionPolicy::preset(Preset::Fp32),
        };
        let weights = ParamTypes::of(graph, typed)?;
        let output = output_name(graph.output_kind);
        let output_format = graph.value_formats(&graph.roundings(typed)?)[graph.output.0];
        let assembly = lowering::lower(graph, policy, extent, &weights, dialect)?;
        let outputs = node_outputs(&assembly);
        let shape = extent.value(graph.value(graph.output).shape);
        let lowered = GraphProto {
            node: assembly.nodes,
            name: Some(model.name.clone()),
            initializer: assembly.constants.into_values().collect(),
            input: dialect.inputs().map(|name| value_info(name, dialect.ids(), extent.tokens())).collect(),
            output: vec![value_info(output, output_format.into(), shape)],
        };
        Ok(Export {
            model,
            policy: policy.clone(),
            extent,
            dialect,
            graph: lowered,
            weights: weights.initializers(model),
            outputs,
            output_format,
            deviations: deviations(graph, policy)?,
            inline_limit: PROTOBUF_LIMIT,
        })
    }

    /// Sets the size above which [`Export::write`] puts the weights in a file of their own, bytes; protobuf's limit of
    /// 2 GiB unless said otherwise.
    #[must_use]
    pub fn with_inline_limit(mut self, bytes: u64) -> Self {
        self.inline_limit = bytes.min(PROTOBUF_LIMIT);
        self
    }

    /// `logits` or `last_hidden_state`.
    pub fn output_name(&self) -> &'static str {
        output_name(self.model.graph.output_kind)
    }

    /// The format the last op stores: the type of the output tensor.
    pub fn output_format(&self) -> Format {
        self.output_format
    }

    /// How it is written.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The shapes that the model accepts.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The weights, in the order of their offsets. Small constants (shapes, scales) are part of the nodes' message.
    pub fn initializers(&self) -> impl Iterator<Item = &Initializer<'m>> {
        self.weights.iter()
    }

    /// Every output of every node in execution order, with its element type.
    pub fn node_outputs(&self) -> &[NodeOutput] {
        &self.outputs
    }

    /// What ONNX cannot express of the policy; see [`deviations()`].
    pub fn deviations(&self) -> &[String] {
        &self.deviations
    }

    /// The model with its weights declared as external data: file [`SKELETON_WEIGHTS`], offsets and lengths those of
    /// [`Export::initializers`]. Some hundred kilobytes.
    pub fn skeleton(&self) -> Vec<u8> {
        self.with_weights_in(SKELETON_WEIGHTS).encode_to_vec()
    }

    /// The skeleton with each node replaced by what `rewrite` returns for it: for a runtime that executes the graph as meant
    /// only if it is written differently. Inputs, outputs and weights stay.
    pub(crate) fn rewritten_skeleton(&self, rewrite: impl FnMut(NodeProto) -> Vec<NodeProto>) -> Vec<u8> {
        let mut model = self.with_weights_in(SKELETON_WEIGHTS);
        if let Some(graph) = &mut model.graph {
            graph.node = std::mem::take(&mut graph.node).into_iter().flat_map(rewrite).collect();
        }
        model.encode_to_vec()
    }

    /// SHA-256 of the skeleton without its descriptions: it covers nodes, types, shapes and their ranges, but no name of the
    /// model or the policy and no digest of the weights. Two policies that lead to the same nodes have the same digest.
    pub fn digest(&self) -> String {
        let mut model = self.with_weights_in(SKELETON_WEIGHTS);
        model.doc_string = None;
        model.producer_version = None;
        model.metadata_props = self.ranges();
        if let Some(graph) = &mut model.graph {
            graph.name = None;
        }
        sha256(&model.encode_to_vec())
    }

    /// The whole model with its weights in the file `location`.
    fn with_weights_in(&self, location: &str) -> ModelProto {
        let mut graph = self.graph.clone();
        graph.initializer.extend(self.weights.iter().map(|weight| weight.external(location)));
        ModelProto { graph: Some(graph), ..self.shell() }
    }

    /// Everything but the graph.
    fn shell(&self) -> ModelProto {
        let mut metadata = vec![
            StringStringEntryProto::new("mixprec.model", &self.model.name),
            StringStringEntryProto::new("mixprec.weights", self.model.weights_identity()),
            StringStringEntryProto::new("mixprec.policy", &self.policy.name),
        ];
        metadata.extend(self.ranges());
        let numbered = self.deviations.iter().enumerate();
        metadata.extend(
            numbered.map(|(n, text)| StringStringEntryProto::new(&format!("mixprec.deviation.{}", n + 1), text)),
        );
        let summary = format!("{}, precision policy {}", self.model.provenance, self.policy.name);
        let doc = std::iter::once(&summary).chain(&self.deviations).map(String::as_str).collect::<Vec<_>>().join("\n");
        ModelProto {
            ir_version: Some(self.dialect.opset.ir_version()),
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            doc_string: Some(doc),
            graph: None,
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(self.dialect.opset.number()),
            }],
            metadata_props: metadata,
        }
    }

    fn ranges(&self) -> Vec<StringStringEntryProto> {
        vec![
            StringStringEntryProto::new("mixprec.batch", self.extent.batch()),
            StringStringEntryProto::new("mixprec.sequence", self.extent.sequence()),
        ]
    }
}

/// Checks that the model accepts every shape of the extent, and that the file format can express them.
///
/// # Errors
/// [`ExportError::Empty`], [`ExportError::Huge`] and [`ExportError::Positions`].
pub fn check_extent(model: &Model, extent: Extent) -> Result<(), ExportError> {
    let (batch, sequence) = (extent.batch(), extent.sequence());
    if [batch, sequence].iter().any(|span| span.smallest == 0 || span.smallest > span.largest) {
        return Err(ExportError::Empty { batch, sequence });
    }
    if let Some(size) = [batch.largest, sequence.largest].into_iter().find(|&size| size > LARGEST_DIMENSION) {
        return Err(ExportError::Huge { size });
    }
    let positions = model.graph.dimensions.positions;
    match sequence.largest > positions {
        true => Err(ExportError::Positions { model: model.name.clone(), sequence: sequence.largest, positions }),
        false => Ok(()),
    }
}

/// Name of an exported graph's output: `logits` or `last_hidden_state`.
pub(crate) fn output_name(kind: OutputKind) -> &'static str {
    if kind == OutputKind::Hidden { "last_hidden_state" } else { "logits" }
}

fn node_outputs(assembly: &assembly::Assembly) -> Vec<NodeOutput> {
    let outputs = |node: &NodeProto| {
        let (name, operator) = (node.name.clone().unwrap_or_default(), node.op_type.clone().unwrap_or_default());
        let known = node.output.iter().filter_map(|tensor| assembly.elements.get_key_value(tensor));
        let known = known.map(move |(tensor, &element)| NodeOutput {
            node: name.clone(),
            operator: operator.clone(),
            tensor: tensor.clone(),
            element,
        });
        known.collect::<Vec<_>>()
    };
    assembly.nodes.iter().flat_map(outputs).collect()
}

fn value_info(name: &str, element: DataType, shape: TensorShapeProto) -> ValueInfoProto {
    let tensor = TensorTypeProto { elem_type: Some(element.code()), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
