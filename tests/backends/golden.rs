//! The reference backend against float64 outputs of an independent program, on real checkpoints and real sentences.
//! Needs ../shared and a python3 with numpy and safetensors to expand its checkpoints; skips with a reason otherwise.

use std::path::Path;
use std::sync::Arc;

use crate::fixtures::{Golden, fetched, open, outputs, relative_error, shared, sst2, widened};
use mixprec::backend::reference::{ReferenceBackend, oracle_outputs};
use mixprec::engine::{Backend, BuildRequest, Engine};
use mixprec::graph::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use mixprec::input::InputSource;
use mixprec::input::{Batch, InputStream, Truth};
use mixprec::manifest::schema::Numerics;
use mixprec::model::{Head, Model};
use mixprec::numerics::evaluate;

const THREADS: usize = 2;

fn engine(model: &Arc<Model>, preset: Preset, shape: Shape) -> Box<dyn Engine> {
    let request = BuildRequest::new(model.clone(), PrecisionPolicy::preset(preset), shape, THREADS);
    ReferenceBackend::default().build(&request).unwrap().engine.unwrap()
}

#[test]
fn bert_logits_and_hidden_states_match_the_independent_float64_program() {
    let Some(model) = open("bert-base-sst2", Head::Natural) else { return };
    let golden = Golden::open();
    for row in 0..16 {
        let batch = Batch::single(golden.ids(&format!("bert.{row}.ids")));
        let expected = golden.f64s(&format!("bert.{row}.logits"));
        let error = relative_error(&oracle_outputs(&model, &batch, THREADS).unwrap(), &expected);
        assert!(error < 1e-6, "f64 row {row}: {error:e}");
        let mut fp32 = engine(&model, Preset::Fp32, batch.shape);
        let error = relative_error(&widened(&outputs(fp32.as_mut(), &batch)), &expected);
        assert!(error < 1e-4, "f32 row {row}: {error:e}");
    }
    let Some(model) = open("bert-base-sst2", Head::Hidden) else { return };
    let batch = Batch::single(golden.ids("bert.0.ids"));
    let expected = golden.f32s("bert.0.last_hidden_state");
    let error = relative_error(&oracle_outputs(&model, &batch, THREADS).unwrap(), &expected);
    // The golden tensor itself is stored in f32.
    assert!(error < 1e-6, "hidden f64: {error:e}");
    let mut fp32 = engine(&model, Preset::Fp32, batch.shape);
    let error = relative_error(&widened(&outputs(fp32.as_mut(), &batch)), &expected);
    assert!(error < 1e-4, "hidden f32: {error:e}");
}

#[test]
fn gpt2_logits_and_likelihoods_match_the_independent_float64_program() {
    let Some(model) = open("gpt2-mini-wt2", Head::Natural) else { return };
    let golden = Golden::open();
    let vocabulary = model.config.dimensions.vocabulary;
    for window in 0..4 {
        let ids = golden.ids(&format!("gpt2.{window}.ids"));
        let batch = Batch::single(ids[..256].to_vec());
        let nll = golden.f64s(&format!("gpt2.{window}.nll"));
        let last = golden.f32s(&format!("gpt2.{window}.last_logits"));
        let check = |name: &str, logits: &[f64], limit: f64| {
            let ours: Vec<f64> = logits
                .chunks(vocabulary)
                .zip(&ids[1..])
                .map(|(row, &next)| {
                    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest - row[next as usize]
                })
                .collect();
            let error = relative_error(&ours, &nll);
            assert!(error < limit, "{name} NLL of window {window}: {error:e}");
            let error = relative_error(&logits[255 * vocabulary..], &last);
            assert!(error < limit, "{name} logits of window {window}: {error:e}");
        };
        check("f64", &oracle_outputs(&model, &batch, THREADS).unwrap(), 1e-6);
        let mut fp32 = engine(&model, Preset::Fp32, batch.shape);
        check("f32", &widened(&outputs(fp32.as_mut(), &batch)), 1e-4);
    }
}

#[test]
fn tokenised_text_equals_the_golden_ids() {
    let Some(gpt2) = open("gpt2-mini-wt2", Head::Natural) else { return };
    let golden = Golden::open();
    let raw = InputSource::Text { path: shared().join("data/wikitext-2-raw/wiki.test.raw"), sha256: None };
    let stream = InputStream::open(&raw, Path::new("."), &gpt2).unwrap();
    for window in 0..4 {
        let batch = stream.batch(Shape { batch: 1, sequence: 256 }, window).unwrap();
        let ids = golden.ids(&format!("gpt2.{window}.ids"));
        assert_eq!(batch.ids, ids[..256], "window {window}");
        let Some(Truth::NextTokens(next)) = &batch.truths[0] else { panic!("{:?}", batch.truths) };
        assert_eq!(next[255], ids[256]);
    }
    let Some(bert) = open("bert-base-sst2", Head::Natural) else { return };
    let stream = InputStream::open(&sst2(), Path::new("."), &bert).unwrap();
    assert_eq!(stream.len(64), Some(872));
    for row in 0..16 {
        let batch = stream.batch(Shape { batch: 1, sequence: 64 }, row).unwrap();
        assert_eq!(batch.ids[..batch.lengths[0]], golden.ids(&format!("bert.{row}.ids")), "row {row}");
    }
}

#[test]
fn fp32_answers_765_of_872_sst2_sentences_rightly() {
    let Some(model) = open("bert-base-sst2", Head::Natural) else { return };
    let stream = InputStream::open(&sst2(), Path::new("."), &model).unwrap();
    let shape = Shape { batch: 8, sequence: 64 };
    let mut fp32 = engine(&model, Preset::Fp32, shape);
    let quality = evaluate(fp32.as_mut(), &stream, shape, Numerics::default()).unwrap().quality;
    println!("{:?} of {:?} right", quality.task_correct, quality.task_total);
    assert_eq!(quality.task_total, Some(872));
    assert!(quality.task_correct.unwrap().abs_diff(765) <= 1, "{:?}", quality.task_correct);
}

#[test]
fn a_padded_row_in_a_batch_equals_the_row_alone() {
    let Some(model) = open("bert-base-sst2", Head::Natural) else { return };
    let stream = InputStream::open(&sst2(), Path::new("."), &model).unwrap();
    let shape = Shape { batch: 5, sequence: 64 };
    for preset in [Preset::Fp32, Preset::Fp16, Preset::Hybrid] {
        let together = outputs(engine(&model, preset, shape).as_mut(), &stream.batch(shape, 0).unwrap());
        for row in 0..shape.batch {
            let padded = stream.batch(Shape { batch: 1, sequence: 64 }, row).unwrap();
            let alone = Batch::single(padded.ids[..padded.lengths[0]].to_vec());
            let alone = outputs(engine(&model, preset, alone.shape).as_mut(), &alone);
            let error = relative_error(&widened(&together[2 * row..2 * row + 2]), &widened(&alone));
            let limit = if preset == Preset::Fp32 { 1e-5 } else { 1e-2 };
            assert!(error < limit, "{preset} row {row}: {error:e}");
        }
    }
}

/// The design study emulated whole-model errors of 3e-3 (hybrid) to 3e-2 (bf16); gates from its section 4. FP16
/// throughout breaks on this checkpoint without a single NaN: the layer norms of layers 5 to 10 see deviations over 256,
/// whose squares overflow in either order of the reduction. FP32 arithmetic in the layer norms alone cures it.
#[test]
fn emulated_policies_are_as_far_from_float64_as_their_formats_say() {
    let Some(model) = open("bert-base-sst2", Head::Hidden) else { return };
    let batch = Batch::single(Golden::open().ids("bert.9.ids"));
    let exact = oracle_outputs(&model, &batch, THREADS).unwrap();
    let error = |policy: PrecisionPolicy| {
        let request = BuildRequest::new(model.clone(), policy, batch.shape, THREADS);
        let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
        let ours = outputs(engine.as_mut(), &batch);
        assert!(ours.iter().all(|x| x.is_finite()), "{}", request.policy.name);
        let error = relative_error(&widened(&ours), &exact);
        println!("{}: {error:.2e}", request.policy.name);
        error
    };
    for (preset, floor, ceiling) in [
        (Preset::Fp32, 1e-8, 2e-5),
        (Preset::Tf32, 1e-5, 1e-2),
        (Preset::Hybrid, 1e-5, 1e-2),
        (Preset::Bf16, 1e-4, 1e-1),
    ] {
        let error = error(PrecisionPolicy::preset(preset));
        assert!((floor..ceiling).contains(&error), "{preset}: {error:e} is outside {floor:e}..{ceiling:e}");
    }
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    let divide_first = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16.clone() };
    let mut cured = fp16.clone();
    cured.classes.insert(OpClass::LayerNorm, Rounding::fp32_stored_as(Format::Fp16));
    let (silent, divided, cured) = (error(fp16), error(divide_first), error(cured));
    assert!(silent > 0.1 && divided > 0.1 && cured < 3e-2, "{silent:e} {divided:e} {cured:e}");
}

/// The largest error of a row was 2e-6 when the test was written.
#[test]
fn logits_of_the_real_classifier_match_the_independent_float64_program() {
    let Some(model) = fetched("bert-base-uncased-sst2", Head::Natural) else { return };
    let (golden, stream) = (Golden::real(), InputStream::open(&sst2(), Path::new("."), &model).unwrap());
    for row in 0..16 {
        let ids = golden.ids(&format!("classifier.{row}.ids"));
        let padded = stream.batch(Shape { batch: 1, sequence: 64 }, row).unwrap();
        assert_eq!(padded.ids[..padded.lengths[0]], ids, "row {row}");
        let batch = Batch::single(ids);
        let mut fp32 = engine(&model, Preset::Fp32, batch.shape);
        let logits = widened(&outputs(fp32.as_mut(), &batch));
        let error = relative_error(&logits, &golden.f64s(&format!("classifier.{row}.logits")));
        assert!(error < 1e-5, "row {row}: {error:e}");
    }
}

/// Windows of WikiText-2 and random ids between [CLS] and [SEP] through Google's BERT-base. The program wrote deviations down
/// with two decimals.
#[test]
fn hidden_states_and_deviations_of_real_weights_match_the_independent_float64_program() {
    let Some(model) = fetched("bert-base-uncased", Head::Hidden) else { return };
    let golden = Golden::real();
    let shape = Shape { batch: 1, sequence: 128 };
    let text = InputSource::Text { path: shared().join("data/wikitext-2-raw/wiki.test.raw"), sha256: None };
    let stream = InputStream::open(&text, Path::new("."), &model).unwrap();
    let facts = std::fs::read(shared().join("golden/bert_base_uncased_f64.json")).unwrap();
    let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap();
    let mut fp32 = engine(&model, Preset::Fp32, shape);
    for pass in facts["trunk"].as_array().unwrap() {
        let (window, input) = (pass["window"].as_u64().unwrap(), pass["input"].as_str().unwrap());
        let name = format!("trunk.{window}.{input}");
        let batch = Batch::single(golden.ids(&format!("{name}.ids")));
        if input == "text" {
            assert_eq!(stream.batch(shape, window as usize).unwrap().ids, batch.ids, "{name}");
        }
        fp32.bind(&batch).unwrap();
        let examination = fp32.examine().unwrap().unwrap();
        let ours = widened(&fp32.outputs().unwrap().values);
        let error = relative_error(&ours, &golden.f32s(&format!("{name}.last_hidden_state")));
        assert!(error < 1e-5, "{name}: {error:e}");
        let ours: Vec<f64> = examination.ops.iter().filter_map(|op| Some(op.layer_norm?.deviation)).collect();
        let expected: Vec<f64> =
            pass["largest_deviation"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(ours.len(), expected.len());
        let agree =
            ours.iter().zip(&expected).all(|(ours, expected)| (ours - expected).abs() < 0.005 + 1e-5 * expected);
        assert!(agree, "{name}: {ours:?} {expected:?}");
        println!("{name}: hidden states {error:.1e}");
    }
}

/// The perplexity stated beside the checkpoint: 194.85 over windows of 513 tokens of WikiText-2 v1. Two minutes.
#[test]
#[ignore = "scores 241 000 tokens; run with --ignored"]
fn fp32_perplexity_of_wikitext_is_the_published_one() {
    let Some(model) = open("gpt2-mini-wt2", Head::Natural) else { return };
    let text = InputSource::Text { path: shared().join("data/wikitext-2-v1/wiki.test.tokens"), sha256: None };
    let stream = InputStream::open(&text, Path::new("."), &model).unwrap();
    let shape = Shape { batch: 2, sequence: 512 };
    let settings = Numerics { compare_sequences: 1, score_windows: usize::MAX, ..Numerics::DEFAULT };
    let quality = evaluate(engine(&model, Preset::Fp32, shape).as_mut(), &stream, shape, settings).unwrap().quality;
    let perplexity = quality.nll_mean.unwrap().exp();
    println!("perplexity {perplexity:.3} over {:?} tokens", quality.nll_tokens);
    assert!((perplexity - 194.85).abs() < 0.05, "{perplexity}");
}
