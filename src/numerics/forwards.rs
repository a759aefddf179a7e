//! Examines many forwards for NaN, infinity and layer norms that returned their bias. For the first forward with any of
//! these, finds the operation where it began.

use super::NumericsError;
use super::compare::count_nonfinite;
use crate::engine::{Engine, Examination, OpTally};
use crate::graph::{Graph, Shape};
use crate::input::InputStream;
use crate::record::magnitudes::{MagnitudeKind, Magnitudes};
use crate::record::{BadKind, FirstBad, ForwardSummary, NumericsSummary};

/// The forwards to examine.
#[derive(Debug, Clone, Copy)]
pub struct Forwards<'a> {
    /// The model's operations.
    pub graph: &'a Graph,
    /// The engine's shape.
    pub shape: Shape,
    /// Number of forwards. `None` examines only the first batch, and its tensors only where formats are emulated.
    pub forwards: Option<usize>,
    /// Whether the policy is FP32, so that its magnitudes are those of the model.
    pub fp32: bool,
}

impl Forwards<'_> {
    /// Runs the forwards. Each reads different rows of the input, so the length of a text limits their number. When
    /// only the first batch is examined and its tensors are not shown, the result is `first`, the counts in its output.
    ///
    /// # Errors
    /// [`NumericsError`] when the engine or the input fails.
    pub fn examine(
        &self,
        engine: &mut dyn Engine,
        input: &InputStream,
        first: &NumericsSummary,
    ) -> Result<ForwardSummary, NumericsError> {
        let wanted = self.forwards.unwrap_or(1);
        let rows = input.len(self.shape.sequence);
        let forwards = rows.map_or(wanted, |rows| wanted.min((rows / self.shape.batch).max(1)));
        let looks_inside = self.forwards.is_some() || engine.describe().emulated;
        let mut summary = ForwardSummary::default();
        if !looks_inside {
            summary.count(first);
            return Ok(summary);
        }
        for forward in 0..forwards {
            let batch = input.batch(self.shape, forward * self.shape.batch)?;
            engine.bind(&batch)?;
            let examination = engine.examine()?;
            if examination.is_none() {
                engine.enqueue()?;
                engine.synchronize()?;
            }
            summary.count(&count_nonfinite(&engine.outputs()?, &batch));
            if let Some(examination) = examination {
                self.add(&mut summary, &examination, forward as u64);
            }
        }
        Ok(summary)
    }

    fn add(&self, summary: &mut ForwardSummary, examination: &Examination, forward: u64) {
        let norms = examination.ops.iter().filter_map(|op| op.layer_norm);
        let (rows, silent) = norms.fold((0, 0), |sums, norm| (sums.0 + norm.rows, sums.1 + norm.silent));
        *summary.layer_norm_rows.get_or_insert(0) += rows;
        *summary.silent_rows.get_or_insert(0) += silent;
        *summary.silent_forwards.get_or_insert(0) += u64::from(silent > 0);
        if summary.first_bad.is_none() {
            summary.first_bad = first_bad(self.graph, examination, forward);
        }
        if self.fp32 {
            summary.magnitudes.get_or_insert_default().merge(&magnitudes(self.graph, examination));
        }
    }
}

impl ForwardSummary {
    /// Adds a forward with these counts in its output.
    fn count(&mut self, counted: &NumericsSummary) {
        self.forwards += 1;
        self.nan_forwards += u64::from(counted.nan_count > 0);
        self.inf_forwards += u64::from(counted.inf_count > 0);
    }
}

/// The first operation of a forward that wrote NaN or infinity or returned its bias, with the magnitude of its input.
fn first_bad(graph: &Graph, examination: &Examination, forward: u64) -> Option<FirstBad> {
    let mut kinds =
        graph.ops.iter().zip(&examination.ops).filter_map(|(op, tally)| Some((op, tally, bad_kind(tally)?)));
    let (op, tally, kind) = kinds.next()?;
    let magnitude = tally.input.map(|input| input.largest);
    Some(FirstBad { forward, op: op.name.clone(), layer: op.layer(), kind, magnitude })
}

fn bad_kind(tally: &OpTally) -> Option<BadKind> {
    let silent = tally.layer_norm.is_some_and(|norm| norm.silent > 0);
    match tally.output {
        output if output.nan > 0 => Some(BadKind::Nan),
        output if output.inf > 0 => Some(BadKind::Inf),
        _ => silent.then_some(BadKind::Silent),
    }
}

fn magnitudes(graph: &Graph, examination: &Examination) -> Magnitudes {
    let mut all = Magnitudes::default();
    for (op, tally) in graph.ops.iter().zip(&examination.ops) {
        all.raise(op.layer(), MagnitudeKind::Output(op.class), tally.output.largest);
        if let Some(norm) = tally.layer_norm {
            all.raise(op.layer(), MagnitudeKind::SquareSum, norm.square_sum);
            all.raise_deviation(&op.name, norm.deviation);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::backend::mock::MockBackend;
    use crate::backend::reference::ReferenceBackend;
    use crate::engine::{Backend, BuildRequest};
    use crate::graph::{OpClass, PrecisionPolicy, Preset, ReductionOrder};
    use crate::input::InputSource;
    use crate::model::{Architecture, Injection, ModelSource};
    use crate::model::{Head, Model};

    const SHAPE: Shape = Shape { batch: 2, sequence: 6 };

    fn injected(architecture: Architecture, magnitude: f64) -> Arc<Model> {
        let source = Box::new(ModelSource::Random { seed: 1, architecture });
        let source = ModelSource::Injected { source, inject: Injection { layer: 1, channel: 7, magnitude } };
        Arc::new(Model::open("tiny-injected", &source, Path::new("."), Head::Natural).unwrap())
    }

    fn examined(model: &Arc<Model>, policy: &PrecisionPolicy, forwards: Option<usize>) -> ForwardSummary {
        let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
        let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
        forwards_of(model, policy, forwards)
            .examine(engine.as_mut(), &random(model), &NumericsSummary::default())
            .unwrap()
    }

    fn forwards_of<'a>(model: &'a Model, policy: &PrecisionPolicy, forwards: Option<usize>) -> Forwards<'a> {
        let fp32 = policy.as_preset() == Some(Preset::Fp32);
        Forwards { graph: &model.graph, shape: SHAPE, forwards, fp32 }
    }

    fn random(model: &Model) -> InputStream {
        InputStream::open(&InputSource::Random { seed: 7 }, Path::new("."), model).unwrap()
    }

    /// An outlier of 300 in the last of two layers. Only GPT-2's final layer norm reads it: 12 of 60 rows per forward.
    #[test]
    fn silent_rows_are_counted_and_led_back_to_the_norm_that_overflowed() {
        let model = injected(Architecture::Gpt2Tiny, 300.0);
        let summary = examined(&model, &PrecisionPolicy::preset(Preset::Fp16), Some(3));
        assert_eq!((summary.forwards, summary.nan_forwards, summary.inf_forwards), (3, 0, 0));
        assert_eq!((summary.silent_forwards, summary.silent_rows), (Some(3), Some(36)));
        assert_eq!(summary.layer_norm_rows, Some(3 * 5 * 12));
        let first = summary.first_bad.unwrap();
        assert_eq!((first.forward, first.op.as_str(), first.layer), (0, "final/layer_norm", None));
        assert_eq!(first.kind, BadKind::Silent);
        assert!((first.magnitude.unwrap() - 300.0).abs() < 2.0, "{first:?}");
        assert_eq!(summary.magnitudes, None, "these would be FP16's, not the model's");
    }

    #[test]
    fn wider_formats_are_clean_and_a_division_before_the_sum_only_helps_below_256() {
        let model = injected(Architecture::Gpt2Tiny, 250.0);
        let fp16 = PrecisionPolicy::preset(Preset::Fp16);
        let divided = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16.clone() };
        for preset in [Preset::Fp32, Preset::Bf16, Preset::Hybrid] {
            let summary = examined(&model, &PrecisionPolicy::preset(preset), Some(1));
            assert_eq!((summary.silent_rows, summary.first_bad), (Some(0), None), "{preset}");
        }
        // The row's sum of squares is about 250² · 63/64 = 61523 and fits; 300² does not, in either order.
        assert_eq!(examined(&model, &fp16, Some(1)).silent_rows, Some(0));
        let model = injected(Architecture::Gpt2Tiny, 300.0);
        assert_eq!(examined(&model, &divided, Some(1)).silent_rows, Some(12), "the square itself is infinite");
    }

    /// BERT adds the outlier before its layer norm; 1e5 is infinite as soon as it is stored.
    #[test]
    fn an_infinity_is_led_back_to_the_product_that_stored_it() {
        let model = injected(Architecture::BertTiny, 1e5);
        let summary = examined(&model, &PrecisionPolicy::preset(Preset::Fp16), Some(2));
        let first = summary.first_bad.unwrap();
        assert_eq!((first.op.as_str(), first.layer, first.kind), ("layer.1/mlp/fc2", Some(1), BadKind::Inf));
        assert!(first.magnitude.unwrap() < 100.0, "{first:?}");
        assert_eq!((summary.nan_forwards, summary.forwards), (2, 2), "infinity less an infinite mean is NaN");
    }

    #[test]
    fn fp32_passes_yield_magnitudes_by_layer() {
        let model = injected(Architecture::Gpt2Tiny, 300.0);
        let fp32 = PrecisionPolicy::preset(Preset::Fp32);
        let magnitudes = examined(&model, &fp32, Some(2)).magnitudes.unwrap();
        let residual = magnitudes.of_layers[&(Some(1), MagnitudeKind::Output(OpClass::Residual))];
        assert!((residual - 300.0).abs() < 2.0, "{residual}");
        assert!(magnitudes.of_layers[&(Some(0), MagnitudeKind::Output(OpClass::Residual))] < 10.0);
        let squares = magnitudes.of_layers[&(None, MagnitudeKind::SquareSum)];
        assert!((squares / (300.0f64.powi(2) * 63.0 / 64.0) - 1.0).abs() < 0.02, "{squares}");
        let norms: Vec<&str> = magnitudes.deviations.iter().map(|(norm, _)| norm.as_str()).collect();
        let blocks = [0, 1].map(|layer| ["attention", "mlp"].map(|block| format!("layer.{layer}/{block}/layer_norm")));
        assert_eq!(norms[..4], blocks.concat());
        assert_eq!(norms[4..], ["final/layer_norm"]);
        // The squares of all deviations are at least that of the largest.
        let largest = magnitudes.deviations[4].1;
        assert!((0.9 * squares..=squares).contains(&largest.powi(2)), "{largest} {squares}");
        assert_eq!(
            magnitudes.of_layers[&(Some(0), MagnitudeKind::Output(OpClass::Softmax))],
            1.0,
            "the first token sees itself alone"
        );
        let unasked = examined(&model, &fp32, None);
        assert_eq!(
            (unasked.forwards, unasked.silent_rows, unasked.magnitudes),
            (1, None, None),
            "FP32 is not emulated"
        );
        let emulated = examined(&model, &PrecisionPolicy::preset(Preset::Fp16), None);
        assert_eq!((emulated.forwards, emulated.silent_rows), (1, Some(12)));
    }

    #[test]
    fn a_library_that_shows_no_tensors_still_has_its_outputs_counted() {
        let model = injected(Architecture::Gpt2Tiny, 300.0);
        let policy = PrecisionPolicy::preset(Preset::Fp16);
        let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
        let mut engine = MockBackend.build(&request).unwrap().engine.unwrap();
        let summary = forwards_of(&model, &policy, Some(4))
            .examine(engine.as_mut(), &random(&model), &NumericsSummary::default())
            .unwrap();
        assert_eq!((summary.forwards, summary.nan_forwards), (4, 0));
        assert_eq!((summary.silent_forwards, summary.silent_rows, summary.first_bad), (None, None, None));
    }
}
