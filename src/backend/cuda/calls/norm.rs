//! Calls of the layer norm and embedding kernels: the fused ones where the policy computes in FP32, else stepwise.

use super::{DeviceCall, KernelCall, Placement, stepwise};
use crate::backend::BackendError;
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::error::execution;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Embedding, LayerNorm, Norm, Stages, TensorId, WeightKey};
use crate::graph::Format;

/// The fused kernels take rows of a multiple of so many elements.
pub(in crate::backend::cuda) const NORM_WIDTH_STEP: usize = 32;

/// Partial sums of a product, to be added to the stream before it is normalised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partials {
    /// `[count, rows, width]`, FP32.
    pub address: u64,
    pub count: usize,
    /// The product's bias, FP32.
    pub bias: WeightKey,
}

/// Whether the fused kernels compute a layer norm as the policy says.
pub(super) fn is_fused(norm: &Norm, width: usize) -> bool {
    let fp32 = [norm.rounding.compute, norm.rounding.accumulate] == [Format::Fp32; 2];
    fp32 && width.is_multiple_of(NORM_WIDTH_STEP)
}

/// Whether the kernel of a layer norm can add partial sums to the stream first.
pub(super) fn adds_partials(stages: &Stages, stage: &LayerNorm) -> bool {
    fused_element(stages, stage).is_some()
}

/// The 16-bit element that the fused kernel is compiled for, where it computes what the policy says.
fn fused_element(stages: &Stages, stage: &LayerNorm) -> Option<ElementType> {
    let elements = [Some(stage.input), Some(stage.outputs.main), stage.outputs.copy];
    let element = narrow(elements.into_iter().flatten().map(|id| stages.tensor(id).element))?;
    // Two outputs, neither of them the stream: the general kernel writes both.
    let two_copies = stage.outputs.main != stage.input && stage.outputs.copy.is_some();
    (is_fused(&stage.norm, stages.tensor(stage.input).stride) && !two_copies).then_some(element)
}

/// What decides its speed.
pub(super) fn key(stages: &Stages, stage: &LayerNorm) -> String {
    let input = stages.tensor(stage.input);
    let copy = stage.outputs.copy.map_or(String::new(), |copy| format!("+{:?}", stages.tensor(copy).element));
    let main = stages.tensor(stage.outputs.main).element;
    format!("layer_norm[{}x{} {:?}->{main:?}{copy}]", input.rows, input.stride, input.element)
}

/// Warps that share a row, and rows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RowShape {
    warps: usize,
    rows: usize,
}

impl RowShape {
    /// The shapes that were fastest on an H200 at 768 columns: few rows are spread over many warps for latency, many take
    /// one warp each, and partial sums, which make a row's reads many, want more warps again.
    fn of(rows: usize, width: usize, partials: usize) -> RowShape {
        let warps = |wanted: usize| wanted.min((width / 128).max(1));
        match (rows, partials) {
            (0..=64, _) => RowShape { warps: warps(6), rows: 1 },
            (65..=256, _) => RowShape { warps: warps(2), rows: 2 },
            (_, 0) => RowShape { warps: 1, rows: 4 },
            _ => RowShape { warps: warps(3), rows: 1 },
        }
    }

    /// A call over `rows` rows. The kernels of this file have static shared memory only.
    fn call(self, instance: Instance, rows: usize, arguments: Arguments) -> DeviceCall {
        let grid = Grid { blocks: (rows.div_ceil(self.rows), 1, 1), threads: 32 * self.warps * self.rows };
        DeviceCall::Kernel(KernelCall { instance, shared_bytes: 0, grid, maps: Vec::new(), arguments })
    }
}

/// What a kernel of this file writes: the stream in its storage, and what the next product reads.
struct NormOutputs {
    stream: Option<TensorId>,
    normalised: Option<TensorId>,
    /// The stream goes on from the normalised row, else from the sum.
    post: bool,
}

/// `float` or the 16-bit element.
fn c_type(element: ElementType) -> &'static str {
    if element == ElementType::F32 { "float" } else { "u16" }
}

/// The 16-bit element among these, which decides how the source is compiled; `None` where there are two.
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

/// A layer norm; with `partials`, of the sum of the stream and those.
pub(super) fn layer_norm(
    placement: &Placement<'_>,
    stage: &LayerNorm,
    partials: Option<Partials>,
) -> Result<DeviceCall, BackendError> {
    let input = placement.stages.tensor(stage.input);
    let Some(element) = fused_element(placement.stages, stage) else {
        return match partials {
            None => stepwise::layer_norm(placement, stage),
            Some(_) => Err(execution("partial sums before a layer norm that does not add them")),
        };
    };
    let (stream, outputs) = (input.element, stage.outputs);
    let in_place = outputs.main == stage.input;
    let written = NormOutputs {
        // A pre-norm stream changes only where partial sums are added to it.
        stream: if in_place { Some(outputs.main) } else { partials.map(|_| stage.input) },
        normalised: if in_place { outputs.copy } else { Some(outputs.main) },
        post: in_place,
    };
    let output = written.normalised.map_or(ElementType::F16, |id| placement.element(id));
    let count = partials.map_or(0, |partials| partials.count);
    let shape = RowShape::of(input.rows, input.stride, count);
    let norm = if written.post { "POST" } else { "PRE" };
    let (width, RowShape { warps, rows }) = (input.stride, shape);
    let (stream_type, output_type) = (c_type(stream), c_type(output));
    let name = format!("layer_norm_{width}_{warps}x{rows}_p{count}_{stream_type}_{output_type}_{norm}").to_lowercase();
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.input))
        .optional(partials.map(|partials| partials.address))
        .optional(partials.map(|partials| placement.weight(partials.bias)).transpose()?)
        .pointer(placement.weight(stage.norm.gamma)?)
        .pointer(placement.weight(stage.norm.beta)?)
        .optional(written.stream.map(|id| placement.tensor(id)))
        .optional(written.normalised.map(|id| placement.tensor(id)))
        .int(input.rows)
        .float(stage.norm.epsilon);
    let line = format!(
        "LAYER_NORM({name}, {width}, {warps}, {rows}, {count}, {stream_type}, {output_type}, {norm})\n{}",
        arguments.assertion("LayerNormArguments")
    );
    let instance = Instance { source: KernelSource::Norm(element), name, line };
    Ok(shape.call(instance, input.rows, arguments))
}

/// The sum of table rows, with a layer norm where there is one.
pub(super) fn embedding(placement: &Placement<'_>, stage: &Embedding) -> Result<DeviceCall, BackendError> {
    let output = placement.stages.tensor(stage.outputs.main);
    let width = output.stride;
    let fused = stage.norm.as_ref().is_none_or(|norm| is_fused(norm, width))
        && stage.sums == Format::Fp32
        && width.is_multiple_of(NORM_WIDTH_STEP);
    let two_without_norm = stage.norm.is_none() && stage.outputs.copy.is_some();
    let (stream, copy) = (output.element, stage.outputs.copy.map(|copy| placement.element(copy)));
    let table = stage.word.element;
    let element = narrow([table, stream].into_iter().chain(copy));
    let Some(element) = element.filter(|_| fused && !two_without_norm) else {
        return match stage.norm {
            None => stepwise::embedding(placement, stage),
            Some(_) => Err(execution("an embedding with a layer norm that no kernel computes")),
        };
    };
    let shape = RowShape::of(output.rows, width, 0);
    let norm = if stage.norm.is_some() { "POST" } else { "KEEP" };
    let RowShape { warps, rows } = shape;
    let (table_type, stream_type) = (c_type(table), c_type(stream));
    let name = format!("embedding_{width}_{warps}x{rows}_{table_type}_{stream_type}_{norm}").to_lowercase();
    let parameter = |key: Option<WeightKey>| key.map(|key| placement.weight(key)).transpose();
    let arguments = Arguments::default()
        .pointer(placement.ids)
        .pointer(placement.weight(stage.word)?)
        .pointer(placement.weight(stage.position)?)
        .optional(parameter(stage.token_type)?)
        .optional(parameter(stage.norm.map(|norm| norm.gamma))?)
        .optional(parameter(stage.norm.map(|norm| norm.beta))?)
        .pointer(placement.tensor(stage.outputs.main))
        .optional(stage.outputs.copy.map(|copy| placement.tensor(copy)))
        .int(output.rows)
        .int(placement.sequence)
        .float(stage.norm.map_or(0.0, |norm| norm.epsilon));
    let line = format!(
        "EMBEDDING({name}, {width}, {warps}, {rows}, {table_type}, {stream_type}, {norm})\n{}",
        arguments.assertion("EmbeddingArguments")
    );
    let instance = Instance { source: KernelSource::Norm(element), name, line };
    Ok(shape.call(instance, output.rows, arguments))
}
