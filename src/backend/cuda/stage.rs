//! Stages: the graph's operations after fusion, over tensors in device memory. They say what is computed and in which
//! formats; [`super::calls`] decides later which kernel executes them.

use crate::backend::cuda::element::ElementType;
use crate::graph::{Activation, Format, Mask, ParamId, ReductionOrder, Rounding, Token};

/// Index into [`Stages::tensors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TensorId(pub usize);

/// An intermediate tensor: `rows` rows of `stride` elements. A stage may use fewer elements of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceTensor {
    /// Name of the value it holds.
    pub name: String,
    pub element: ElementType,
    pub rows: usize,
    pub stride: usize,
}

impl DeviceTensor {
    /// Its size, bytes.
    pub fn bytes(&self) -> usize {
        self.rows * self.stride * self.element.bytes()
    }
}

/// A parameter in the form that a stage reads: rounded to `format`, stored as `element`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WeightKey {
    pub param: usize,
    pub format: Format,
    pub element: ElementType,
    /// Number of rows. Rows beyond those of the parameter are zero.
    pub rows: usize,
}

impl WeightKey {
    /// A parameter of `rows` rows (for a vector: elements), in the element type that stores its format. TF32 products
    /// round their operands themselves, so their parameters are stored as FP32.
    pub fn new(param: ParamId, format: Format, rows: usize) -> Self {
        let format = format.storage();
        WeightKey { param: param.0, format, element: ElementType::of(format), rows }
    }

    /// The same values stored as FP32.
    pub fn widened(self) -> Self {
        WeightKey { element: ElementType::F32, ..self }
    }
}

/// The tensors that a stage writes: one, or a second one with the same values in a narrower type.
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

/// The sum of rows of embedding tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Embedding {
    pub word: WeightKey,
    pub position: WeightKey,
    pub token_type: Option<WeightKey>,
    /// The format of the sums.
    pub sums: Format,
    /// A layer norm over the sum.
    pub norm: Option<EmbeddingNorm>,
    /// Those of the norm if there is one, else of the sum.
    pub outputs: Outputs,
}

/// The layer norm over an embedding's sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct EmbeddingNorm {
    pub norm: Norm,
    /// The element type in which the policy stores the sum: what the norm reads.
    pub stored: ElementType,
    /// The tensor of the sum, if anything else reads it, as in a pre-norm model.
    pub sum: Option<TensorId>,
}

/// A layer norm over the rows of `input`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LayerNorm {
    pub input: TensorId,
    pub norm: Norm,
    pub outputs: Outputs,
}

/// The format of a product's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Accumulator {
    /// FP32, for FP32 operands without rounding or for 16-bit operands.
    F32,
    /// FP32, for FP32 operands that are rounded to TF32.
    Tf32,
    /// FP16.
    F16,
}

/// What a linear layer does with its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Epilogue {
    /// Stores them (with the bias, if there is one).
    Store,
    /// Stores a function, computed in FP32 from the sum rounded to the output's format.
    Activation(Activation),
    /// Stores a function of the sum rounded to FP16, which rounds to FP16 after every step.
    RoundedActivation(Activation),
    /// Adds them to the addend, which is the output itself.
    Residual,
    /// Rounds them to FP16, then adds them to the addend in FP16.
    RoundedResidual,
}

/// `output = x weightᵀ + bias`, `[tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Linear {
    pub x: TensorId,
    pub weight: WeightKey,
    pub bias: Option<WeightKey>,
    pub output: TensorId,
    /// What a residual epilogue adds the sums to.
    pub addend: Option<TensorId>,
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

/// Scores, softmax and context in one kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Attention {
    pub packed: TensorId,
    pub context: TensorId,
    pub shape: AttentionShape,
    pub scale: f64,
    /// The format of every step between the sums of the two products: FP32, or FP16 under a policy that rounds there.
    pub arithmetic: Format,
    /// The sums of the products, FP32 or TF32.
    pub accumulator: Accumulator,
}

/// A product per head: `output = alpha x yᵀ`, or `alpha x y` where `y` is not transposed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeadProduct {
    pub x: Operand,
    pub y: Operand,
    pub y_transposed: bool,
    pub output: Operand,
    /// Rows of the output.
    pub rows: usize,
    /// Columns of the output.
    pub columns: usize,
    /// Length of the sums.
    pub depth: usize,
    /// Number of products.
    pub count: usize,
    pub alpha: f64,
    pub accumulator: Accumulator,
    /// Whether the sums are taken in the order of the fused attention, by a kernel of this backend.
    pub in_order: bool,
}

/// Matrices that follow each other in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operand {
    pub tensor: TensorId,
    /// Offset of the first matrix, elements.
    pub offset: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Elements from one matrix to the next.
    pub pitch: usize,
}

/// A softmax over materialised scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Softmax {
    pub scores: TensorId,
    pub probabilities: TensorId,
    pub shape: AttentionShape,
    /// The format in which the policy stores the scores. Narrow scores are scaled after they are stored.
    pub scores_stored: Format,
    pub scale: f64,
    pub rounding: Rounding,
}

/// An element-wise function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Function {
    /// [`Activation::Identity`] changes only the format.
    Activation(Activation),
    /// The sum of the input and a second tensor.
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
    /// Splits the packed projection by head, `[3, batch, heads, sequence, size]`, and zeroes the padding.
    SplitHeads {
        packed: TensorId,
        split: TensorId,
        shape: AttentionShape,
    },
    HeadProduct(HeadProduct),
    Softmax(Softmax),
    /// Reorders `[batch, heads, sequence, size]` to `[batch, sequence, heads, size]`.
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
            Stage::Linear(stage) => [Some(stage.x), stage.addend].into_iter().flatten().collect(),
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
        let both = |outputs: Outputs| -> Vec<TensorId> { std::iter::once(outputs.main).chain(outputs.copy).collect() };
        match self {
            Stage::Embedding(stage) => {
                stage.norm.and_then(|norm| norm.sum).into_iter().chain(both(stage.outputs)).collect()
            }
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

    /// The parameters it reads, in every element type that one of its kernels reads.
    pub fn weights(&self) -> Vec<WeightKey> {
        match self {
            Stage::Embedding(stage) => {
                let norm = stage.norm.map(|of_sum| [of_sum.norm.gamma, of_sum.norm.beta]);
                [Some(stage.word), Some(stage.position), stage.token_type]
                    .into_iter()
                    .flatten()
                    .chain(norm.into_iter().flatten())
                    .collect()
            }
            Stage::LayerNorm(stage) => vec![stage.norm.gamma, stage.norm.beta],
            // cuBLASLt reads the bias in the output's element type, the kernels of this backend read FP32.
            Stage::Linear(stage) => {
                std::iter::once(stage.weight).chain(stage.bias).chain(stage.bias.map(WeightKey::widened)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The linear layer `first` and the attention after it, if that alone reads the layer's output: a packed QKV projection. One
/// kernel may compute both, which reads the layer's input while it writes the context.
pub(super) fn projection_of_attention(stages: &[Stage], first: usize) -> Option<(&Linear, &Attention)> {
    let Some([Stage::Linear(linear), Stage::Attention(attention)]) = stages.get(first..first + 2) else { return None };
    let readers = stages.iter().filter(|stage| stage.reads().contains(&linear.output)).count();
    (attention.packed == linear.output && readers == 1).then_some((linear, attention))
}

/// Where the output of an operation is that is fused with no later one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OpOutput {
    /// Index of the stage that completes it.
    pub stage: usize,
    pub tensor: TensorId,
    /// The factor that the tensor's reader applies, and the format to which it then rounds. The policy has both before the
    /// store.
    pub scale: Option<(f64, Format)>,
}

/// A forward pass as stages in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Stages {
    pub stages: Vec<Stage>,
    pub tensors: Vec<DeviceTensor>,
    /// Where the output of every operation of the graph is. `None` if no tensor holds it.
    pub ops: Vec<Option<OpOutput>>,
    /// The output of the graph.
    pub output: Option<TensorId>,
    /// Whether every operation inside which the policy rounds is a kernel of its own.
    pub stepwise: bool,
}

impl Stages {
    /// The tensor of an id.
    pub fn tensor(&self, id: TensorId) -> &DeviceTensor {
        &self.tensors[id.0]
    }
}
