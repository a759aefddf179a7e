//! The examination of a forward on the device against that of the policy's emulation, operation by operation.

use std::path::Path;
use std::sync::Arc;

use mixprec::engine::{Backend, Engine, Examination, LayerNormTally, OpTally};
use mixprec::graph::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use mixprec::input::{Batch, InputSource, InputStream};
use mixprec::manifest::schema::Numerics;
use mixprec::model::{Architecture, Head, Injection, Model, ModelSource};
use mixprec::numerics::{ForwardReferences, Forwards, Part, ReferenceSource};
use mixprec::record::{BadKind, ForwardSummary, NumericsSummary};

use super::{batch, device, emulated, engine, random_model};
use crate::fixtures::{Golden, open};

const FULL: Shape = Shape { batch: 2, sequence: 6 };
const RAGGED: Shape = Shape { batch: 3, sequence: 33 };

fn injected(architecture: Architecture, layer: usize, magnitude: f64) -> Arc<Model> {
    let source = Box::new(ModelSource::Random { seed: 1, architecture });
    let inject = Injection { layer, channel: 7, magnitude };
    let source = ModelSource::Injected { source, inject };
    Arc::new(Model::open("injected", &source, Path::new("."), Head::Natural).unwrap())
}

/// Full FP16 in both orders of the reduction, and with layer norms in other formats.
fn examined_policies() -> Vec<PrecisionPolicy> {
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    let divided = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16.clone() };
    let wide_norms = |rounding| {
        let mut policy = fp16.clone();
        policy.classes.insert(OpClass::LayerNorm, rounding);
        policy
    };
    let [stored, sums] = [Rounding::fp32_stored_as, Rounding::fp32_accumulated].map(|of| wide_norms(of(Format::Fp16)));
    vec![fp16, divided, stored, sums]
}

fn examined(mut engine: Box<dyn Engine>, batch: &Batch) -> Examination {
    engine.bind(batch).unwrap();
    engine.examine().unwrap().unwrap()
}

/// The device's examination, which agrees with the emulation's: all counts are equal, and magnitudes up to roundings.
pub fn agreed(cuda: &dyn Backend, model: &Arc<Model>, policy: &PrecisionPolicy, batch: &Batch) -> Examination {
    let ours = examined(engine(cuda, model, policy, batch.shape), batch);
    let theirs = examined(emulated(model, policy, batch.shape), batch);
    assert_eq!((ours.ops.len(), theirs.ops.len()), (model.graph.ops.len(), model.graph.ops.len()));
    let close = |a: f64, b: f64| (a - b).abs() <= 0.02 * a.max(b) + 1e-6;
    for ((op, a), b) in model.graph.ops.iter().zip(&ours.ops).zip(&theirs.ops) {
        let what = format!("{} of {policy:?}: {a:?}, emulated {b:?}", op.name);
        assert_eq!(a.input.is_some(), b.input.is_some(), "{what}");
        for (a, b) in [(Some(a.output), Some(b.output)), (a.input, b.input)] {
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            assert_eq!((a.nan, a.inf), (b.nan, b.inf), "{what}");
            assert!(close(a.largest, b.largest), "{what}");
        }
        assert_eq!(a.layer_norm.is_some(), b.layer_norm.is_some(), "{what}");
        let (a, b) = (a.layer_norm.unwrap_or_default(), b.layer_norm.unwrap_or_default());
        assert_eq!((a.rows, a.silent), (b.rows, b.silent), "{what}");
        assert!(close(a.square_sum, b.square_sum) && close(a.deviation, b.deviation), "{what}");
    }
    ours
}

fn norms(model: &Model, examination: &Examination) -> Vec<(String, LayerNormTally)> {
    let ops = model.graph.ops.iter().zip(&examination.ops);
    ops.filter_map(|(op, tally)| Some((op.name.clone(), tally.layer_norm?))).collect()
}

#[test]
fn sound_forwards_are_examined_as_their_emulation_without_padding() {
    let Some((_turn, cuda)) = device() else { return };
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        let model = random_model(architecture, Head::Natural);
        for policy in examined_policies() {
            for batch in [batch(&model, FULL, false), batch(&model, RAGGED, true)] {
                let tokens = batch.lengths.iter().sum::<usize>() as u64;
                let norms = norms(&model, &agreed(cuda.as_ref(), &model, &policy, &batch));
                assert!(norms.iter().all(|(_, norm)| (norm.rows, norm.silent) == (tokens, 0)), "{norms:?}");
            }
        }
    }
}

/// An outlier of 300 in the last of two layers. Its square is beyond FP16, so the layer norm that reads it is silent, unless
/// that norm squares in FP32.
#[test]
fn silent_layer_norms_are_counted_where_the_variance_overflows() {
    let Some((_turn, cuda)) = device() else { return };
    for (architecture, silent) in
        [(Architecture::Gpt2Tiny, "final/layer_norm"), (Architecture::BertTiny, "layer.1/mlp/layer_norm")]
    {
        let model = injected(architecture, 1, 300.0);
        for policy in examined_policies() {
            let fp16 = policy.rounding("", OpClass::LayerNorm).compute == Format::Fp16;
            let batch = batch(&model, FULL, false);
            for (name, norm) in norms(&model, &agreed(cuda.as_ref(), &model, &policy, &batch)) {
                let expected = if fp16 && name == silent { 12 } else { 0 };
                assert_eq!((norm.rows, norm.silent), (12, expected), "{name} of {policy:?}");
                assert_eq!(norm.deviation > 256.0, name == silent, "{name}: {norm:?}");
            }
        }
    }
}

/// The sum of the row's squares is about 250² · 63/64 = 61523 and fits FP16; the square of 270 less the row's mean does not.
#[test]
fn outliers_on_either_side_of_the_limit_are_told_apart() {
    let Some((_turn, cuda)) = device() else { return };
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    for (magnitude, silent) in [(250.0, 0), (270.0, 12)] {
        let model = injected(Architecture::Gpt2Tiny, 1, magnitude);
        let examination = agreed(cuda.as_ref(), &model, &fp16, &batch(&model, FULL, false));
        let (_, last) = norms(&model, &examination).pop().unwrap();
        assert_eq!(last.silent, silent, "{magnitude}: {last:?}");
    }
}

/// 1e5 is infinite as soon as it is stored; what reads it computes NaN. Padding and masked scores stay out.
#[test]
fn infinities_and_what_becomes_of_them_are_counted_as_in_the_emulation() {
    let Some((_turn, cuda)) = device() else { return };
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        for layer in [0, 1] {
            let model = injected(architecture, layer, 1e5);
            let batch = batch(&model, RAGGED, true);
            let tokens = batch.lengths.iter().sum::<usize>() as u64;
            for policy in examined_policies() {
                let examination = agreed(cuda.as_ref(), &model, &policy, &batch);
                let bad = |tally: &OpTally| tally.output.nan + tally.output.inf > 0;
                let first = examination.ops.iter().position(bad).unwrap();
                assert_eq!(model.graph.ops[first].name, format!("layer.{layer}/mlp/fc2"));
                assert_eq!((examination.ops[first].output.inf, examination.ops[first].output.nan), (tokens, 0));
                let nan = examination.ops.iter().map(|tally| tally.output.nan).sum::<u64>();
                assert!(nan > 0, "{architecture:?} {layer}");
            }
        }
    }
}

/// The summary of three forwards, whose outputs are not compared with a reference.
fn summary(mut engine: Box<dyn Engine>, model: &Arc<Model>) -> ForwardSummary {
    let input = InputStream::open(&InputSource::Random { seed: 7 }, Path::new("."), model).unwrap();
    let settings = Numerics { forwards: Some(3), ..Numerics::DEFAULT };
    let source = ReferenceSource { model, input: &input, sequence: FULL.sequence, part: Part::Compared(1) };
    let mut references = ForwardReferences::new(source, Err("no folder".to_owned()));
    let forwards = Forwards { graph: &model.graph, shape: FULL, settings, fp32: false };
    forwards.examine(engine.as_mut(), &input, &mut references, &mut NumericsSummary::default()).unwrap()
}

#[test]
fn many_forwards_are_led_back_to_the_operation_that_failed_first() {
    let Some((_turn, cuda)) = device() else { return };
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    for (architecture, magnitude, op, kind) in [
        (Architecture::Gpt2Tiny, 300.0, "final/layer_norm", BadKind::Silent),
        (Architecture::BertTiny, 1e5, "layer.1/mlp/fc2", BadKind::Inf),
    ] {
        let model = injected(architecture, 1, magnitude);
        let mut ours = summary(engine(cuda.as_ref(), &model, &fp16, FULL), &model);
        let mut theirs = summary(emulated(&model, &fp16, FULL), &model);
        let (a, b) = (ours.first_bad.take().unwrap(), theirs.first_bad.take().unwrap());
        assert_eq!((a.forward, a.op.as_str(), a.layer, a.kind), (0, op, b.layer, kind));
        let (a, b) = (a.magnitude.unwrap(), b.magnitude.unwrap());
        assert!((a - b).abs() <= 0.02 * b, "{a} {b}");
        assert_eq!(ours, theirs, "counts of silent rows, NaN and infinities");
        assert_eq!((ours.forwards, ours.layer_norm_rows), (3, Some(3 * 5 * 12)));
        if kind == BadKind::Silent {
            assert_eq!((ours.silent_forwards, ours.silent_rows), (Some(3), Some(36)));
        }
    }
}

/// An examination is a forward of its own: it changes neither the outputs nor what the engine holds.
#[test]
fn examining_changes_nothing() {
    let Some((_turn, cuda)) = device() else { return };
    let model = injected(Architecture::BertTiny, 0, 300.0);
    let mut engine = engine(cuda.as_ref(), &model, &PrecisionPolicy::preset(Preset::Fp16), RAGGED);
    assert!(engine.examine().is_err(), "nothing is bound");
    let bits = |engine: &mut dyn Engine| -> Vec<u32> {
        engine.outputs().unwrap().values.iter().map(|x| x.to_bits()).collect()
    };
    engine.bind(&batch(&model, RAGGED, true)).unwrap();
    engine.enqueue().unwrap();
    let (expected, first) = (bits(engine.as_mut()), engine.examine().unwrap());
    // The first one loads the kernels that tally.
    let before = engine.memory();
    for _ in 0..3 {
        assert_eq!(engine.examine().unwrap(), first);
        assert_eq!(bits(engine.as_mut()), expected, "of the examined forward");
    }
    engine.enqueue().unwrap();
    assert_eq!(bits(engine.as_mut()), expected, "of the CUDA graph");
    assert_eq!(engine.memory(), before);
}

#[test]
fn nothing_is_examined_where_operations_share_a_kernel() {
    let Some((_turn, cuda)) = device() else { return };
    let model = random_model(Architecture::BertTiny, Head::Natural);
    for preset in [Preset::Fp32, Preset::Tf32, Preset::Bf16, Preset::Hybrid] {
        let mut engine = engine(cuda.as_ref(), &model, &PrecisionPolicy::preset(preset), FULL);
        engine.bind(&batch(&model, FULL, false)).unwrap();
        assert_eq!(engine.examine().unwrap(), None, "{preset}");
    }
}

/// The first layer norm that is silent on a real sentence is the emulation's.
#[test]
fn a_trained_checkpoint_fails_first_where_its_emulation_does() {
    let Some((_turn, cuda)) = device() else { return };
    let Some(model) = open("bert-base-sst2", Head::Hidden) else { return };
    let batch = Batch::single(Golden::open().ids("bert.9.ids"));
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    let silent = |engine: Box<dyn Engine>| {
        let norms = norms(&model, &examined(engine, &batch));
        norms.into_iter().find(|(_, norm)| norm.silent > 0)
    };
    let (ours, theirs) =
        (silent(engine(cuda.as_ref(), &model, &fp16, batch.shape)), silent(emulated(&model, &fp16, batch.shape)));
    println!("on the device {ours:?}, emulated {theirs:?}");
    assert_eq!(ours.map(|(name, norm)| (name, norm.silent)), theirs.map(|(name, norm)| (name, norm.silent)));
}
