//! ONNX Runtime engines built from the exported graph: against float64 outputs of an independent program, and against
//! the reference backend's emulation. Skips with a reason where the library is not there; `container/setup.sh --libraries`
//! fetches it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod material;

use std::path::Path;
use std::sync::Arc;

use material::{Golden, open, outputs, relative_error, sst2, widened};
use mixprec::backend::onnxruntime::OnnxRuntimeBackend;
use mixprec::backend::reference::{ReferenceBackend, oracle_outputs};
use mixprec::backend::{Backend, BackendError, BuildRequest, Engine};
use mixprec::graph::{Format, OpClass, PrecisionPolicy, Preset, Rounding, Shape};
use mixprec::input::{Batch, InputStream};
use mixprec::manifest::schema::{Architecture, InputSource, ModelSource};
use mixprec::model::{Head, Model};

const THREADS: usize = 2;

/// The policies the library executes.
const EXECUTED: [Preset; 3] = [Preset::Fp32, Preset::Fp16, Preset::Hybrid];

/// The backend, or `None` with the reason printed.
fn backend() -> Option<OnnxRuntimeBackend> {
    let backend = OnnxRuntimeBackend::default();
    match backend.availability() {
        Ok(_) => Some(backend),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn request(model: &Arc<Model>, policy: &PrecisionPolicy, shape: Shape) -> BuildRequest {
    BuildRequest::new(model.clone(), policy.clone(), shape, THREADS)
}

fn engine(backend: &dyn Backend, model: &Arc<Model>, policy: &PrecisionPolicy, shape: Shape) -> Box<dyn Engine> {
    backend.build(&request(model, policy, shape)).unwrap().engine.unwrap()
}

fn run(backend: &dyn Backend, model: &Arc<Model>, policy: &PrecisionPolicy, batch: &Batch) -> Vec<f64> {
    widened(&outputs(engine(backend, model, policy, batch.shape).as_mut(), batch))
}

/// A small model with random weights.
fn tiny(architecture: Architecture) -> Arc<Model> {
    let source = ModelSource::Random { seed: 3, architecture };
    Arc::new(Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap())
}

/// Three rows of 16 positions, two of them padded.
fn padded(model: &Model) -> Batch {
    let shape = Shape { batch: 3, sequence: 16 };
    let ids = InputStream::open(&InputSource::Random { seed: 5 }, Path::new("."), model).unwrap();
    let mut batch = ids.batch(shape, 0).unwrap();
    batch.lengths = vec![16, 9, 1];
    batch
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn fp32_matches_the_independent_float64_program() {
    let (Some(backend), Some(bert)) = (backend(), open("bert-base-sst2", Head::Natural)) else { return };
    let (golden, fp32) = (Golden::open(), PrecisionPolicy::preset(Preset::Fp32));
    for row in 0..16 {
        let batch = Batch::single(golden.ids(&format!("bert.{row}.ids")));
        let error = relative_error(&run(&backend, &bert, &fp32, &batch), &golden.f64s(&format!("bert.{row}.logits")));
        println!("bert {row} {error:e}");
        assert!(error < 1e-4, "row {row}: {error:e}");
    }
    let Some(gpt2) = open("gpt2-mini-wt2", Head::Natural) else { return };
    let vocabulary = gpt2.config.dimensions.vocabulary;
    for window in 0..4 {
        let batch = Batch::single(golden.ids(&format!("gpt2.{window}.ids"))[..256].to_vec());
        let logits = run(&backend, &gpt2, &fp32, &batch);
        let last = golden.f32s(&format!("gpt2.{window}.last_logits"));
        let error = relative_error(&logits[255 * vocabulary..], &last);
        println!("gpt2 {window} {error:e}");
        assert!(error < 1e-4, "window {window}: {error:e}");
    }
}

#[test]
fn explore() {
    let Some(backend) = backend() else { return };
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        let model = tiny(architecture);
        let batch = padded(&model);
        let exact = oracle_outputs(&model, &batch, 2).unwrap();
        for preset in EXECUTED {
            let policy = PrecisionPolicy::preset(preset);
            let ours = run(&ReferenceBackend::default(), &model, &policy, &batch);
            let theirs = run(&backend, &model, &policy, &batch);
            println!("{architecture:?} {preset}: ref-exact {:e} ort-exact {:e} ort-ref {:e}", relative_error(&ours, &exact), relative_error(&theirs, &exact), relative_error(&theirs, &ours));
        }
    }
    let Some(model) = open("bert-base-sst2", Head::Hidden) else { return };
    let golden = Golden::open();
    for row in [0, 4, 9] {
    let batch = Batch::single(golden.ids(&format!("bert.{row}.ids")));
    let exact = oracle_outputs(&model, &batch, THREADS).unwrap();
    let mut cured = PrecisionPolicy::preset(Preset::Fp16);
    cured.name = "cured".to_owned();
    cured.classes.insert(OpClass::LayerNorm, Rounding::fp32_stored_as(Format::Fp16));
    for policy in EXECUTED.map(PrecisionPolicy::preset).into_iter().chain([cured]) {
            let ours = run(&ReferenceBackend::default(), &model, &policy, &batch);
            let theirs = run(&backend, &model, &policy, &batch);
            println!("BERT {row} {}: ref-exact {:e} ort-exact {:e} ort-ref {:e} nonfinite {} {}", policy.name, relative_error(&ours, &exact), relative_error(&theirs, &exact), relative_error(&theirs, &ours), ours.iter().filter(|x| !x.is_finite()).count(), theirs.iter().filter(|x| !x.is_finite()).count());
    }
    }
}
