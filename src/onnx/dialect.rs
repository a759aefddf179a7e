//! What a runtime reads of ONNX: its operator set, the type of the inputs, and where it takes the types of operations from.

use std::fmt;

use super::element::DataType;
use super::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};
use crate::graph::Graph;

/// An operator set that models are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Opset {
    /// ONNX 1.8 and TensorRT 8: layer norm and GELU are written out.
    V13,
    /// ONNX 1.12, the first with `LayerNormalization`: GELU is written out.
    V17,
    /// ONNX 1.15, the first with `Gelu`; TensorRT-RTX 1.7 and ONNX Runtime 1.32 know it.
    #[default]
    V20,
}

impl Opset {
    /// Every operator set, oldest first.
    pub const ALL: [Opset; 3] = [Opset::V13, Opset::V17, Opset::V20];

    /// Its number.
    pub fn number(self) -> i64 {
        match self {
            Opset::V13 => 13,
            Opset::V17 => 17,
            Opset::V20 => 20,
        }
    }

    /// The file format of the ONNX release that brought it, which every reader of the operator set knows.
    pub(super) fn ir_version(self) -> i64 {
        match self {
            Opset::V13 => 7,
            Opset::V17 => 8,
            // That of ONNX 1.16.
            Opset::V20 => 10,
        }
    }

    /// Whether `Shape` takes a part of the dimensions (from 15 on).
    pub(super) fn slices_shapes(self) -> bool {
        self >= Opset::V17
    }

    /// Whether `LayerNormalization` exists (from 17 on).
    pub(super) fn has_layer_norm(self) -> bool {
        self >= Opset::V17
    }

    /// Whether reductions take their axes as an input, and `Split` the number of its parts (both from 18 on; `ReduceSum`
    /// from 13 on).
    pub(super) fn is_18(self) -> bool {
        self >= Opset::V20
    }

    /// Whether `Gelu` exists (from 20 on).
    pub(super) fn has_gelu(self) -> bool {
        self >= Opset::V20
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// Where a runtime takes the types of operations from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Typing {
    /// From the model: every tensor has the policy's type, and `Cast` nodes convert.
    #[default]
    InModel,
    /// From its builder, layer by layer: every tensor of the model is FP32. Operations are written as far apart as the policy
    /// needs it, in the form that PyTorch exports them in, which a builder recognises and fuses.
    PerLayer,
}

/// What a runtime reads of ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Operator set.
    pub opset: Opset,
    /// Where the types of operations are.
    pub typing: Typing,
    /// Whether ids and mask are int32 instead of int64, for a runtime without 64-bit integers.
    pub narrow_ids: bool,
    /// Whether there is an attention mask as an input. Without one, every row is full.
    pub attention_mask: bool,
    /// Whether the types of tokens are an input, for a graph that has any. Without one, every token is of type 0.
    pub token_types: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect {
            opset: Opset::default(),
            typing: Typing::default(),
            narrow_ids: false,
            attention_mask: true,
            token_types: false,
        }
    }
}

impl Dialect {
    /// That of TensorRT before 10: weakly typed networks, no 64-bit integers. Layer norms are written out for every policy,
    /// because those of opset 17 compute in FP32 unless told otherwise.
    pub const WEAKLY_TYPED: Dialect = Dialect {
        opset: Opset::V13,
        typing: Typing::PerLayer,
        narrow_ids: true,
        attention_mask: true,
        token_types: false,
    };

    /// Names of the inputs.
    pub fn inputs(self) -> impl Iterator<Item = &'static str> {
        let further = [(self.attention_mask, ATTENTION_MASK), (self.token_types, TOKEN_TYPE_IDS)];
        std::iter::once(INPUT_IDS).chain(further.into_iter().filter_map(|(is_input, name)| is_input.then_some(name)))
    }

    /// The same for a graph: the types of its tokens are an input only where it has any.
    #[must_use]
    pub fn for_graph(self, graph: &Graph) -> Dialect {
        Dialect { token_types: self.token_types && graph.token_types() > 0, ..self }
    }

    /// Type of ids, mask and token types.
    pub fn ids(self) -> DataType {
        if self.narrow_ids { DataType::Int32 } else { DataType::Int64 }
    }
}
