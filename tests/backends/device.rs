//! The clocks, the machine guard and the energy window on a real GPU; skipped without one.

use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use mixprec::backend::backend;
use mixprec::engine::{BackendKind, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::input::InputSource;
use mixprec::input::{Batch, InputStream};
use mixprec::manifest::schema::Measurement;
use mixprec::measure::clock::Clock;
use mixprec::measure::guard::Guard;
use mixprec::measure::{Sampling, measure};
use mixprec::model::{Architecture, ModelSource};
use mixprec::model::{Head, Model};
use mixprec::provenance::gpu;
use mixprec::stats::median;

use crate::fixtures::skip;

/// A BERT-base engine on the GPU, a batch for it, and the GPU for this test alone. (Bound first, a guard is dropped last.)
struct Measured {
    alone: MutexGuard<'static, ()>,
    engine: Box<dyn Engine>,
    batch: Batch,
}

/// The engine, or why there is none.
fn engine() -> Result<Measured, String> {
    let alone = crate::device_alone();
    let cuda = backend(BackendKind::Cuda).map_err(|error| error.to_string())?;
    cuda.availability().map_err(|error| error.to_string())?;
    let source = ModelSource::Random { seed: 1, architecture: Architecture::BertBase };
    let model = Arc::new(Model::open("bert-base", &source, Path::new("."), Head::Natural).unwrap());
    let shape = Shape { batch: 1, sequence: 128 };
    let ids = InputStream::open(&InputSource::Random { seed: 1 }, Path::new("."), &model).unwrap();
    let request = BuildRequest::new(model, PrecisionPolicy::preset(Preset::Hybrid), shape, 1);
    let engine = cuda.build(&request).unwrap().engine.unwrap();
    Ok(Measured { alone, engine, batch: ids.batch(shape, 0).unwrap() })
}

fn print(sampling: &Sampling) {
    let p50 = |samples: &[f64]| median(samples).unwrap_or(f64::NAN);
    println!(
        "wall {:.4} ms, device {:.4} ms (n={}), end to end {:.4} ms (n={})\n{:?}\n{:?}",
        p50(&sampling.samples_ms),
        p50(&sampling.device_samples_ms),
        sampling.samples_ms.len(),
        p50(&sampling.end_to_end_ms),
        sampling.end_to_end_ms.len(),
        sampling.telemetry,
        sampling.sustained
    );
}

#[test]
fn a_gpu_that_executes_is_in_the_environment() {
    let Ok(found) = backend(BackendKind::Cuda).and_then(|cuda| cuda.availability()) else {
        return skip("no CUDA device");
    };
    let gpus = gpu::of_this_machine();
    println!("{}\n{gpus:#?}", found.found);
    assert!(gpus.iter().any(|gpu| found.found.starts_with(&gpu.name)), "{gpus:?}");
}

#[test]
fn a_gpu_is_timed_by_both_clocks_watched_and_its_energy_taken() {
    let Measured { alone: _alone, mut engine, batch } = match engine() {
        Ok(found) => found,
        Err(reason) => return skip(reason),
    };
    let limits = Measurement {
        warmup: 20,
        min_samples: 3000,
        max_samples: 3000,
        energy_window_s: Some(2.0),
        ..Measurement::default()
    };
    let sampling = measure(engine.as_mut(), &batch, &limits).unwrap();
    print(&sampling);
    assert_eq!((sampling.samples_ms.len(), sampling.device_samples_ms.len()), (3000, 3000));
    let (wall, device) = (median(&sampling.samples_ms).unwrap(), median(&sampling.device_samples_ms).unwrap());
    assert!(device > 0.0 && device < wall * 1.05, "the device's time has no way back to the host: {device} {wall}");
    assert!(median(&sampling.end_to_end_ms).unwrap() > wall);
    let sustained = sampling.sustained.unwrap();
    let per_pass_ms = sustained.elapsed_s * 1e3 / sustained.forwards as f64;
    assert!(sustained.elapsed_s >= 2.0 && per_pass_ms < wall, "back to back no launch is waited for: {per_pass_ms}");
    if let Some(remark) = &sampling.telemetry.remark {
        return println!("not watched: {remark}");
    }
    let clock = sampling.telemetry.sm_clock_min_mhz.unwrap();
    assert!(sampling.telemetry.readings >= 3 && (200..4000).contains(&clock), "{:?}", sampling.telemetry);
    match sustained.energy {
        Ok(energy) => {
            let watts = energy.energy_mj as f64 / (energy.forwards as f64 * per_pass_ms);
            println!("about {watts:.0} W");
            assert!((20.0..1500.0).contains(&watts), "{watts} W is no board's power");
        }
        Err(reason) => println!("no energy: {reason}"),
    }
}

/// The second event is recorded within the wall time: it must not show there.
#[test]
fn what_the_instruments_cost_is_little() {
    let Measured { alone: _alone, mut engine, batch } = match engine() {
        Ok(found) => found,
        Err(reason) => return skip(reason),
    };
    engine.bind(&batch).unwrap();
    let mut clocks = [Clock::default(), Clock::of(engine.as_ref()).unwrap()];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..20 {
        for (clock, times) in clocks.iter_mut().zip(&mut times) {
            times.extend((0..100).map(|_| clock.sample(engine.as_mut()).unwrap().wall_ms));
        }
    }
    let [without, with] = times.map(|times| median(&times).unwrap());
    println!("wall {without:.4} ms without events, {with:.4} ms with them");
    assert!(with < without * 1.05, "{with} {without}");
    let mut guard = Guard::of(engine.as_ref());
    let start = Instant::now();
    (0..20).for_each(|_| guard.read());
    println!("a reading of the sensors takes {:.3} ms; {:?}", start.elapsed().as_secs_f64() * 50.0, guard.telemetry());
    let energy: Vec<_> = (0..2000).map(|_| (start.elapsed(), guard.energy_mj())).collect();
    let steps = energy.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    println!("{steps} steps of the energy counter in {:?}, idle", energy[1999].0 - energy[0].0);
}
