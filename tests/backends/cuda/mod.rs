//! The CUDA backend on this machine's device against float64 and against the emulation of its policies. Skips without a
//! device.

mod examination;
mod families;
mod golden;
mod policies;

use std::path::Path;
use std::sync::{Arc, MutexGuard};

use mixprec::backend::backend;
use mixprec::backend::reference::ReferenceBackend;
use mixprec::engine::{Backend, BackendKind, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Shape};
use mixprec::input::Batch;
use mixprec::model::{Architecture, ModelSource};
use mixprec::model::{Head, Model};

use crate::fixtures::skip;

/// The device for this test alone and the backend, or `None` with the reason printed. (Bound first, the guard is dropped last:
/// a backend still frees the weights that it kept when it is dropped.)
fn device() -> Option<(MutexGuard<'static, ()>, Box<dyn Backend>)> {
    let guard = crate::device_alone();
    let cuda = backend(BackendKind::Cuda).unwrap();
    match cuda.availability() {
        Ok(_) => Some((guard, cuda)),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

fn random_model(architecture: Architecture, head: Head) -> Arc<Model> {
    let source = ModelSource::Random { seed: 11, architecture };
    Arc::new(Model::open("random", &source, Path::new("."), head).unwrap())
}

/// A batch of random ids, its rows full or of many lengths, one of them 1.
fn batch(model: &Model, shape: Shape, ragged: bool) -> Batch {
    let mut state = (shape.batch * 1000 + shape.sequence) as u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let vocabulary = model.graph.dimensions.vocabulary as u32;
    let ids = (0..shape.tokens()).map(|_| next() % vocabulary).collect();
    let length = |row: usize| match (ragged, row) {
        (false, _) => shape.sequence,
        (true, 0) => (shape.sequence * 5 / 8).max(1),
        (true, 1) => 1,
        (true, _) => shape.sequence - row % shape.sequence.min(3),
    };
    Batch::new(shape, ids, (0..shape.batch).map(length).collect())
}

fn engine(cuda: &dyn Backend, model: &Arc<Model>, policy: &PrecisionPolicy, shape: Shape) -> Box<dyn Engine> {
    let request = BuildRequest::new(model.clone(), policy.clone(), shape, 4);
    cuda.build(&request).unwrap().engine.unwrap()
}

fn emulated(model: &Arc<Model>, policy: &PrecisionPolicy, shape: Shape) -> Box<dyn Engine> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let request = BuildRequest::new(model.clone(), policy.clone(), shape, threads);
    ReferenceBackend::default().build(&request).unwrap().engine.unwrap()
}

/// One pass, waited for.
fn pass(engine: &mut dyn Engine, batch: &Batch) -> Vec<f32> {
    engine.bind(batch).unwrap();
    engine.enqueue().unwrap();
    engine.synchronize().unwrap();
    engine.outputs().unwrap().values
}
