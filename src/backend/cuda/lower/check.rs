//! Checks what holds for the stages of every policy. A mistake in lowering becomes an error here instead of wrong
//! numbers.

use std::collections::BTreeSet;

use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Accumulator, Attention, DeviceTensor, Epilogue, Linear, Stage, Stages, TensorId};
use crate::graph::Format;

/// Refuses stages that read a tensor before it is written, or rows of another length than were written.
///
/// # Errors
/// A description of what does not fit.
pub(super) fn check(stages: &Stages) -> Result<(), String> {
    let mut written: BTreeSet<TensorId> = BTreeSet::new();
    for (index, stage) in stages.stages.iter().enumerate() {
        if let Some(id) = stage.reads().into_iter().find(|id| !written.contains(id)) {
            return Err(format!("stage {index} reads `{}`, which nothing has written", stages.tensor(id).name));
        }
        match stage {
            Stage::Linear(linear) => check_linear(stages, linear)?,
            Stage::Attention(attention) => check_attention(stages, attention)?,
            // All tensors of an element-wise function, norm or embedding are rows of one length.
            Stage::Elementwise(_) | Stage::LayerNorm(_) | Stage::Embedding(_) => check_rows(stages, stage)?,
            _ => {}
        }
        written.extend(stage.writes());
    }
    match stages.output {
        Some(output) if written.contains(&output) => Ok(()),
        _ => Err("nothing writes the output".to_owned()),
    }
}

fn check_rows(stages: &Stages, stage: &Stage) -> Result<(), String> {
    let tensors: Vec<_> = stage.tensors().into_iter().map(|id| stages.tensor(id)).collect();
    let same = tensors.windows(2).all(|two| (two[0].rows, two[0].stride) == (two[1].rows, two[1].stride));
    if same { Ok(()) } else { Err(format!("tensors of other sizes in one stage: {tensors:?}")) }
}

fn check_linear(stages: &Stages, linear: &Linear) -> Result<(), String> {
    let (x, y) = (stages.tensor(linear.x), stages.tensor(linear.output));
    let fits = x.stride == linear.depth && y.stride == linear.width && linear.weight.rows == linear.width;
    let bias = linear.bias.is_none_or(|bias| bias.element == y.element && bias.rows == linear.width);
    // cuBLASLt writes FP32 or the operands' format.
    let storage = y.element == ElementType::F32 || y.element == x.element;
    let operand = linear.weight.element == x.element;
    let activation = !matches!(linear.epilogue, Epilogue::Activation(_)) || y.element != ElementType::F32;
    let halves = !matches!(linear.epilogue, Epilogue::RoundedActivation(_) | Epilogue::RoundedResidual)
        || [x.element, y.element] == [ElementType::F16; 2];
    let addend = match (linear.epilogue, linear.addend) {
        (Epilogue::Residual, Some(addend)) => addend == linear.output,
        (Epilogue::RoundedResidual, Some(addend)) => addend != linear.output && same_rows(stages.tensor(addend), y),
        (_, addend) => addend.is_none(),
    };
    if fits && bias && storage && operand && activation && halves && addend {
        return Ok(());
    }
    Err(format!("the linear layer of `{}` does not fit its tensors: {linear:?}, {x:?}, {y:?}", y.name))
}

/// Whether two tensors have the same elements.
fn same_rows(a: &DeviceTensor, b: &DeviceTensor) -> bool {
    (a.element, a.rows, a.stride) == (b.element, b.rows, b.stride)
}

fn check_attention(stages: &Stages, attention: &Attention) -> Result<(), String> {
    let (packed, context) = (stages.tensor(attention.packed), stages.tensor(attention.context));
    let hidden = attention.shape.heads * attention.shape.size;
    let fits = packed.stride == 3 * hidden && context.stride == hidden && packed.element == context.element;
    let arithmetic = attention.arithmetic == Format::Fp32 || packed.element == ElementType::F16;
    let accumulator = match attention.accumulator {
        Accumulator::F32 => true,
        Accumulator::Tf32 => packed.element == ElementType::F32,
        Accumulator::F16 => false,
    };
    if fits && arithmetic && accumulator {
        return Ok(());
    }
    Err(format!("the attention of `{}` does not fit its tensors: {packed:?}, {context:?}", context.name))
}
