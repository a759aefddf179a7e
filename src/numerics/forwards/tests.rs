//! Forwards of models with injected outliers, against float64.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::backend::mock::MockBackend;
use crate::backend::reference::{ReferenceBackend, oracle_outputs};
use crate::engine::{Backend, BackendError, BuildRequest, EngineDescription, MemoryBreakdown, Output};
use crate::graph::{OpClass, PrecisionPolicy, Preset, ReductionOrder};
use crate::input::{Batch, InputSource};
use crate::model::{Architecture, Injection, ModelSource};
use crate::model::{Head, Model};
use crate::numerics::{Part, PathOf, ReferenceSource};

const SHAPE: Shape = Shape { batch: 2, sequence: 6 };

fn injected(architecture: Architecture, magnitude: f64) -> Arc<Model> {
    let source = Box::new(ModelSource::Random { seed: 1, architecture });
    let source = ModelSource::Injected { source, inject: Injection { layer: 1, channel: 7, magnitude } };
    Arc::new(Model::open("tiny-injected", &source, Path::new("."), Head::Natural).unwrap())
}

fn examined(model: &Arc<Model>, policy: &PrecisionPolicy, forwards: Option<usize>) -> ForwardSummary {
    let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
    let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
    examined_with(model, policy, forwards, engine.as_mut(), Err("no folder".to_owned())).0
}

/// The counts, and the remark that is left.
fn examined_with(
    model: &Arc<Model>,
    policy: &PrecisionPolicy,
    forwards: Option<usize>,
    engine: &mut dyn Engine,
    paths: Result<PathOf<'_>, String>,
) -> (ForwardSummary, Option<String>) {
    let fp32 = policy.as_preset() == Some(Preset::Fp32);
    let settings = Numerics { forwards, ..Numerics::DEFAULT };
    let input = random(model);
    let source = ReferenceSource { model, input: &input, sequence: SHAPE.sequence, part: Part::Compared(1) };
    let mut first = NumericsSummary::default();
    let summary = Forwards { graph: &model.graph, shape: SHAPE, settings, fp32 }
        .examine(engine, &input, &mut ForwardReferences::new(source, paths), &mut first)
        .unwrap();
    (summary, first.remark)
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
    assert_eq!((unasked.forwards, unasked.silent_rows, unasked.magnitudes), (1, None, None), "FP32 is not emulated");
    let emulated = examined(&model, &PrecisionPolicy::preset(Preset::Fp16), None);
    assert_eq!((emulated.forwards, emulated.silent_rows), (1, Some(12)));
}

/// An engine that has the formats and shows its tensors, as `cuda` does under fp16.
struct Native(Box<dyn Engine>);

impl Engine for Native {
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError> {
        self.0.bind(batch)
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        self.0.enqueue()
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        self.0.outputs()
    }

    fn examine(&mut self) -> Result<Option<Examination>, BackendError> {
        self.0.examine()
    }

    fn memory(&self) -> MemoryBreakdown {
        self.0.memory()
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription { emulated: false, ..self.0.describe() }
    }
}

#[test]
fn a_native_engine_that_shows_its_tensors_is_looked_into_unasked() {
    let model = injected(Architecture::Gpt2Tiny, 300.0);
    let policy = PrecisionPolicy::preset(Preset::Fp16);
    let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
    let mut engine = Native(ReferenceBackend::default().build(&request).unwrap().engine.unwrap());
    let (summary, _) = examined_with(&model, &policy, None, &mut engine, Err("no folder".to_owned()));
    assert_eq!((summary.forwards, summary.silent_forwards, summary.silent_rows), (1, Some(1), Some(12)));
    assert_eq!(summary.first_bad.unwrap().op, "final/layer_norm");
    let mut engine = MockBackend.build(&request).unwrap().engine.unwrap();
    let (summary, _) = examined_with(&model, &policy, None, engine.as_mut(), Err("no folder".to_owned()));
    assert_eq!((summary.forwards, summary.silent_forwards), (1, None), "it shows none");
}

#[test]
fn a_library_that_shows_no_tensors_still_has_its_outputs_counted() {
    let model = injected(Architecture::Gpt2Tiny, 300.0);
    let policy = PrecisionPolicy::preset(Preset::Fp16);
    let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
    let mut engine = MockBackend.build(&request).unwrap().engine.unwrap();
    let (summary, remark) = examined_with(&model, &policy, Some(4), engine.as_mut(), Err("no folder".to_owned()));
    assert_eq!((summary.forwards, summary.nan_forwards), (4, 0));
    assert_eq!((summary.silent_forwards, summary.silent_rows, summary.first_bad), (None, None, None));
    assert_eq!(remark.as_deref(), Some("passes not compared: no folder"));
    assert_eq!((summary.compared_rows, summary.broken_rows, summary.failed_forwards), (None, None, None));
}

/// Smallest cosine of rows to float64, and how many are below 0.99 or more than a tenth of the length away.
fn broken_by_float64(model: &Model, batch: &Batch, rows: &[f32]) -> (f64, u64) {
    let exact = oracle_outputs(model, batch, 1).unwrap();
    let width = rows.len() / SHAPE.tokens();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let of = |(ours, exact): (&[f32], &[f64])| {
        let ours: Vec<f64> = ours.iter().map(|&x| f64::from(x)).collect();
        let error: Vec<f64> = ours.iter().zip(exact).map(|(a, b)| a - b).collect();
        let lengths = (product(&ours, &ours) * product(exact, exact)).sqrt();
        // A norm without a bias returns zeros, which point nowhere.
        let cosine = if lengths == 0.0 { 0.0 } else { product(&ours, exact) / lengths };
        (cosine, cosine < 0.99 || product(&error, &error) > 0.01 * product(exact, exact))
    };
    let found: Vec<(f64, bool)> = rows.chunks(width).zip(exact.chunks(width)).map(of).collect();
    let smallest = found.iter().map(|(cosine, _)| *cosine).fold(1.0, f64::min);
    (smallest, found.iter().filter(|(_, broken)| *broken).count() as u64)
}

/// Ten batches of two sequences: their references lie in five files.
#[test]
fn rows_of_all_forwards_are_compared_with_references_that_are_shared_by_file() {
    let model = injected(Architecture::Gpt2Tiny, 300.0);
    let folder = tempfile::tempdir().unwrap();
    let path = |part: Part| folder.path().join(format!("{part:?}.safetensors"));
    let (input, backend) = (random(&model), ReferenceBackend::default());
    let wanted = Numerics { forwards: Some(10), ..Numerics::DEFAULT };
    let parts: Vec<Part> = Part::of_forwards(wanted, SHAPE.batch).collect();
    assert_eq!(parts, (0..5).map(Part::Forwards).collect::<Vec<_>>());
    for part in parts {
        let source = ReferenceSource { model: &model, input: &input, sequence: SHAPE.sequence, part };
        source.ensure(&path(part), &backend).unwrap();
    }
    for preset in [Preset::Fp16, Preset::Hybrid] {
        let policy = PrecisionPolicy::preset(preset);
        let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
        let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
        let (mut smallest, mut broken, mut forwards) = (1.0, 0, 0);
        for forward in 0..10 {
            let batch = input.batch(SHAPE, 2 * forward).unwrap();
            engine.bind(&batch).unwrap();
            engine.enqueue().unwrap();
            let (cosine, rows) = broken_by_float64(&model, &batch, &engine.outputs().unwrap().values);
            (smallest, broken, forwards) = (cosine.min(smallest), broken + rows, forwards + u64::from(rows > 0));
        }
        let (summary, remark) = examined_with(&model, &policy, Some(10), engine.as_mut(), Ok(Box::new(path)));
        assert_eq!(remark, None);
        assert_eq!((summary.compared_rows, summary.broken_rows), (Some(10 * 12), Some(broken)), "{preset}");
        assert_eq!((summary.broken_forwards, summary.failed_forwards), (Some(forwards), Some(forwards)));
        assert!((summary.cosine_min.unwrap() - smallest).abs() < 1e-5, "{summary:?} {smallest}");
        assert_eq!((broken, forwards), if preset == Preset::Fp16 { (120, 10) } else { (0, 0) });
    }
    std::fs::remove_file(path(Part::Forwards(1))).unwrap();
    let policy = PrecisionPolicy::preset(Preset::Hybrid);
    let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
    let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
    let (summary, remark) = examined_with(&model, &policy, Some(10), engine.as_mut(), Ok(Box::new(path)));
    assert!(remark.unwrap().contains("Forwards(1).safetensors"));
    assert_eq!((summary.compared_rows, summary.broken_forwards, summary.cosine_min), (None, None, None));
}

#[test]
fn a_forward_fails_once_and_a_sum_needs_every_forward() {
    let counted = |nan_count, broken_rows, cosine_min| NumericsSummary {
        nan_count,
        compared_rows: 3,
        broken_rows,
        cosine_min,
        ..NumericsSummary::default()
    };
    let sum = |all: &[NumericsSummary]| {
        let mut summary = ForwardSummary::default();
        all.iter().for_each(|counted| summary.count(counted));
        summary
    };
    let (clean, broken) = (counted(0, Some(0), Some(1.0)), counted(0, Some(2), Some(0.5)));
    let summary = sum(&[clean.clone(), broken.clone(), counted(7, Some(1), None)]);
    assert_eq!((summary.forwards, summary.nan_forwards), (3, 1));
    assert_eq!((summary.compared_rows, summary.broken_rows), (Some(9), Some(3)));
    assert_eq!((summary.broken_forwards, summary.failed_forwards), (Some(2), Some(2)), "NaN and broken at once");
    assert_eq!(summary.cosine_min, None, "a row that is not finite has no cosine");
    assert_eq!(sum(&[clean.clone(), broken]).cosine_min, Some(0.5));
    for all in [[counted(0, None, None), clean.clone()], [clean.clone(), counted(0, None, None)]] {
        let summary = sum(&all);
        assert_eq!((summary.broken_rows, summary.broken_forwards, summary.failed_forwards), (None, None, None));
        assert_eq!((summary.compared_rows, summary.cosine_min), (None, None));
    }
    let summary = sum(&[counted(1, None, None), clean]);
    assert_eq!((summary.broken_forwards, summary.failed_forwards), (None, Some(1)), "NaN fails without a reference");
}
