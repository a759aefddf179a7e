//! Calls of the kernels that round after every step, and of the products over materialised scores.

use super::norm::Partials;
use super::{DeviceCall, KernelCall, Placement, ProductCall};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::matmul::{LtEnding, MatmulAddresses, MatmulSpec};
use crate::backend::cuda::stage::{
    AttentionShape, Elementwise, Embedding, Function, HeadProduct, LayerNorm, Linear, Operand, Outputs, Select,
    Softmax, TensorId,
};
use crate::engine::BackendError;
use crate::graph::{Activation, Format, Gelu, Mask, ReductionOrder, Token};

/// Threads of every block (`BLOCK` in the source).
const THREADS: usize = 256;

/// Blocks of an element-wise kernel per multiprocessor, at most.
const BLOCKS_PER_MULTIPROCESSOR: usize = 8;

/// A call of `kernel`, whose template arguments are formats.
fn call(structure: &str, kernel: &str, formats: &[&str], sizes: LaunchSizes, arguments: Arguments) -> DeviceCall {
    call_from(KernelSource::Stepwise, (structure, kernel), formats, sizes, arguments)
}

/// The same for a source that builds on `stepwise.cu`.
pub(super) fn call_from(
    source: KernelSource,
    (structure, kernel): (&str, &str),
    formats: &[&str],
    sizes: LaunchSizes,
    arguments: Arguments,
) -> DeviceCall {
    let name = format!("{kernel}_{}", formats.join("_")).to_lowercase();
    let line = format!(
        "INSTANCE({name}, {structure}, {kernel}<{}>)
{}",
        formats.join(", "),
        arguments.assertion(structure)
    );
    let instance = Instance { source, name, line };
    DeviceCall::Kernel(KernelCall {
        instance,
        shared_bytes: sizes.shared_floats * 4,
        grid: Grid { blocks: sizes.blocks, threads: THREADS },
        maps: Vec::new(),
        arguments,
    })
}

pub(super) struct LaunchSizes {
    blocks: (usize, usize, usize),
    shared_floats: usize,
}

impl LaunchSizes {
    /// One block per row, with `shared_floats` floats of shared memory.
    pub fn rows(rows: usize, shared_floats: usize) -> Self {
        LaunchSizes { blocks: (rows, 1, 1), shared_floats }
    }

    /// Enough blocks for `count` elements, but no more than the device can run well.
    fn elements(placement: &Placement<'_>, count: usize) -> Self {
        let blocks = count.div_ceil(THREADS).min(placement.multiprocessors * BLOCKS_PER_MULTIPROCESSOR);
        LaunchSizes { blocks: (blocks.max(1), 1, 1), shared_floats: 0 }
    }
}

/// The name of the grid of a format. TF32 concerns products only, so its grid is that of FP32.
pub(super) fn grid(format: Format) -> &'static str {
    ElementType::of(format).cuda()
}

/// The template argument of a reduction order.
pub(super) fn divide_first(order: ReductionOrder) -> &'static str {
    match order {
        ReductionOrder::SumThenDivide => "false",
        ReductionOrder::DivideFirst => "true",
    }
}

fn copy_element(placement: &Placement<'_>, outputs: Outputs) -> &'static str {
    outputs.copy.map_or(ElementType::F32, |copy| placement.element(copy)).cuda()
}

pub(super) fn embedding(placement: &Placement<'_>, stage: &Embedding) -> Result<DeviceCall, BackendError> {
    let formats = [
        stage.word.element.cuda(),
        placement.element(stage.outputs.main).cuda(),
        copy_element(placement, stage.outputs),
        grid(stage.sums),
    ];
    let output = placement.stages.tensor(stage.outputs.main);
    let arguments = Arguments::default()
        .pointer(placement.ids)
        .pointer(placement.weight(stage.word)?)
        .pointer(placement.weight(stage.position)?)
        .optional(stage.token_type.map(|table| placement.weight(table)).transpose()?)
        .optional(placement.types)
        .pointer(placement.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| placement.tensor(copy)))
        .int(output.stride)
        .int(placement.sequence);
    Ok(call("EmbeddingArguments", "embedding", &formats, LaunchSizes::rows(output.rows, 0), arguments))
}

pub(super) fn layer_norm(placement: &Placement<'_>, stage: &LayerNorm) -> Result<DeviceCall, BackendError> {
    let norm = stage.norm;
    let formats = [
        placement.element(stage.input).cuda(),
        placement.element(stage.outputs.main).cuda(),
        copy_element(placement, stage.outputs),
        grid(norm.rounding.compute),
        grid(norm.rounding.accumulate),
        divide_first(norm.order),
    ];
    let output = placement.stages.tensor(stage.outputs.main);
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.input))
        .pointer(placement.weight(norm.gamma)?)
        .pointer(placement.weight(norm.beta)?)
        .pointer(placement.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| placement.tensor(copy)))
        .int(output.stride)
        .float(norm.epsilon);
    Ok(call("LayerNormArguments", "layer_norm", &formats, LaunchSizes::rows(output.rows, 3 * output.stride), arguments))
}

pub(super) fn softmax(placement: &Placement<'_>, stage: &Softmax) -> DeviceCall {
    let causal = match stage.shape.mask {
        Mask::Padding => "false",
        Mask::Causal => "true",
    };
    let formats = [
        placement.element(stage.scores).cuda(),
        placement.element(stage.probabilities).cuda(),
        grid(stage.scores_stored),
        grid(stage.rounding.compute),
        grid(stage.rounding.accumulate),
        grid(stage.rounding.store),
        causal,
    ];
    let AttentionShape { batch, sequence, heads, .. } = stage.shape;
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.scores))
        .pointer(placement.tensor(stage.probabilities))
        .pointer(placement.lengths)
        .int(heads)
        .int(sequence)
        .int(placement.stages.tensor(stage.scores).stride)
        .float(stage.scale);
    let sizes = LaunchSizes { blocks: (sequence, batch * heads, 1), shared_floats: 3 * sequence };
    call("SoftmaxArguments", "softmax", &formats, sizes, arguments)
}

pub(super) fn split_heads(
    placement: &Placement<'_>,
    packed: TensorId,
    split: TensorId,
    shape: AttentionShape,
) -> DeviceCall {
    let formats = [placement.element(packed).cuda(), placement.element(split).cuda()];
    let AttentionShape { batch, sequence, heads, size, .. } = shape;
    let arguments = Arguments::default()
        .pointer(placement.tensor(packed))
        .pointer(placement.tensor(split))
        .pointer(placement.lengths)
        .int(batch)
        .int(sequence)
        .int(heads)
        .int(size);
    let sizes = LaunchSizes::elements(placement, 3 * batch * sequence * heads * size);
    call("SplitHeadsArguments", "split_heads", &formats, sizes, arguments)
}

pub(super) fn merge_heads(
    placement: &Placement<'_>,
    split: TensorId,
    outputs: Outputs,
    shape: AttentionShape,
) -> DeviceCall {
    let formats =
        [placement.element(split).cuda(), placement.element(outputs.main).cuda(), copy_element(placement, outputs)];
    let AttentionShape { batch, sequence, heads, size, .. } = shape;
    let arguments = Arguments::default()
        .pointer(placement.tensor(split))
        .pointer(placement.tensor(outputs.main))
        .optional(outputs.copy.map(|copy| placement.tensor(copy)))
        .int(batch)
        .int(sequence)
        .int(heads)
        .int(size);
    let sizes = LaunchSizes::elements(placement, batch * sequence * heads * size);
    call("MergeHeadsArguments", "merge_heads", &formats, sizes, arguments)
}

/// The name of an activation in the kernels' source.
pub(super) fn activation(function: Activation) -> String {
    match function {
        Activation::Gelu(Gelu::Erf) => "GELU_ERF".to_owned(),
        Activation::Gelu(Gelu::Tanh) => "GELU_TANH".to_owned(),
        other => other.name().to_uppercase(),
    }
}

pub(super) fn elementwise(placement: &Placement<'_>, stage: &Elementwise) -> DeviceCall {
    let function = match stage.function {
        Function::Activation(function) => activation(function),
        Function::Residual => "RESIDUAL".to_owned(),
    };
    let formats = [
        function.as_str(),
        placement.element(stage.input).cuda(),
        stage.update.map_or(ElementType::F32, |update| placement.element(update)).cuda(),
        placement.element(stage.outputs.main).cuda(),
        copy_element(placement, stage.outputs),
        grid(stage.compute),
    ];
    let output = placement.stages.tensor(stage.outputs.main);
    let count = output.rows * output.stride;
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.input))
        .optional(stage.update.map(|update| placement.tensor(update)))
        .pointer(placement.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| placement.tensor(copy)))
        .long(count);
    call("ElementwiseArguments", "elementwise", &formats, LaunchSizes::elements(placement, count), arguments)
}

pub(super) fn select(placement: &Placement<'_>, stage: &Select) -> DeviceCall {
    let (token, passed_over) = match stage.token {
        Token::First => ("FIRST", 0),
        Token::Last => ("LAST", 0),
        Token::LastBut(id) => ("LAST_BUT", id as usize),
    };
    let formats = [placement.element(stage.input).cuda(), placement.element(stage.output).cuda(), token];
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.input))
        .pointer(placement.tensor(stage.output))
        .pointer(placement.ids)
        .pointer(placement.lengths)
        .int(stage.sequence)
        .int(stage.width)
        .int(passed_over);
    call("SelectArguments", "select", &formats, LaunchSizes::rows(stage.batch, 0), arguments)
}

/// The call that adds the parts of a split product and its bias.
pub(super) fn sum_partials(
    placement: &Placement<'_>,
    stage: &Linear,
    parts: Partials,
) -> Result<DeviceCall, BackendError> {
    let count = stage.tokens * stage.width;
    let arguments = Arguments::default()
        .pointer(parts.address)
        .pointer(placement.weight(parts.bias)?)
        .pointer(placement.tensor(stage.output))
        .long(count)
        .int(stage.width)
        .int(parts.count);
    let formats = [placement.element(stage.output).cuda()];
    let sizes = LaunchSizes::elements(placement, count);
    Ok(call("SumPartialsArguments", "sum_partials", &formats, sizes, arguments))
}

/// One product for each head, by the kernel whose sums have the order of the fused attention.
fn head_product_in_order(placement: &Placement<'_>, stage: &HeadProduct) -> DeviceCall {
    let address = |operand: &Operand| {
        placement.tensor(operand.tensor) + (operand.offset * placement.element(operand.tensor).bytes()) as u64
    };
    let arguments = Arguments::default()
        .pointer(address(&stage.x))
        .pointer(address(&stage.y))
        .pointer(address(&stage.output))
        .long(stage.x.pitch)
        .long(stage.y.pitch)
        .long(stage.output.pitch)
        .int(stage.x.stride)
        .int(stage.y.stride)
        .int(stage.output.stride)
        .int(stage.rows)
        .int(stage.columns)
        .int(stage.depth);
    let name = format!("head_product_{}", if stage.y_transposed { "by_columns" } else { "by_rows" });
    let line = format!("HEAD_PRODUCT({name}, {})\n{}", stage.y_transposed, arguments.assertion("HeadProductArguments"));
    DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::HeadProduct, name, line },
        shared_bytes: 0,
        grid: Grid { blocks: (stage.columns.div_ceil(32), stage.rows.div_ceil(16), stage.count), threads: 128 },
        maps: Vec::new(),
        arguments,
    })
}

/// The products of all heads: one batched product of cuBLASLt, unless the order of the sums is given.
pub(super) fn head_product(placement: &Placement<'_>, stage: &HeadProduct) -> DeviceCall {
    if stage.in_order {
        return head_product_in_order(placement, stage);
    }
    let address = |operand: &Operand| {
        placement.tensor(operand.tensor) + (operand.offset * placement.element(operand.tensor).bytes()) as u64
    };
    let spec = MatmulSpec {
        tokens: stage.rows,
        width: stage.columns,
        depth: stage.depth,
        operand: placement.element(stage.x.tensor),
        output: placement.element(stage.output.tensor),
        accumulator: stage.accumulator,
        ending: LtEnding::Store,
        alpha: stage.alpha,
        w_by_rows: stage.y_transposed,
        strides: [stage.x.stride, stage.y.stride, stage.output.stride],
        batch: Some((stage.count, [stage.x.pitch, stage.y.pitch, stage.output.pitch])),
    };
    let addresses =
        MatmulAddresses { x: address(&stage.x), w: address(&stage.y), y: address(&stage.output), bias: None };
    DeviceCall::Product(ProductCall { spec, addresses, algorithm: None })
}
