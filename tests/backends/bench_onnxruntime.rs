//! The reference backend beside ONNX Runtime on the same cores, and ONNX Runtime's policies beside each other, in
//! alternating blocks of one run. `make bench` runs it; it needs the library that `container/setup.sh --libraries` fetches.
//!
//! Wall time is what counts, and is worth nothing on a busy machine; processor time stands beside it to tell.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::fixtures::onnxruntime;
use mixprec::backend::reference::ReferenceBackend;
use mixprec::engine::{Backend, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::input::InputSource;
use mixprec::input::InputStream;
use mixprec::measure::clock::Clock;
use mixprec::model::{Architecture, ModelSource};
use mixprec::model::{Head, Model};
use mixprec::stats::median;

const BLOCKS: usize = 6;
const PASSES: usize = 10;
/// Longer than threads that have run out of work spin before they sleep.
const REST: Duration = Duration::from_millis(300);

/// What the kernel counts processor time in, milliseconds: USER_HZ is 100 on x86-64 and on aarch64.
const TICK_MS: f64 = 10.0;

/// Processor time of this process so far, milliseconds; 0 where the kernel does not say.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time are fields 14 and 15; the second, the program's name in brackets, may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK_MS
}

/// An engine with a batch bound to it and its times.
struct Lane {
    name: String,
    engine: Box<dyn Engine>,
    wall_ms: Vec<f64>,
    processor_ms: f64,
}

impl Lane {
    /// Builds, binds and warms up.
    fn new(backend: &dyn Backend, request: &BuildRequest) -> Lane {
        let ids = InputStream::open(&InputSource::Random { seed: 1 }, Path::new("."), &request.model).unwrap();
        let mut engine = backend.build(request).unwrap().engine.unwrap();
        engine.bind(&ids.batch(request.shape, 0).unwrap()).unwrap();
        for _ in 0..3 {
            engine.enqueue().unwrap();
        }
        let name = format!("{} {}", engine.describe().library, request.policy.name);
        Lane { name, engine, wall_ms: Vec::new(), processor_ms: 0.0 }
    }

    /// One block. The others' threads have gone to sleep before it begins.
    fn block(&mut self) {
        std::thread::sleep(REST);
        let before = processor_ms();
        self.wall_ms.extend((0..PASSES).map(|_| Clock::default().sample(self.engine.as_mut()).unwrap().wall_ms));
        self.processor_ms += processor_ms() - before;
    }

    fn median_ms(&self) -> f64 {
        median(&self.wall_ms).unwrap()
    }
}

/// Alternating blocks, then a line for each, with its time over the first one's.
fn race(shape: Shape, threads: usize, lanes: &mut [Lane]) {
    for _ in 0..BLOCKS {
        lanes.iter_mut().for_each(Lane::block);
    }
    let first_ms = lanes[0].median_ms();
    for lane in lanes {
        println!(
            "BERT-base {}x{} on {threads} threads: {}: {:.1} ms, {:.1} ms of processor time, ratio {:.2}",
            shape.batch,
            shape.sequence,
            lane.name,
            lane.median_ms(),
            lane.processor_ms / lane.wall_ms.len() as f64,
            lane.median_ms() / first_ms
        );
    }
}

fn model() -> Arc<Model> {
    let source = ModelSource::Random { seed: 1, architecture: Architecture::BertBase };
    Arc::new(Model::open("bert-base", &source, Path::new("."), Head::Natural).unwrap())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
#[ignore = "a benchmark: run it with make bench, on a quiet machine"]
fn bench_reference_against_onnxruntime() {
    let Some(onnxruntime) = onnxruntime() else { return };
    let (reference, model, threads) = (ReferenceBackend::default(), model(), threads());
    for (batch, sequence) in [(1, 32), (1, 128), (8, 128)] {
        let shape = Shape { batch, sequence };
        let request = BuildRequest::new(model.clone(), PrecisionPolicy::preset(Preset::Fp32), shape, threads);
        race(shape, threads, &mut [Lane::new(&onnxruntime, &request), Lane::new(&reference, &request)]);
    }
}

/// What rounding costs where it is emulated: the rates of `mixprec plan` come from here.
#[test]
#[ignore = "a benchmark: run it with make bench, on a quiet machine"]
fn bench_policies_of_onnxruntime() {
    let Some(onnxruntime) = onnxruntime() else { return };
    let (model, threads) = (model(), threads());
    for (batch, sequence) in [(1, 32), (1, 128)] {
        let shape = Shape { batch, sequence };
        let lane = |preset| {
            let policy = PrecisionPolicy::preset(preset);
            Lane::new(&onnxruntime, &BuildRequest::new(model.clone(), policy, shape, threads))
        };
        race(shape, threads, &mut [Preset::Fp32, Preset::Fp16, Preset::Hybrid].map(lane));
    }
}
