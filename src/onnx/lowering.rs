//! The walk over the graph: every op becomes the ONNX nodes of its kind, and its output a tensor named after its value.
//!
//! An op becomes one operator if the policy rounds nothing inside it, and otherwise elementary nodes, each in its own type.
//! Only `Cast` nodes convert between types. The main node of an op has the op's name; the names of the nodes around it
//! begin with that name.

use std::collections::BTreeMap;

use super::assembly::{Assembly, NamedTensor, OperatorCall};
use super::element::DataType;
use super::extent::Extent;
use super::initializer::ParamTypes;
use super::proto::AttributeProto;
use super::{ATTENTION_MASK, Dialect, INPUT_IDS, Typing, output_name};
use crate::graph::{Format, Graph, Mask, Op, OpKind, ParamId, PolicyError, PrecisionPolicy, ReductionOrder, Rounding};

/// The state that all kinds of op share: the ONNX graph so far and what it is made from.
pub(super) struct Lowering<'a> {
    pub assembly: Assembly,
    pub graph: &'a Graph,
    pub extent: Extent,
    pub dialect: Dialect,
    pub order: ReductionOrder,
    weights: &'a ParamTypes,
    /// The tensor of every value, by value id.
    values: Vec<NamedTensor>,
    /// Queries, keys and values by the name of the packed projection they are split from.
    heads: BTreeMap<String, [NamedTensor; 3]>,
    sequence_length: Option<NamedTensor>,
    key_mask: Option<NamedTensor>,
    causal_mask: Option<NamedTensor>,
}

/// An op with the types of its tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypedOp<'a> {
    pub definition: &'a Op,
    pub compute: DataType,
    pub accumulate: DataType,
    pub store: DataType,
    /// The types that the policy requests, which the tensors have unless a builder sets them.
    pub requested: Rounding,
}

impl TypedOp<'_> {
    fn new(op: &Op, requested: Rounding, typing: Typing) -> TypedOp<'_> {
        let written = match typing {
            Typing::InModel => requested,
            Typing::PerLayer => Rounding::uniform(Format::Fp32),
        };
        TypedOp {
            definition: op,
            compute: written.compute.into(),
            accumulate: written.accumulate.into(),
            store: written.store.into(),
            requested,
        }
    }

    /// The op's name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// The name of a node or tensor that is part of the op.
    pub fn part(&self, part: &str) -> String {
        format!("{}/{part}", self.definition.name)
    }

    /// Whether the op's arithmetic is plain FP32, which ONNX's compound operators express in one node.
    pub fn is_plain_fp32(&self) -> bool {
        [self.requested.compute, self.requested.accumulate].map(DataType::from) == [DataType::Fp32; 2]
    }
}

/// Lowers `graph`; the output tensor gets its name by [`output_name`].
pub(super) fn lower(
    graph: &Graph,
    policy: &PrecisionPolicy,
    extent: Extent,
    weights: &ParamTypes,
    dialect: Dialect,
) -> Result<Assembly, PolicyError> {
    let roundings = graph.roundings(policy)?;
    let element = |format: &Format| match dialect.typing {
        Typing::InModel => (*format).into(),
        Typing::PerLayer => DataType::Fp32,
    };
    let formats = graph.value_formats(&roundings);
    let mut values: Vec<NamedTensor> = graph
        .values
        .iter()
        .zip(&formats)
        .map(|(value, format)| NamedTensor::new(&value.name, element(format)))
        .collect();
    output_name(graph.output_kind).clone_into(&mut values[graph.output.0].name);
    let mut lowering = Lowering {
        assembly: Assembly::default(),
        graph,
        extent,
        dialect,
        order: policy.layer_norm_reduction,
        weights,
        values,
        heads: BTreeMap::new(),
        sequence_length: None,
        key_mask: None,
        causal_mask: None,
    };
    for (op, rounding) in graph.ops.iter().zip(roundings) {
        lowering.op(TypedOp::new(op, rounding, dialect.typing));
    }
    Ok(lowering.assembly)
}

impl Lowering<'_> {
    fn op(&mut self, op: TypedOp<'_>) {
        let first = self.assembly.nodes.len();
        let computed = match op.definition.kind {
            OpKind::Embedding { word, position, token_type } => self.embedding(&op, [word, position], token_type),
            OpKind::LayerNorm { gamma, beta, epsilon } => self.layer_norm(&op, [gamma, beta], epsilon),
            OpKind::Linear { weight, bias, .. } => self.linear(&op, weight, bias),
            OpKind::AttentionScores { scale, .. } => self.attention_scores(&op, scale),
            OpKind::AttentionContext { .. } => self.attention_context(&op),
            OpKind::Softmax(mask) => self.softmax(&op, mask),
            OpKind::Activation(function) => self.activation(&op, function),
            OpKind::Tanh => self.tanh(&op),
            OpKind::Residual => self.residual(&op),
            OpKind::Select(token) => self.select(&op, token),
        };
        let stored = self.stored(&op, &computed);
        let name = self.values[op.definition.output.0].name.clone();
        self.assembly.name_output(first, &stored, &name);
    }

    /// The result of the op, in the type that it stores.
    pub fn stored(&mut self, op: &TypedOp<'_>, computed: &NamedTensor) -> NamedTensor {
        match computed.element == op.store {
            true => computed.clone(),
            false => self.assembly.cast(op.part("cast"), computed, op.store),
        }
    }

    /// An input as it was stored.
    pub fn input(&self, op: &TypedOp<'_>, index: usize) -> NamedTensor {
        self.values[op.definition.inputs[index].0].clone()
    }

    /// An input in the type the op computes in.
    pub fn operand(&mut self, op: &TypedOp<'_>, index: usize) -> NamedTensor {
        let input = self.input(op, index);
        self.assembly.converted(&input, op.compute)
    }

    /// A parameter in one of the types that it is stored in.
    pub fn weight(&self, id: ParamId, element: DataType) -> NamedTensor {
        NamedTensor::new(self.weights.name(self.graph, id, element), element)
    }

    /// Whether a weight is stored `[in, out]`, as `MatMul` takes it.
    pub fn is_transposed(&self, id: ParamId) -> bool {
        self.graph.is_product_weight(id)
    }

    /// Tokens per sequence, int64 `[1]`.
    pub fn sequence_length(&mut self) -> NamedTensor {
        let (extent, dialect, assembly) = (self.extent, self.dialect, &mut self.assembly);
        self.sequence_length
            .get_or_insert_with(|| {
                let span = extent.sequence();
                if span.smallest == span.largest {
                    return assembly.integers(&[span.largest as i64]);
                }
                let ids = NamedTensor::new(INPUT_IDS, dialect.ids());
                let shape = OperatorCall::new("Shape", &[&ids]).yielding(DataType::Int64);
                if dialect.opset.slices_shapes() {
                    let second = shape.with(AttributeProto::int("start", 1)).with(AttributeProto::int("end", 2));
                    return assembly.emit("shape/sequence", second);
                }
                let shape = assembly.emit("shape/tokens", shape);
                let [start, end, axis] = [[1], [2], [0]].map(|value| assembly.integers(&value));
                assembly.emit("shape/sequence", OperatorCall::new("Slice", &[&shape, &start, &end, &axis]))
            })
            .clone()
    }

    /// The first rows of `table`, as many as a sequence has tokens.
    pub fn rows_of_sequence(&mut self, name: String, table: &NamedTensor) -> NamedTensor {
        let ends = self.sequence_length();
        let start = self.assembly.integers(&[0]);
        // Along axis 0, from 0.
        self.assembly.emit(name, OperatorCall::new("Slice", &[table, &start, &ends, &start]))
    }

    /// Which keys a query may attend to: bool, broadcastable to `[batch, heads, sequence, sequence]`. Made once per mask.
    /// `None` where that is all of them.
    pub fn permitted(&mut self, mask: Mask) -> Option<NamedTensor> {
        match mask {
            Mask::Padding => self.keys(),
            Mask::Causal => {
                if self.causal_mask.is_none() {
                    let keys = self.keys();
                    self.causal_mask = Some(self.causal(keys.as_ref()));
                }
                self.causal_mask.clone()
            }
        }
    }

    /// Keys that are no padding; `None` where no row has any.
    fn keys(&mut self) -> Option<NamedTensor> {
        if self.dialect.attention_mask && self.key_mask.is_none() {
            let tokens = NamedTensor::new(ATTENTION_MASK, self.dialect.ids());
            let tokens = self.assembly.cast("mask/tokens", &tokens, DataType::Bool);
            let axes = self.assembly.integers(&[1, 2]);
            self.key_mask = Some(self.assembly.emit("mask/keys", OperatorCall::new("Unsqueeze", &[&tokens, &axes])));
        }
        self.key_mask.clone()
    }

    /// Index of the last token of every sequence, `[batch, 1]`: the number of ones in its mask, less one.
    pub fn last_tokens(&mut self) -> NamedTensor {
        let mask = NamedTensor::new(ATTENTION_MASK, self.dialect.ids());
        let mask = self.assembly.converted(&mask, DataType::Int64);
        let (axis, one) = (self.assembly.integers(&[1]), self.assembly.index(1));
        let lengths = self.assembly.emit("mask/lengths", OperatorCall::new("ReduceSum", &[&mask, &axis]));
        self.assembly.emit("mask/last", OperatorCall::new("Sub", &[&lengths, &one]))
    }

    /// Index of the last token of every sequence that has another id, `[batch, 1]`; 0 where there is none.
    pub fn last_tokens_but(&mut self, id: u32) -> NamedTensor {
        let ids = NamedTensor::new(INPUT_IDS, self.dialect.ids());
        let ids = self.assembly.converted(&ids, DataType::Int64);
        let id = self.assembly.index(i64::from(id));
        let same = OperatorCall::new("Equal", &[&ids, &id]).yielding(DataType::Bool);
        let same = self.assembly.emit("pool/same", same);
        let mut pooled = self.assembly.emit("pool/other", OperatorCall::new("Not", &[&same]));
        if self.dialect.attention_mask {
            let tokens = NamedTensor::new(ATTENTION_MASK, self.dialect.ids());
            let tokens = self.assembly.cast("pool/tokens", &tokens, DataType::Bool);
            pooled = self.assembly.emit("pool/both", OperatorCall::new("And", &[&pooled, &tokens]));
        }
        let pooled = self.assembly.cast("pool/as_index", &pooled, DataType::Int64);
        let positions = self.token_positions("pool/positions");
        let indices = self.assembly.emit("pool/indices", OperatorCall::new("Mul", &[&pooled, &positions]));
        self.reduce("pool/last".to_owned(), "ReduceMax", &indices)
    }

    /// The numbers of the tokens of a sequence, from 0.
    fn token_positions(&mut self, name: &str) -> NamedTensor {
        let span = self.extent.sequence();
        let count: Vec<i64> = (0..span.largest as i64).collect();
        let positions = self.assembly.numbered("positions", &count);
        match span.smallest == span.largest {
            true => positions,
            false => self.rows_of_sequence(name.to_owned(), &positions),
        }
    }

    /// Those of `keys` that are not after the query.
    fn causal(&mut self, keys: Option<&NamedTensor>) -> NamedTensor {
        let positions = self.token_positions("mask/positions");
        let axes = self.assembly.integers(&[1]);
        let queries = self.assembly.emit("mask/queries", OperatorCall::new("Unsqueeze", &[&positions, &axes]));
        let not_after = OperatorCall::new("GreaterOrEqual", &[&queries, &positions]).yielding(DataType::Bool);
        let not_after = self.assembly.emit("mask/causal", not_after);
        match keys {
            Some(keys) => self.assembly.emit("mask/permitted", OperatorCall::new("And", &[keys, &not_after])),
            None => not_after,
        }
    }

    /// The parts of a packed projection as it is stored: queries `[batch, heads, sequence, size]`, keys
    /// `[batch, heads, size, sequence]` and values shaped like the queries. Made once per projection.
    pub fn heads(&mut self, packed: &NamedTensor) -> [NamedTensor; 3] {
        if let Some(heads) = self.heads.get(&packed.name) {
            return heads.clone();
        }
        let dimensions = self.graph.dimensions;
        let below = |part: &str| format!("{}/{part}", packed.name);
        let parts = ["query", "key", "value"].map(below);
        let parts = self.assembly.split(below("split"), packed, parts, self.dialect.opset.is_18());
        // 0 stands for the input's own dimension.
        let shape = [0, 0, dimensions.heads as i64, (dimensions.hidden / dimensions.heads) as i64];
        let shape = self.assembly.integers(&shape);
        let orders: [[i64; 4]; 3] = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]];
        let mut orders = orders.iter();
        let heads = parts.map(|part| {
            let split =
                self.assembly.emit(format!("{}/heads", part.name), OperatorCall::new("Reshape", &[&part, &shape]));
            let order = orders.next().map_or(&[][..], |order| &order[..]);
            let turn = OperatorCall::new("Transpose", &[&split]).with(AttributeProto::ints("perm", order));
            self.assembly.emit(format!("{}/transpose", part.name), turn)
        });
        self.heads.insert(packed.name.clone(), heads.clone());
        heads
    }
}
