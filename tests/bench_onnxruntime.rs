//! The reference backend beside ONNX Runtime on the same cores, in alternating blocks of one run. `make bench` runs it;
//! it needs the library that `container/setup.sh --libraries` fetches.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use mixprec::backend::onnxruntime::OnnxRuntimeBackend;
use mixprec::backend::reference::ReferenceBackend;
use mixprec::backend::{Backend, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::input::InputStream;
use mixprec::manifest::schema::{Architecture, InputSource, ModelSource};
use mixprec::measure::clock::Clock;
use mixprec::model::{Head, Model};
use mixprec::stats::median;

const BLOCKS: usize = 6;
const PASSES: usize = 10;

/// An engine with a batch bound to it, warmed up.
fn engine(backend: &dyn Backend, model: &Arc<Model>, shape: Shape, threads: usize) -> Box<dyn Engine> {
    let ids = InputStream::open(&InputSource::Random { seed: 1 }, Path::new("."), model).unwrap();
    let request = BuildRequest::new(model.clone(), PrecisionPolicy::preset(Preset::Fp32), shape, threads);
    let mut engine = backend.build(&request).unwrap().engine.unwrap();
    engine.bind(&ids.batch(shape, 0).unwrap()).unwrap();
    for _ in 0..3 {
        engine.enqueue().unwrap();
    }
    engine
}

#[test]
#[ignore = "a benchmark: run it with make bench, on a quiet machine"]
fn bench_reference_against_onnxruntime() {
    let (reference, onnxruntime) = (ReferenceBackend::default(), OnnxRuntimeBackend::default());
    if let Err(error) = onnxruntime.availability() {
        return println!("skipped: {error}");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let source = ModelSource::Random { seed: 1, architecture: Architecture::BertBase };
    let model = Arc::new(Model::open("bert-base", &source, Path::new("."), Head::Natural).unwrap());
    for (batch, sequence) in [(1, 32), (1, 128), (8, 128)] {
        let shape = Shape { batch, sequence };
        let mut ours = engine(&reference, &model, shape, threads);
        let mut theirs = engine(&onnxruntime, &model, shape, threads);
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..BLOCKS {
            for (engine, times) in [ours.as_mut(), theirs.as_mut()].into_iter().zip(&mut times) {
                times.extend((0..PASSES).map(|_| Clock::default().sample(engine).unwrap().wall_ms));
            }
        }
        let [ours_ms, theirs_ms] = times.map(|times| median(&times).unwrap());
        println!(
            "BERT-base fp32 {batch}x{sequence} on {threads} threads: reference {ours_ms:.1} ms, {} {theirs_ms:.1} ms, \
             ratio {:.2}",
            theirs.describe().library,
            ours_ms / theirs_ms
        );
    }
}
