//! Calls of the embedding kernels: the fused kernel where the policy sums the tables in FP32, with the layer norm after the sum
//! where that is part of the stage, else the stepwise one.

use super::norm::{NORM_WIDTH_STEP, NormOrder, RowShape, c_type, is_fused, narrow};
use super::{DeviceCall, Placement, stepwise};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::error::execution;
use crate::backend::cuda::launch::Arguments;
use crate::backend::cuda::stage::{Embedding, EmbeddingNorm, Outputs, Stages, TensorId, WeightKey};
use crate::engine::BackendError;
use crate::graph::Format;

/// What the fused kernel of an embedding writes.
struct EmbeddingOutputs {
    order: NormOrder,
    /// The element type to which the sum is rounded before it is normalised.
    sum: ElementType,
    stream: Option<TensorId>,
    normalised: Option<TensorId>,
}

impl EmbeddingOutputs {
    /// The outputs of a stage, or `None` if the kernel does not write them.
    fn of(stages: &Stages, stage: &Embedding) -> Option<EmbeddingOutputs> {
        let Outputs { main, copy } = stage.outputs;
        let element = stages.tensor(main).element;
        let (order, sum, stream, normalised) = match stage.norm {
            None => (NormOrder::Keep, element, Some(main), None),
            Some(EmbeddingNorm { sum: None, stored: ElementType::F32, .. }) if element == ElementType::F32 => {
                (NormOrder::Post, element, Some(main), copy)
            }
            Some(EmbeddingNorm { sum, stored, .. }) => (NormOrder::Pre, stored, sum, Some(main)),
        };
        let all = copy.is_none() || order == NormOrder::Post;
        all.then_some(EmbeddingOutputs { order, sum, stream, normalised })
    }
}

/// The call of an embedding, with its layer norm if it has one.
pub(super) fn call(placement: &Placement<'_>, stage: &Embedding) -> Result<DeviceCall, BackendError> {
    let output = placement.stages.tensor(stage.outputs.main);
    let width = output.stride;
    let norm = stage.norm.map(|of_sum| of_sum.norm);
    let fused = norm.as_ref().is_none_or(|norm| is_fused(norm, width))
        && stage.sums == Format::Fp32
        && width.is_multiple_of(NORM_WIDTH_STEP);
    let written = EmbeddingOutputs::of(placement.stages, stage).filter(|_| fused).and_then(|written| {
        let normalised = written.normalised.map(|id| placement.element(id));
        Some((narrow([stage.word.element, written.sum].into_iter().chain(normalised))?, written))
    });
    let Some((element, written)) = written else {
        return match norm {
            None => stepwise::embedding(placement, stage),
            Some(_) => Err(execution("no kernel computes this embedding with its layer norm")),
        };
    };
    // A norm sums its rows in the order of a kernel of its own: see `layer_norm`.
    let rounds_to_fp16 = norm.is_some() && written.sum == ElementType::F16;
    let shape = RowShape::of(output.rows, width, usize::from(rounds_to_fp16));
    let normalised = written.normalised.map_or(ElementType::F16, |id| placement.element(id));
    let types = [stage.word.element, written.sum, normalised].map(c_type);
    let (RowShape { warps, rows }, order) = (shape, written.order.name());
    let name = format!("embedding_{width}_{warps}x{rows}_{}_{order}", types.join("_")).to_lowercase();
    let parameter = |key: Option<WeightKey>| key.map(|key| placement.weight(key)).transpose();
    let arguments = Arguments::default()
        .pointer(placement.ids)
        .pointer(placement.weight(stage.word)?)
        .pointer(placement.weight(stage.position)?)
        .optional(parameter(stage.token_type)?)
        .optional(placement.types)
        .optional(parameter(norm.map(|norm| norm.gamma))?)
        .optional(parameter(norm.map(|norm| norm.beta))?)
        .optional(written.stream.map(|id| placement.tensor(id)))
        .optional(written.normalised.map(|id| placement.tensor(id)))
        .int(output.rows)
        .int(placement.sequence)
        .float(norm.map_or(0.0, |norm| norm.epsilon));
    let line = format!(
        "EMBEDDING({name}, {width}, {warps}, {rows}, {}, {order})\n{}",
        types.join(", "),
        arguments.assertion("EmbeddingArguments")
    );
    let instance = Instance { source: KernelSource::Norm(element), name, line };
    Ok(shape.call(instance, output.rows, arguments))
}
