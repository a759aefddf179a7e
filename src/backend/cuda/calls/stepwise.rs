//! Calls of the kernels that round after every step, and of the products over materialised scores.

use super::{Call, KernelCall, ProductCall, Site};
use crate::backend::cuda::catalogue::{Instance, Source};
use crate::backend::cuda::element::Element;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::matmul::{LtEnding, MatmulAddresses, MatmulSpec};
use crate::backend::cuda::stage::{
    AttentionShape, Elementwise, Embedding, Function, HeadProduct, LayerNorm, Outputs, Select, Softmax, TensorId,
};
use crate::engine::BackendError;
use crate::graph::{Format, Gelu, Mask, ReductionOrder, Token};

/// Threads of every block; `BLOCK` in the source.
const THREADS: usize = 256;

/// Blocks of an element-wise kernel, per multiprocessor.
const BLOCKS_PER_MULTIPROCESSOR: usize = 8;

/// A call of `kernel` with formats as template arguments.
fn call(structure: &str, kernel: &str, formats: &[&str], sizes: Sizes, arguments: Arguments) -> Call {
    let name = format!("{kernel}_{}", formats.join("_")).to_lowercase();
    let line = format!(
        "INSTANCE({name}, {structure}, {kernel}<{}>)
{}",
        formats.join(", "),
        arguments.assertion(structure)
    );
    let instance = Instance { source: Source::Stepwise, name, line };
    Call::Kernel(KernelCall {
        instance,
        shared_bytes: sizes.shared_floats * 4,
        grid: Grid { blocks: sizes.blocks, threads: THREADS },
        maps: Vec::new(),
        arguments,
    })
}

struct Sizes {
    blocks: (usize, usize, usize),
    shared_floats: usize,
}

impl Sizes {
    /// One block per row, with `shared_floats` of shared memory.
    fn rows(rows: usize, shared_floats: usize) -> Self {
        Sizes { blocks: (rows, 1, 1), shared_floats }
    }

    /// Enough blocks for `count` elements, but no more than fill the device.
    fn elements(site: &Site<'_>, count: usize) -> Self {
        let blocks = count.div_ceil(THREADS).min(site.multiprocessors * BLOCKS_PER_MULTIPROCESSOR);
        Sizes { blocks: (blocks.max(1), 1, 1), shared_floats: 0 }
    }
}

/// The name of a format's grid; TF32 concerns products only.
fn grid(format: Format) -> &'static str {
    Element::of(format).cuda()
}

fn copy_element(site: &Site<'_>, outputs: Outputs) -> &'static str {
    outputs.copy.map_or(Element::F32, |copy| site.element(copy)).cuda()
}

pub(super) fn embedding(site: &Site<'_>, stage: &Embedding) -> Result<Call, BackendError> {
    let formats = [
        stage.word.element.cuda(),
        site.element(stage.outputs.main).cuda(),
        copy_element(site, stage.outputs),
        grid(stage.sums),
    ];
    let output = site.stages.tensor(stage.outputs.main);
    let arguments = Arguments::default()
        .pointer(site.ids)
        .pointer(site.weight(stage.word)?)
        .pointer(site.weight(stage.position)?)
        .optional(stage.token_type.map(|table| site.weight(table)).transpose()?)
        .pointer(site.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| site.tensor(copy)))
        .int(output.stride)
        .int(site.sequence);
    Ok(call("EmbeddingArguments", "embedding", &formats, Sizes::rows(output.rows, 0), arguments))
}

pub(super) fn layer_norm(site: &Site<'_>, stage: &LayerNorm) -> Result<Call, BackendError> {
    let norm = stage.norm;
    let divide_first = match norm.order {
        ReductionOrder::SumThenDivide => "false",
        ReductionOrder::DivideFirst => "true",
    };
    let formats = [
        site.element(stage.input).cuda(),
        site.element(stage.outputs.main).cuda(),
        copy_element(site, stage.outputs),
        grid(norm.rounding.compute),
        grid(norm.rounding.accumulate),
        divide_first,
    ];
    let output = site.stages.tensor(stage.outputs.main);
    let arguments = Arguments::default()
        .pointer(site.tensor(stage.input))
        .pointer(site.weight(norm.gamma)?)
        .pointer(site.weight(norm.beta)?)
        .pointer(site.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| site.tensor(copy)))
        .int(output.stride)
        .float(norm.epsilon);
    Ok(call("LayerNormArguments", "layer_norm", &formats, Sizes::rows(output.rows, 3 * output.stride), arguments))
}

pub(super) fn softmax(site: &Site<'_>, stage: &Softmax) -> Call {
    let causal = match stage.shape.mask {
        Mask::Padding => "false",
        Mask::Causal => "true",
    };
    let formats = [
        site.element(stage.scores).cuda(),
        site.element(stage.probabilities).cuda(),
        grid(stage.scores_stored),
        grid(stage.rounding.compute),
        grid(stage.rounding.accumulate),
        grid(stage.rounding.store),
        causal,
    ];
    let AttentionShape { batch, sequence, heads, .. } = stage.shape;
    let arguments = Arguments::default()
        .pointer(site.tensor(stage.scores))
        .pointer(site.tensor(stage.probabilities))
        .pointer(site.lengths)
        .int(heads)
        .int(sequence)
        .int(site.stages.tensor(stage.scores).stride)
        .float(stage.scale);
    let sizes = Sizes { blocks: (sequence, batch * heads, 1), shared_floats: 3 * sequence };
    call("SoftmaxArguments", "softmax", &formats, sizes, arguments)
}

pub(super) fn split_heads(site: &Site<'_>, packed: TensorId, split: TensorId, shape: AttentionShape) -> Call {
    let formats = [site.element(packed).cuda(), site.element(split).cuda()];
    let AttentionShape { batch, sequence, heads, size, .. } = shape;
    let arguments = Arguments::default()
        .pointer(site.tensor(packed))
        .pointer(site.tensor(split))
        .pointer(site.lengths)
        .int(batch)
        .int(sequence)
        .int(heads)
        .int(size);
    let sizes = Sizes::elements(site, 3 * batch * sequence * heads * size);
    call("SplitHeadsArguments", "split_heads", &formats, sizes, arguments)
}

pub(super) fn merge_heads(site: &Site<'_>, split: TensorId, outputs: Outputs, shape: AttentionShape) -> Call {
    let formats = [site.element(split).cuda(), site.element(outputs.main).cuda(), copy_element(site, outputs)];
    let AttentionShape { batch, sequence, heads, size, .. } = shape;
    let arguments = Arguments::default()
        .pointer(site.tensor(split))
        .pointer(site.tensor(outputs.main))
        .optional(outputs.copy.map(|copy| site.tensor(copy)))
        .int(batch)
        .int(sequence)
        .int(heads)
        .int(size);
    let sizes = Sizes::elements(site, batch * sequence * heads * size);
    call("MergeHeadsArguments", "merge_heads", &formats, sizes, arguments)
}

pub(super) fn elementwise(site: &Site<'_>, stage: &Elementwise) -> Call {
    let function = match stage.function {
        Function::Identity => "Identity",
        Function::Gelu(Gelu::Erf) => "GeluErf",
        Function::Gelu(Gelu::Tanh) => "GeluTanh",
        Function::Tanh => "HyperbolicTangent",
        Function::Residual => "Residual",
    };
    let formats = [
        function,
        site.element(stage.input).cuda(),
        stage.update.map_or(Element::F32, |update| site.element(update)).cuda(),
        site.element(stage.outputs.main).cuda(),
        copy_element(site, stage.outputs),
        grid(stage.compute),
    ];
    let output = site.stages.tensor(stage.outputs.main);
    let count = output.rows * output.stride;
    let arguments = Arguments::default()
        .pointer(site.tensor(stage.input))
        .optional(stage.update.map(|update| site.tensor(update)))
        .pointer(site.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| site.tensor(copy)))
        .long(count);
    call("ElementwiseArguments", "elementwise", &formats, Sizes::elements(site, count), arguments)
}

pub(super) fn select(site: &Site<'_>, stage: &Select) -> Call {
    let last = match stage.token {
        Token::First => "false",
        Token::Last => "true",
    };
    let formats = [site.element(stage.input).cuda(), site.element(stage.output).cuda(), last];
    let arguments = Arguments::default()
        .pointer(site.tensor(stage.input))
        .pointer(site.tensor(stage.output))
        .pointer(site.lengths)
        .int(stage.sequence)
        .int(stage.width);
    call("SelectArguments", "select", &formats, Sizes::rows(stage.batch, 0), arguments)
}

/// A product per head, as one batch.
pub(super) fn head_product(site: &Site<'_>, stage: &HeadProduct) -> Call {
    let address = |operand: &crate::backend::cuda::stage::Operand| {
        site.tensor(operand.tensor) + (operand.offset * site.element(operand.tensor).bytes()) as u64
    };
    let spec = MatmulSpec {
        tokens: stage.rows,
        width: stage.columns,
        depth: stage.depth,
        operand: site.element(stage.x.tensor),
        output: site.element(stage.output.tensor),
        accumulator: stage.accumulator,
        ending: LtEnding::Store,
        alpha: stage.alpha,
        w_by_rows: stage.y_transposed,
        strides: [stage.x.stride, stage.y.stride, stage.output.stride],
        batch: Some((stage.count, [stage.x.pitch, stage.y.pitch, stage.output.pitch])),
    };
    let addresses =
        MatmulAddresses { x: address(&stage.x), w: address(&stage.y), y: address(&stage.output), bias: None };
    Call::Product(ProductCall { spec, addresses, algorithm: None })
}
