//! The reference backend against the float64 outputs of tests/golden, and those against the program that made them.

use std::path::Path;
use std::sync::Arc;

use crate::fixtures::tiny::{Tiny, committed, of_tokens};
use crate::fixtures::{Golden, outputs, python, relative_error, widened};
use mixprec::backend::reference::{ReferenceBackend, oracle_outputs};
use mixprec::engine::{Backend, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::input::{Batch, ClassName, InputSource, InputStream, Truth};
use mixprec::manifest::schema::Numerics;
use mixprec::model::{Head, Model};
use mixprec::numerics::{evaluate, negative_log_likelihood};

const THREADS: usize = 2;

fn engine(model: &Arc<Model>, preset: Preset, shape: Shape) -> Box<dyn Engine> {
    let request = BuildRequest::new(model.clone(), PrecisionPolicy::preset(preset), shape, THREADS);
    ReferenceBackend::default().build(&request).unwrap().engine.unwrap()
}

fn text(file: &str, model: &Model) -> InputStream {
    let source = match file {
        "story.txt" => InputSource::Text { path: committed(file), sha256: None },
        _ => {
            // The head has a third class, which no label of the file is.
            let classes = [("0", "negative"), ("1", "positive")];
            let labels = classes.map(|(label, class)| (label.to_owned(), ClassName::Name(class.to_owned())));
            InputSource::Sst2 { path: committed(file), sha256: None, labels: labels.into() }
        }
    };
    InputStream::open(&source, Path::new("."), model).unwrap()
}

/// How far the oracle may be: the error function that BERT's GELU calls is good to 5e-11, thrice a bias of FP32 is rounded, and
/// all else is good to the last digits.
fn oracle_limit(tiny: Tiny) -> f64 {
    if matches!(tiny, Tiny::Gpt2 | Tiny::UntiedGpt2) { 1e-12 } else { 1e-9 }
}

#[test]
fn the_oracle_is_the_independent_float64_program() {
    for tiny in Tiny::ALL {
        let model = tiny.open(Head::Natural);
        let (error, case) = tiny.farthest(&model, |batch| oracle_outputs(&model, batch, THREADS).unwrap());
        println!("{tiny:?}: {error:.1e} in {case}");
        assert!(error < oracle_limit(tiny), "{tiny:?} {case}: {error:e}");
    }
}

/// The floors show that a policy rounds at all.
#[test]
fn emulated_policies_are_as_far_from_the_float64_outputs_as_their_formats_say() {
    for tiny in Tiny::ALL {
        let model = tiny.open(Head::Natural);
        for (preset, floor, ceiling) in [
            (Preset::Fp32, 1e-8, 5e-6),
            (Preset::Tf32, 1e-5, 1e-2),
            (Preset::Hybrid, 1e-5, 1e-2),
            (Preset::Fp16, 1e-5, 1e-2),
            (Preset::Bf16, 1e-4, 1e-1),
        ] {
            let run = |batch: &Batch| widened(&outputs(engine(&model, preset, batch.shape).as_mut(), batch));
            let (error, case) = tiny.farthest(&model, run);
            println!("{tiny:?} {preset}: {error:.1e} in {case}");
            let inside = (floor..ceiling).contains(&error);
            assert!(inside, "{tiny:?} {preset} {case}: {error:e} is outside {floor:e}..{ceiling:e}");
        }
    }
}

#[test]
fn tokens_of_both_types_are_embedded_as_in_the_float64_program() {
    for tiny in [Tiny::Trunk, Tiny::Classifier] {
        let (model, pairs) = (tiny.open(Head::Natural), tiny.pairs().unwrap());
        let oracle = |batch: &Batch| of_tokens(&model, batch, &oracle_outputs(&model, batch, THREADS).unwrap());
        let error = relative_error(&oracle(&pairs.batch), &pairs.expected);
        assert!(error < oracle_limit(tiny), "{tiny:?}: {error:e}");
        let mut fp32 = engine(&model, Preset::Fp32, pairs.batch.shape);
        let error = relative_error(
            &of_tokens(&model, &pairs.batch, &widened(&outputs(fp32.as_mut(), &pairs.batch))),
            &pairs.expected,
        );
        assert!(error < 3e-6, "{tiny:?}: {error:e}");
        let of_type_0 = Batch { token_types: None, ..pairs.batch.clone() };
        assert!(relative_error(&oracle(&of_type_0), &pairs.expected) > 1e-3, "types change the output");
        let mut wrong = pairs.batch.clone();
        wrong.token_types = Some(vec![2; wrong.ids.len()]);
        let error = fp32.bind(&wrong).unwrap_err().to_string();
        assert!(error.contains("token type 2, where the model has 2 types"), "{error}");
    }
    let gpt2 = Tiny::Gpt2.open(Head::Natural);
    let typed = Batch::single(vec![1, 2]).with_token_types(vec![0, 1]);
    let error = oracle_outputs(&gpt2, &typed, THREADS).unwrap_err().to_string();
    assert!(error.contains("where the model has 0 types"), "{error}");
}

#[test]
fn separators_stand_around_the_ids_that_the_seed_draws_without_them() {
    let model = Tiny::Classifier.open(Head::Natural);
    let ids = |source: &InputSource| {
        let stream = InputStream::open(source, Path::new("."), &model).unwrap();
        stream.batch(Shape { batch: 2, sequence: 9 }, 1).unwrap().ids
    };
    let (plain, between) = (ids(&InputSource::Random { seed: 7 }), ids(&InputSource::RandomWithSeparators { seed: 7 }));
    let file = std::fs::read(committed("bert-classifier/tokenizer.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let id = |token: &str| file["model"]["vocab"][token].as_u64().unwrap() as u32;
    for (plain, between) in plain.chunks(9).zip(between.chunks(9)) {
        assert_eq!((between[0], &between[1..8], between[8]), (id("[CLS]"), &plain[..7], id("[SEP]")));
    }
    let stream = InputStream::open(&InputSource::RandomWithSeparators { seed: 7 }, Path::new("."), &model).unwrap();
    let error = stream.batch(Shape { batch: 1, sequence: 2 }, 0).unwrap_err().to_string();
    assert!(error.contains("a sequence of 2 holds no id between them; use sequences of 3 and more"), "{error}");
}

#[test]
fn likelihoods_of_next_tokens_are_those_of_the_float64_program() {
    let (model, golden) = (Tiny::Gpt2.open(Head::Natural), Golden::committed());
    let vocabulary = model.config.dimensions.vocabulary;
    for case in Tiny::Gpt2.cases() {
        let next = golden.ids(&format!("gpt2.{}.next", case.name));
        let mut fp32 = engine(&model, Preset::Fp32, case.batch.shape);
        let logits = of_tokens(&model, &case.batch, &widened(&outputs(fp32.as_mut(), &case.batch)));
        let logits: Vec<f32> = logits.into_iter().map(|x| x as f32).collect();
        let rows = logits.chunks(vocabulary).zip(&next);
        let ours: Vec<f64> = rows.map(|(row, &next)| negative_log_likelihood(row, next)).collect();
        let error = relative_error(&ours, &golden.f64s(&format!("gpt2.{}.nll", case.name)));
        assert!(error < 5e-6, "{}: {error:e}", case.name);
    }
}

#[test]
fn the_last_token_alone_has_the_float64_programs_logits() {
    let model = Tiny::Gpt2.open(Head::LastToken);
    let vocabulary = model.config.dimensions.vocabulary;
    for case in Tiny::Gpt2.cases() {
        let ends = case.batch.lengths.iter().scan(0, |end, &length| {
            *end += length;
            Some(*end)
        });
        let expected: Vec<f64> =
            ends.flat_map(|end| case.expected[(end - 1) * vocabulary..end * vocabulary].to_vec()).collect();
        let error = relative_error(&oracle_outputs(&model, &case.batch, THREADS).unwrap(), &expected);
        assert!(error < oracle_limit(Tiny::Gpt2), "{}: {error:e}", case.name);
    }
}

#[test]
fn a_story_is_tokenised_and_scored_as_by_the_float64_program() {
    let (model, golden) = (Tiny::Gpt2.open(Head::Natural), Golden::committed());
    let story = text("story.txt", &model);
    let expected = golden.batch("gpt2.story");
    let windows = story.batch(expected.shape, 0).unwrap();
    assert_eq!(story.len(expected.shape.sequence), Some(expected.shape.batch));
    assert_eq!((&windows.ids, &windows.lengths), (&expected.ids, &expected.lengths));
    let next: Vec<u32> = windows
        .truths
        .iter()
        .flat_map(|target| match target {
            Some(Truth::NextTokens(next)) => next.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(next, golden.ids("gpt2.story.next"));
    // Three windows at a time, so that the last batch is not full.
    let shape = Shape { batch: 3, sequence: expected.shape.sequence };
    let settings = Numerics { score_windows: usize::MAX, ..Numerics::default() };
    let quality = evaluate(engine(&model, Preset::Fp32, shape).as_mut(), &story, shape, settings).unwrap().quality;
    let nll = golden.f64s("gpt2.story.nll");
    assert_eq!(quality.nll_tokens, Some(nll.len() as u64));
    let (ours, theirs) = (quality.nll_mean.unwrap(), nll.iter().sum::<f64>() / nll.len() as f64);
    assert!((ours / theirs - 1.0).abs() < 1e-6, "{ours} {theirs}");
}

#[test]
fn sentences_are_tokenised_and_classified_as_by_the_float64_program() {
    let (model, golden) = (Tiny::Classifier.open(Head::Natural), Golden::committed());
    let sentences = text("sentences.tsv", &model);
    let expected = golden.batch("classifier.sentences");
    let batch = sentences.batch(expected.shape, 0).unwrap();
    assert_eq!(sentences.len(expected.shape.sequence), Some(expected.shape.batch));
    assert_eq!((&batch.ids, &batch.lengths), (&expected.ids, &expected.lengths));
    let logits = golden.f64s("classifier.sentences.logits");
    let error = relative_error(&oracle_outputs(&model, &batch, THREADS).unwrap(), &logits);
    assert!(error < oracle_limit(Tiny::Classifier), "{error:e}");
    let largest = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
    let predictions: Vec<u32> = logits.chunks(logits.len() / expected.shape.batch).map(largest).collect();
    let is_right = |(ours, truth): &(&u32, &Option<Truth>)| **truth == Some(Truth::Class(**ours));
    let right = predictions.iter().zip(&batch.truths).filter(is_right).count();
    let shape = Shape { batch: 5, sequence: expected.shape.sequence };
    let mut fp32 = engine(&model, Preset::Fp32, shape);
    let quality = evaluate(fp32.as_mut(), &sentences, shape, Numerics::default()).unwrap().quality;
    assert_eq!((quality.task_correct, quality.task_total), (Some(right as u64), Some(predictions.len() as u64)));
    assert_eq!(quality.predicted(), Some(predictions.into_iter().map(Some).collect()));
}

#[test]
fn the_float64_program_writes_what_is_committed() {
    let Some(said) = python("golden/make.py", &["--check"]) else { return };
    assert!(said.contains("0 differ"), "{said}");
}

/// Of every mistake that the program knows: one that moved no output would be one that these tests cannot see.
#[test]
fn the_float64_outputs_notice_every_mistake() {
    let Some(said) = python("golden/make.py", &["--check-sensitivity"]) else { return };
    assert!(said.lines().count() > 60 && said.trim_end().ends_with("every mistake is seen"), "{said}");
}
