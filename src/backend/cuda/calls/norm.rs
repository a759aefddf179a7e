//! Calls of the layer norm kernels: the fused kernels where the policy computes in FP32, else the stepwise ones.

use super::{DeviceCall, KernelCall, Placement, stepwise};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::error::execution;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{LayerNorm, Norm, Stages, TensorId, WeightKey};
use crate::engine::BackendError;
use crate::graph::{Format, Rounding};

/// Row lengths of the fused kernels are multiples of this, elements.
pub(in crate::backend::cuda) const NORM_WIDTH_STEP: usize = 4;

/// Elements that a warp of that kernel sums at a time.
const HALVES_LEAF: usize = 256;

/// Partial sums of a product, which are added to the residual stream before it is normalised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partials {
    /// Address of the sums, `[count, rows, width]`, FP32.
    pub address: u64,
    pub count: usize,
    /// The product's bias, FP32.
    pub bias: WeightKey,
    /// The residual stream that they are added to.
    pub residual: TensorId,
    /// Whether the product and then the sum are rounded to FP16.
    pub rounded: bool,
}

/// Warps of a block.
const MOST_WARPS: usize = 32;

/// Most columns of the fused kernels: a warp holds up to 2048 in registers.
const WIDEST: usize = 2048 * MOST_WARPS;

/// Whether the fused kernels compute a layer norm of this rounding and width.
pub(super) fn is_fused(norm: &Norm, width: usize) -> bool {
    let fp32 = [norm.rounding.compute, norm.rounding.accumulate] == [Format::Fp32; 2];
    fp32 && width.is_multiple_of(NORM_WIDTH_STEP) && width <= WIDEST
}

/// Whether the kernel of a layer norm that computes in FP32 can first add partial sums to the residual stream.
pub(super) fn adds_partials(stages: &Stages, stage: &LayerNorm) -> bool {
    // It stores the sum or a second output.
    let stores_the_sum = stage.outputs.main == stage.input || stage.outputs.copy.is_none();
    stores_the_sum && fused_element(stages, stage).is_some()
}

/// Most columns of the fused kernel that rounds to FP16: it holds a row in registers.
const ROUNDED_WIDTH: usize = 4096;

/// Whether the fused kernel that rounds every step to FP16 computes a layer norm.
pub(super) fn rounds_to_fp16(stages: &Stages, stage: &LayerNorm) -> bool {
    let (input, main) = (stages.tensor(stage.input), stages.tensor(stage.outputs.main));
    !stages.stepwise
        && stage.norm.rounding == Rounding::uniform(Format::Fp16)
        && [input.element, main.element] == [ElementType::F16; 2]
        && stage.outputs.copy.is_none()
        && input.stride.is_multiple_of(NORM_WIDTH_STEP)
        && input.stride <= ROUNDED_WIDTH
}

/// The 16-bit element type that the fused kernel is compiled for, or `None` if it does not compute what the policy
/// says.
fn fused_element(stages: &Stages, stage: &LayerNorm) -> Option<ElementType> {
    let elements = [Some(stage.input), Some(stage.outputs.main), stage.outputs.copy];
    let element = narrow(elements.into_iter().flatten().map(|id| stages.tensor(id).element))?;
    is_fused(&stage.norm, stages.tensor(stage.input).stride).then_some(element)
}

/// Everything that the speed of its kernels depends on.
pub(super) fn key(stages: &Stages, stage: &LayerNorm) -> String {
    let input = stages.tensor(stage.input);
    let copy = stage.outputs.copy.map_or(String::new(), |copy| format!("+{:?}", stages.tensor(copy).element));
    let (main, compute) = (stages.tensor(stage.outputs.main).element, stage.norm.rounding.compute);
    format!("layer_norm[{}x{} {:?}->{main:?}{copy} {compute}]", input.rows, input.stride, input.element)
}

/// Warps that share a row, and rows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowShape {
    pub warps: usize,
    pub rows: usize,
}

impl RowShape {
    /// The shapes that were fastest on an H200 at 768 columns. Few rows are spread over many warps, for latency. Of
    /// many rows each takes one warp, or more if partial sums multiply its reads. A wide row takes as many as hold it in
    /// registers. Warps decide the order of the sums over a row.
    pub fn of(rows: usize, width: usize, partials: usize) -> RowShape {
        let warps = |wanted: usize, columns: usize| wanted.min((width / 128).max(1)).max(width.div_ceil(columns));
        let RowShape { warps, rows } = match (rows, partials) {
            (0..=64, _) => RowShape { warps: warps(6, 384), rows: 1 },
            (65..=256, _) => RowShape { warps: warps(2, 512), rows: if width <= 1024 { 2 } else { 1 } },
            (_, 0) => RowShape { warps: warps(1, 2048), rows: 4 },
            _ => RowShape { warps: warps(3, 384), rows: 1 },
        };
        let warps = warps.min(MOST_WARPS);
        RowShape { warps, rows: rows.min(MOST_WARPS / warps) }
    }

    /// The shape of the kernel that rounds to FP16. A wide row takes several warps, which have room for it.
    fn of_halves(rows: usize, width: usize, partials: usize) -> RowShape {
        let leaves = width.div_ceil(HALVES_LEAF);
        let (warps, rows) = match (rows, partials) {
            (0..=256, _) => (leaves.min(6), 1),
            (_, 0) => (leaves.div_ceil(4), 4),
            _ => (leaves.div_ceil(2), 1),
        };
        RowShape { warps, rows }
    }

    /// A call over `rows` rows. These kernels use static shared memory only.
    pub fn call(self, instance: Instance, rows: usize, arguments: Arguments) -> DeviceCall {
        let grid = Grid { blocks: (rows.div_ceil(self.rows), 1, 1), threads: 32 * self.warps * self.rows };
        DeviceCall::Kernel(KernelCall { instance, shared_bytes: 0, grid, maps: Vec::new(), arguments })
    }
}

/// The new residual stream: the template argument `NORM` of `kernels/layer_norm.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormOrder {
    /// The sum, without a layer norm.
    Keep,
    /// The sum.
    Pre,
    /// The normalised row.
    Post,
}

impl NormOrder {
    pub fn name(self) -> &'static str {
        match self {
            NormOrder::Keep => "KEEP",
            NormOrder::Pre => "PRE",
            NormOrder::Post => "POST",
        }
    }
}

/// The outputs of a fused kernel: the residual stream, and the operand of the next product.
struct NormOutputs {
    stream: Option<TensorId>,
    normalised: Option<TensorId>,
    order: NormOrder,
}

/// The name of an element type in the kernels' source.
pub(super) fn c_type(element: ElementType) -> &'static str {
    if element == ElementType::F32 { "float" } else { "u16" }
}

/// The 16-bit element type among these, which decides how the source is compiled. `None` if there are two.
pub(in crate::backend::cuda) fn narrow(elements: impl IntoIterator<Item = ElementType>) -> Option<ElementType> {
    let mut narrow: Vec<ElementType> = elements.into_iter().filter(|&element| element != ElementType::F32).collect();
    narrow.sort_unstable();
    narrow.dedup();
    match narrow[..] {
        [] => Some(ElementType::F16),
        [one] => Some(one),
        _ => None,
    }
}

/// The call of a layer norm. With `partials` it adds these to the residual stream first.
pub(super) fn layer_norm(
    placement: &Placement<'_>,
    stage: &LayerNorm,
    partials: Option<Partials>,
) -> Result<DeviceCall, BackendError> {
    if rounds_to_fp16(placement.stages, stage) {
        return halves(placement, stage, partials);
    }
    let input = placement.stages.tensor(stage.input);
    let Some(element) = fused_element(placement.stages, stage) else {
        return match partials {
            None => stepwise::layer_norm(placement, stage),
            Some(_) => Err(execution("this layer norm cannot add partial sums")),
        };
    };
    let outputs = stage.outputs;
    let post = outputs.main == stage.input || outputs.copy.is_some();
    let written = NormOutputs {
        // A pre-norm stream changes only where partial sums are added to it.
        stream: if post { Some(outputs.main) } else { partials.map(|_| stage.input) },
        normalised: if post { outputs.copy } else { Some(outputs.main) },
        order: if post { NormOrder::Post } else { NormOrder::Pre },
    };
    let output = written.normalised.map_or(ElementType::F16, |id| placement.element(id));
    let (count, rounded) = partials.map_or((0, false), |partials| (partials.count, partials.rounded));
    // Between FP16 neighbours a forward of single operations has the same bits, so both sum a row in the same order.
    let shape = RowShape::of(input.rows, input.stride, if input.element == ElementType::F16 { 1 } else { count });
    let norm = written.order.name();
    let (width, RowShape { warps, rows }) = (input.stride, shape);
    let stream = if post { placement.element(outputs.main) } else { input.element };
    let types = [input.element, stream, output].map(c_type);
    let sums = if rounded { "_rounded" } else { "" };
    let name = format!("layer_norm_{width}_{warps}x{rows}_p{count}_{}_{norm}{sums}", types.join("_")).to_lowercase();
    let arguments = Arguments::default()
        .pointer(placement.tensor(partials.map_or(stage.input, |partials| partials.residual)))
        .optional(partials.map(|partials| partials.address))
        .optional(partials.map(|partials| placement.weight(partials.bias)).transpose()?)
        .pointer(placement.weight(stage.norm.gamma)?)
        .pointer(placement.weight(stage.norm.beta)?)
        .optional(written.stream.map(|id| placement.tensor(id)))
        .optional(written.normalised.map(|id| placement.tensor(id)))
        .int(input.rows)
        .float(stage.norm.epsilon);
    let line = format!(
        "LAYER_NORM({name}, {width}, {warps}, {rows}, {count}, {}, {norm}, {rounded})\n{}",
        types.join(", "),
        arguments.assertion("LayerNormArguments")
    );
    let instance = Instance { source: KernelSource::Norm(element), name, line };
    Ok(shape.call(instance, input.rows, arguments))
}

/// The call of a layer norm that rounds every step to FP16.
fn halves(
    placement: &Placement<'_>,
    stage: &LayerNorm,
    partials: Option<Partials>,
) -> Result<DeviceCall, BackendError> {
    let input = placement.stages.tensor(stage.input);
    let (width, count) = (input.stride, partials.map_or(0, |partials| partials.count));
    let shape = RowShape::of_halves(input.rows, width, count);
    let (RowShape { warps, rows }, order) = (shape, stepwise::divide_first(stage.norm.order));
    let arguments = Arguments::default()
        .pointer(placement.tensor(partials.map_or(stage.input, |partials| partials.residual)))
        .optional(partials.map(|partials| partials.address))
        .optional(partials.map(|partials| placement.weight(partials.bias)).transpose()?)
        .pointer(placement.weight(stage.norm.gamma)?)
        .pointer(placement.weight(stage.norm.beta)?)
        .optional(partials.map(|_| placement.tensor(stage.input)))
        .pointer(placement.tensor(stage.outputs.main))
        .int(input.rows)
        .float(stage.norm.epsilon);
    let name = format!("layer_norm_halves_{width}_{warps}x{rows}_p{count}_{order}");
    let line = format!(
        "LAYER_NORM_HALVES({name}, {width}, {warps}, {rows}, {count}, {order})\n{}",
        arguments.assertion("LayerNormArguments")
    );
    let instance = Instance { source: KernelSource::NormHalves, name, line };
    Ok(shape.call(instance, input.rows, arguments))
}
