//! Calls of the kernels that tally a tensor or the rows of a layer norm. They are no part of a timed forward.

use super::stepwise::{LaunchSizes, call_from, divide_first, grid};
use super::{DeviceCall, Placement};
use crate::backend::cuda::catalogue::KernelSource;
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::launch::Arguments;
use crate::backend::cuda::stage::{LayerNorm, Norm, OpOutput, TensorId};
use crate::engine::{LayerNormTally, TensorTally};
use crate::graph::{Format, Mask, ValueShape};

/// The tally of one operation in device memory, `OpTally` of `kernels/tally.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::cuda) struct TallyWords(pub [u64; 7]);

impl TallyWords {
    /// Its size, bytes.
    pub const BYTES: usize = size_of::<[u64; 7]>();
    /// The tally of nothing: no row has a reciprocal deviation yet.
    pub const EMPTY: TallyWords = TallyWords([0, 0, 0, 0, 0, f32::INFINITY.to_bits() as u64, 0]);

    /// The tally of a tensor.
    pub fn tensor(self) -> TensorTally {
        let [largest, nan, inf, ..] = self.0;
        TensorTally { largest: number(largest), nan, inf }
    }

    /// The tally of a layer norm's rows of `width` elements.
    pub fn layer_norm(self, width: usize, epsilon: f64) -> LayerNormTally {
        let [.., rows, silent, least_scale, deviation] = self.0;
        // 1 / scale² is the variance plus epsilon. The sum of squares is n times the variance.
        let square_sum = width as f64 * (number(least_scale).powi(-2) - epsilon);
        LayerNormTally { rows, silent, square_sum: square_sum.max(0.0), deviation: number(deviation) }
    }
}

/// The FP32 number of some bits.
fn number(bits: u64) -> f64 {
    f64::from(f32::from_bits(bits as u32))
}

/// What is tallied.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tallied {
    /// The elements, scaled and rounded where the tensor's reader does so.
    Elements(Option<(f64, Format)>),
    /// The rows that enter a layer norm.
    Rows(Norm),
}

/// A tally of a tensor in device memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::backend::cuda) struct Tally {
    tallied: Tallied,
    address: u64,
    element: ElementType,
    rows: usize,
    stride: usize,
    value: ValueShape,
    mask: Mask,
    lengths: u64,
    sequence: usize,
}

impl Tally {
    /// The tally of an operation's output, whose shape in the graph is `value`.
    pub fn of_output(placement: &Placement<'_>, output: &OpOutput, value: ValueShape, mask: Mask) -> Tally {
        Tally { mask, ..Tally::of(placement, output.tensor, value, Tallied::Elements(output.scale)) }
    }

    /// The tally of the rows that enter a layer norm.
    pub fn of_layer_norm(placement: &Placement<'_>, stage: &LayerNorm, value: ValueShape) -> Tally {
        Tally::of(placement, stage.input, value, Tallied::Rows(stage.norm))
    }

    fn of(placement: &Placement<'_>, id: TensorId, value: ValueShape, tallied: Tallied) -> Tally {
        let tensor = placement.stages.tensor(id);
        Tally {
            tallied,
            address: placement.tensor(id),
            element: tensor.element,
            rows: tensor.rows,
            stride: tensor.stride,
            value,
            mask: Mask::Padding,
            lengths: placement.lengths,
            sequence: placement.sequence,
        }
    }

    /// The call that adds to the [`TallyWords`] at `words`.
    pub fn call(&self, words: u64) -> DeviceCall {
        let (width, sequence, heads) = match self.value {
            ValueShape::Sequences(width) => (width, 0, 0),
            ValueShape::Tokens(width) => (width, self.sequence, 0),
            ValueShape::Scores(heads) => (self.sequence, self.sequence, heads),
        };
        let (scale, epsilon) = match self.tallied {
            Tallied::Elements(scale) => (scale.map_or(1.0, |(scale, _)| scale), 0.0),
            Tallied::Rows(norm) => (1.0, norm.epsilon),
        };
        let arguments = Arguments::default()
            .pointer(self.address)
            .pointer(self.lengths)
            .pointer(words)
            .int(self.stride)
            .int(width)
            .int(sequence)
            .int(heads)
            .int(usize::from(self.mask == Mask::Causal))
            .float(scale)
            .float(epsilon);
        let element = self.element.cuda();
        let (kernel, formats, shared_floats) = match self.tallied {
            Tallied::Elements(scale) => {
                let stored = scale.map_or(ElementType::F32.cuda(), |(_, stored)| grid(stored));
                ("tally_tensor", vec![element, stored], 0)
            }
            Tallied::Rows(Norm { rounding, order, .. }) => {
                let formats = vec![element, grid(rounding.compute), grid(rounding.accumulate), divide_first(order)];
                ("tally_layer_norm", formats, 3 * width)
            }
        };
        let sizes = LaunchSizes::rows(self.rows, shared_floats);
        call_from(KernelSource::Tally, ("TallyArguments", kernel), &formats, sizes, arguments)
    }
}
