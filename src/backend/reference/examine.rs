//! An observer that tallies every tensor of a forward pass.

use rayon::prelude::*;

use super::kernels::{Kernels, LayerNormArguments};
use super::observer::{Observer, PendingOp};
use super::rounding::{is_on_grid, round_to};
use crate::engine::{Examination, LayerNormTally, OpTally, TensorTally};
use crate::graph::{Format, Graph, Mask, OpKind, Rounding, ValueId, ValueShape};
use crate::input::Batch;

/// Tallies the tensors of one forward pass over one batch.
pub(super) struct Examiner<'a> {
    graph: &'a Graph,
    batch: &'a Batch,
    mask: Mask,
    ops: Vec<OpTally>,
}

impl<'a> Examiner<'a> {
    /// An examiner for a forward pass of `graph` over `batch`.
    pub fn new(graph: &'a Graph, batch: &'a Batch) -> Self {
        let mut masks = graph.ops.iter().filter_map(|op| match op.kind {
            OpKind::Softmax(mask) => Some(mask),
            _ => None,
        });
        // Every layer of a model has the same mask.
        let mask = masks.next().unwrap_or(Mask::Padding);
        Examiner { graph, batch, mask, ops: Vec::with_capacity(graph.ops.len()) }
    }

    /// The tallies of all operations.
    pub fn finish(self) -> Examination {
        Examination { ops: self.ops }
    }

    /// How many leading elements of a row of this value some operation reads.
    fn read(&self, value: ValueId, row: usize) -> usize {
        let sequence = self.batch.shape.sequence;
        match self.graph.value(value).shape {
            ValueShape::Sequences(width) => width,
            ValueShape::Tokens(width) => match row % sequence < self.batch.lengths[row / sequence] {
                true => width,
                false => 0,
            },
            ValueShape::Scores(heads) => {
                let (query, length) = (row % sequence, self.batch.lengths[row / (heads * sequence)]);
                match self.mask {
                    _ if query >= length => 0,
                    Mask::Padding => length,
                    Mask::Causal => query + 1,
                }
            }
        }
    }

    fn tally(&self, value: ValueId, values: &[f32]) -> TensorTally {
        let width = self.graph.value(value).shape.dims(self.batch.shape).last().copied().unwrap_or(1);
        let rows = values.par_chunks_exact(width).enumerate();
        rows.map(|(row, values)| tally_row(&values[..self.read(value, row)]))
            .reduce(TensorTally::default, TensorTally::and)
    }

    fn layer_norm(
        &self,
        value: ValueId,
        input: &[f32],
        norm: (Rounding, LayerNormArguments<'_, f32>, Format),
    ) -> LayerNormTally {
        let (rounding, arguments, stored) = norm;
        let mut values = input.to_vec();
        if !is_on_grid(stored, rounding.compute) {
            round_to(rounding.compute, &mut values);
        }
        let (width, epsilon) = (arguments.gamma.len() as f64, arguments.epsilon);
        let scales = f32::reciprocal_deviations(rounding, arguments, &mut values);
        // The call has left the deviations in place of the values.
        let rows = scales.iter().zip(values.chunks_exact(arguments.gamma.len())).enumerate();
        let read = rows.filter(|(row, _)| self.read(value, *row) > 0);
        read.fold(LayerNormTally::default(), |all, (_, (&scale, deviations))| {
            // 1 / scale² is the variance plus epsilon. The sum of squares is n times the variance.
            let square_sum = width * (f64::from(scale).powi(-2) - epsilon);
            LayerNormTally {
                rows: all.rows + 1,
                silent: all.silent + u64::from(scale == 0.0),
                square_sum: if square_sum.is_finite() { all.square_sum.max(square_sum) } else { all.square_sum },
                deviation: all.deviation.max(tally_row(deviations).largest),
            }
        })
    }
}

fn tally_row(values: &[f32]) -> TensorTally {
    let (mut largest, mut nan, mut inf) = (0f32, 0u32, 0u32);
    for x in values {
        let magnitude = x.abs();
        nan += u32::from(x.is_nan());
        inf += u32::from(magnitude == f32::INFINITY);
        // Comparisons with NaN are false.
        largest = if magnitude < f32::INFINITY && magnitude > largest { magnitude } else { largest };
    }
    TensorTally { largest: f64::from(largest), nan: u64::from(nan), inf: u64::from(inf) }
}

impl Observer<f32> for Examiner<'_> {
    const ACTIVE: bool = true;

    fn before(&mut self, pending: PendingOp<'_, f32>) {
        let inputs = pending.op.inputs.iter().zip(&pending.inputs).map(|(value, values)| self.tally(*value, values));
        let input = inputs.reduce(TensorTally::and);
        let layer_norm = match (pending.layer_norm, pending.op.inputs.first()) {
            (Some(norm), Some(&value)) => Some(self.layer_norm(value, pending.inputs[0], norm)),
            _ => None,
        };
        self.ops.push(OpTally { input, layer_norm, ..OpTally::default() });
    }

    fn after(&mut self, output: &[f32]) {
        let Some(value) = self.ops.len().checked_sub(1).map(|last| self.graph.ops[last].output) else { return };
        let output = self.tally(value, output);
        if let Some(tally) = self.ops.last_mut() {
            tally.output = output;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::backend::reference::ReferenceBackend;
    use crate::engine::{Backend, BuildRequest};
    use crate::graph::{OpClass, PrecisionPolicy, Preset, Shape};
    use crate::model::{Architecture, Injection, ModelSource};
    use crate::model::{Head, Model};

    const HIDDEN: f64 = 64.0;

    fn model(architecture: Architecture, magnitude: f64) -> Arc<Model> {
        let random = ModelSource::Random { seed: 1, architecture };
        let source = match magnitude {
            0.0 => random,
            magnitude => ModelSource::Injected {
                source: Box::new(random),
                inject: Injection { layer: 0, channel: 5, magnitude },
            },
        };
        Arc::new(Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap())
    }

    fn examined(model: &Arc<Model>, preset: Preset, batch: &Batch) -> (Examination, Vec<f32>) {
        let request = BuildRequest::new(model.clone(), PrecisionPolicy::preset(preset), batch.shape, 1);
        let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
        engine.bind(batch).unwrap();
        let examination = engine.examine().unwrap().unwrap();
        let seen = engine.outputs().unwrap().values;
        engine.enqueue().unwrap();
        let unseen = engine.outputs().unwrap().values;
        assert!(seen.iter().zip(&unseen).all(|(a, b)| a.to_bits() == b.to_bits()), "looking changes nothing");
        (examination, seen)
    }

    fn ids(sequence: u32) -> Batch {
        Batch::single((0..sequence).map(|id| id * 7 % 1000).collect())
    }

    /// One channel of 300 among 64: its deviation squared is 295² = 87000, beyond FP16.
    #[test]
    fn rows_whose_variance_overflows_are_silent_in_fp16_alone() {
        let model = model(Architecture::Gpt2Tiny, 300.0);
        for (preset, silent) in
            [(Preset::Fp16, true), (Preset::Bf16, false), (Preset::Hybrid, false), (Preset::Fp32, false)]
        {
            let (examination, output) = examined(&model, preset, &ids(9));
            assert!(output.iter().all(|x| x.is_finite()), "{preset}: silent");
            let norms = model.graph.ops.iter().zip(&examination.ops).filter(|(op, _)| op.class == OpClass::LayerNorm);
            let counted: Vec<(bool, u64, u64)> = norms
                .map(|(op, tally)| (tally.layer_norm.unwrap(), op.layer() == Some(0)))
                .map(|(norm, first)| (first, norm.rows, norm.silent))
                .collect();
            // Two before the channel grows, two in layer 1 and the last one after.
            let expected = |first: bool| (first, 9, if silent && !first { 9 } else { 0 });
            assert_eq!(counted, [true, true, false, false, false].map(expected), "{preset}");
        }
    }

    #[test]
    fn the_sum_of_squares_and_the_deviation_are_those_of_the_row() {
        let model = model(Architecture::Gpt2Tiny, 300.0);
        let (examination, _) = examined(&model, Preset::Fp32, &ids(4));
        let last = model.graph.ops.iter().position(|op| op.name.contains("layer.1") && op.class == OpClass::LayerNorm);
        let norm = examination.ops[last.unwrap()].layer_norm.unwrap();
        // One value of 300 in an otherwise small row: n · (300² / n) · (1 - 1/n), up to the rest of the row.
        let expected = 300.0f64.powi(2) * (1.0 - 1.0 / HIDDEN);
        assert!((norm.square_sum / expected - 1.0).abs() < 0.02, "{} {expected}", norm.square_sum);
        let expected = 300.0 * (1.0 - 1.0 / HIDDEN);
        assert!((norm.deviation / expected - 1.0).abs() < 0.02, "{} {expected}", norm.deviation);
    }

    /// 70000 becomes infinite in FP16 where it is stored first: at the bias of the layer that has it.
    #[test]
    fn the_first_infinity_is_found_where_it_arises_and_magnitudes_are_those_of_the_tensors() {
        let model = model(Architecture::Gpt2Tiny, 70000.0);
        let (examination, _) = examined(&model, Preset::Fp16, &ids(3));
        let first = examination.ops.iter().position(|tally| tally.output.inf + tally.output.nan > 0).unwrap();
        assert_eq!(model.graph.ops[first].name, "layer.0/mlp/fc2");
        assert_eq!((examination.ops[first].output.inf, examination.ops[first].output.nan), (3, 0));
        assert!(examination.ops[first].input.unwrap().largest < 10.0, "finite and small before");
        let (examination, _) = examined(&model, Preset::Fp32, &ids(3));
        assert!((examination.ops[first].output.largest - 70000.0).abs() < 10.0);
        assert_eq!(examination.ops[0].input, None, "an embedding reads tables");
    }

    /// BERT's padded rows and masked keys are computed, but no operation reads them.
    #[test]
    fn padding_is_not_tallied() {
        let model = model(Architecture::BertTiny, 0.0);
        let full = Batch::single(vec![1, 2, 3]);
        let shape = Shape { batch: 1, sequence: 5 };
        let padded = Batch::new(shape, vec![1, 2, 3, 900, 900], vec![3]);
        let (alone, _) = examined(&model, Preset::Fp32, &full);
        let (beside, _) = examined(&model, Preset::Fp32, &padded);
        for ((op, a), b) in model.graph.ops.iter().zip(&alone.ops).zip(&beside.ops) {
            let close = (a.output.largest - b.output.largest).abs() <= 1e-5 * a.output.largest;
            assert!(close, "{}: {} {}", op.name, a.output.largest, b.output.largest);
            assert_eq!(a.layer_norm.map(|norm| norm.rows), b.layer_norm.map(|norm| norm.rows), "{}", op.name);
        }
        assert_eq!(examined(&model, Preset::Fp32, &full).0.ops[1].layer_norm.map(|norm| norm.rows), Some(3));
    }

    #[test]
    fn a_row_is_tallied_by_kind() {
        let tally = tally_row(&[1.0, -3.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY]);
        assert_eq!(tally, TensorTally { largest: 3.0, nan: 1, inf: 2 });
        assert_eq!(tally_row(&[]), TensorTally::default());
    }
}
