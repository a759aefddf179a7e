//! What the engine executes: the graph's operations after fusion, over device tensors. Which kernel executes a stage is
//! decided later.

use crate::backend::cuda::element::ElementType;
use crate::graph::{Format, Gelu, Mask, ParamId, ReductionOrder, Rounding, Token};

/// Index into [`Stages::tensors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TensorId(pub usize);

/// An intermediate tensor: `rows` of `stride` elements, of which a stage may use fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceTensor {
    /// Name of the value it holds.
    pub name: String,
    pub element: ElementType,
    pub rows: usize,
    pub stride: usize,
}

impl DeviceTensor {
    /// Its size.
    pub fn bytes(&self) -> usize {
        self.rows * self.stride * self.element.bytes()
    }
}

/// A parameter as a stage wants it: rounded to `format`, stored as `element`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WeightKey {
    pub param: usize,
    pub format: Format,
    pub element: ElementType,
    /// Rows, the last ones zero where the parameter has fewer.
    pub rows: usize,
}

impl WeightKey {
    /// A parameter of `rows` rows (or elements, of a vector) in the storage of its format.
    /// TF32 products round their operands themselves, so their parameters are FP32 ones.
    pub fn new(param: ParamId, format: Format, rows: usize) -> Self {
        let format = format.storage();
        WeightKey { param: param.0, format, element: ElementType::of(format), rows }
    }

    /// The same values stored as FP32.
    pub fn widened(self) -> Self {
        WeightKey { element: ElementType::F32, ..self }
    }
}

/// Where a stage writes: one tensor, or the same values in a second, narrower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outputs {
    pub main: TensorId,
    pub copy: Option<TensorId>,
}

/// Layer norm parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Norm {
    pub gamma: WeightKey,
    pub beta: WeightKey,
    pub epsilon: f64,
    pub order: ReductionOrder,
    pub rounding: Rounding,
}

/// Embedding tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Embedding {
    pub word: WeightKey,
    pub position: WeightKey,
    pub token_type: Option<WeightKey>,
    /// The format of the sums.
    pub sums: Format,
    /// A layer norm over the sum, where nothing else reads the sum.
    pub norm: Option<Norm>,
    pub outputs: Outputs,
}

/// A layer norm over the rows of `input`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LayerNorm {
    pub input: TensorId,
    pub norm: Norm,
    pub outputs: Outputs,
}

/// What a product's sums are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Accumulator {
    /// FP32, of FP32 operands as they are or of 16-bit ones.
    F32,
    /// FP32, of FP32 operands rounded to TF32.
    Tf32,
    /// FP16.
    F16,
}

/// What a linear layer does with its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Epilogue {
    /// Stores them (with the bias, if there is one).
    Store,
    /// GELU in FP32, of the value rounded to the output's format.
    Gelu(Gelu),
    /// Adds them to what the output holds.
    Residual,
}

/// `output = x weightᵀ + bias`, `[tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Linear {
    pub x: TensorId,
    pub weight: WeightKey,
    pub bias: Option<WeightKey>,
    pub output: TensorId,
    pub tokens: usize,
    /// Rows of the weight, padding included.
    pub width: usize,
    pub depth: usize,
    pub accumulator: Accumulator,
    pub epilogue: Epilogue,
}

/// Sizes of an attention block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AttentionShape {
    pub batch: usize,
    pub sequence: usize,
    pub heads: usize,
    /// Elements of one head.
    pub size: usize,
    pub mask: Mask,
}

/// Scores, softmax and context of FP32 arithmetic around 16-bit operands, in one kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Attention {
    pub packed: TensorId,
    pub context: TensorId,
    pub shape: AttentionShape,
    pub scale: f64,
}

/// A product per head: `output = alpha x yᵀ`, or `x y` where `y` is not transposed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeadProduct {
    pub x: Operand,
    pub y: Operand,
    pub y_transposed: bool,
    pub output: Operand,
    /// Rows of the output, its columns, and the length of the sums.
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub count: usize,
    pub alpha: f64,
    pub accumulator: Accumulator,
}

/// `count` matrices one after the other in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operand {
    pub tensor: TensorId,
    /// Where the first one begins, elements.
    pub offset: usize,
    /// Elements from row to row.
    pub stride: usize,
    /// Elements from matrix to matrix.
    pub pitch: usize,
}

/// A softmax over materialised scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Softmax {
    pub scores: TensorId,
    pub probabilities: TensorId,
    pub shape: AttentionShape,
    /// The format the scores are stored in by the policy: where it is narrow they are scaled after they were stored.
    pub scores_stored: Format,
    pub scale: f64,
    pub rounding: Rounding,
}

/// An element-wise function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Function {
    /// A change of format alone.
    Identity,
    Gelu(Gelu),
    Tanh,
    /// The sum with a second tensor.
    Residual,
}

/// A function of every element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Elementwise {
    pub function: Function,
    pub input: TensorId,
    pub update: Option<TensorId>,
    pub outputs: Outputs,
    pub compute: Format,
}

/// One token of every sequence of `[batch, sequence, width]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Select {
    pub input: TensorId,
    pub output: TensorId,
    pub token: Token,
    pub batch: usize,
    pub sequence: usize,
    pub width: usize,
}

/// One step of the forward pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    Embedding(Embedding),
    LayerNorm(LayerNorm),
    Linear(Linear),
    Attention(Attention),
    /// The packed projection by head, `[3, batch, heads, sequence, size]`, padding zeroed.
    SplitHeads {
        packed: TensorId,
        split: TensorId,
        shape: AttentionShape,
    },
    HeadProduct(HeadProduct),
    Softmax(Softmax),
    /// `[batch, heads, sequence, size]` to `[batch, sequence, heads, size]`.
    MergeHeads {
        split: TensorId,
        outputs: Outputs,
        shape: AttentionShape,
    },
    Elementwise(Elementwise),
    Select(Select),
}

impl Stage {
    /// The tensors it reads.
    pub fn reads(&self) -> Vec<TensorId> {
        match self {
            Stage::Embedding(_) => Vec::new(),
            Stage::LayerNorm(stage) => vec![stage.input],
            Stage::Linear(stage) => {
                let sum = (stage.epilogue == Epilogue::Residual).then_some(stage.output);
                [Some(stage.x), sum].into_iter().flatten().collect()
            }
            Stage::Attention(stage) => vec![stage.packed],
            Stage::SplitHeads { packed, .. } => vec![*packed],
            Stage::HeadProduct(stage) => vec![stage.x.tensor, stage.y.tensor],
            Stage::Softmax(stage) => vec![stage.scores],
            Stage::MergeHeads { split, .. } => vec![*split],
            Stage::Elementwise(stage) => [Some(stage.input), stage.update].into_iter().flatten().collect(),
            Stage::Select(stage) => vec![stage.input],
        }
    }

    /// The tensors it writes.
    pub fn writes(&self) -> Vec<TensorId> {
        let both = |outputs: Outputs| std::iter::once(outputs.main).chain(outputs.copy).collect();
        match self {
            Stage::Embedding(stage) => both(stage.outputs),
            Stage::LayerNorm(stage) => both(stage.outputs),
            Stage::Linear(stage) => vec![stage.output],
            Stage::Attention(stage) => vec![stage.context],
            Stage::SplitHeads { split, .. } => vec![*split],
            Stage::HeadProduct(stage) => vec![stage.output.tensor],
            Stage::Softmax(stage) => vec![stage.probabilities],
            Stage::MergeHeads { outputs, .. } => both(*outputs),
            Stage::Elementwise(stage) => both(stage.outputs),
            Stage::Select(stage) => vec![stage.output],
        }
    }

    /// The tensors it reads or writes.
    pub fn tensors(&self) -> Vec<TensorId> {
        self.reads().into_iter().chain(self.writes()).collect()
    }

    /// The parameters it reads, in every storage that one of its kernels wants.
    pub fn weights(&self) -> Vec<WeightKey> {
        match self {
            Stage::Embedding(stage) => {
                let norm = stage.norm.map(|norm| [norm.gamma, norm.beta]);
                [Some(stage.word), Some(stage.position), stage.token_type]
                    .into_iter()
                    .flatten()
                    .chain(norm.into_iter().flatten())
                    .collect()
            }
            Stage::LayerNorm(stage) => vec![stage.norm.gamma, stage.norm.beta],
            // cuBLASLt wants the bias as the output is stored, the own kernels want FP32.
            Stage::Linear(stage) => {
                std::iter::once(stage.weight).chain(stage.bias).chain(stage.bias.map(WeightKey::widened)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A forward pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Stages {
    pub stages: Vec<Stage>,
    pub tensors: Vec<DeviceTensor>,
    /// What the last stage leaves.
    pub output: Option<TensorId>,
}

impl Stages {
    /// A tensor.
    pub fn tensor(&self, id: TensorId) -> &DeviceTensor {
        &self.tensors[id.0]
    }
}
