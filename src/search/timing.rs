//! The policy found on a device, timed beside `fp16` and `hybrid`: one process, engines that stay loaded, blocks in turn.

use serde_json::json;

use super::evaluator::{Subject, executing};
use super::journal::SearchJournal;
use super::{SearchError, SearchStep};
use crate::digest::{canonical, sha256};
use crate::engine::{Availability, Backend, BackendError, BuildRequest, DeviceKind, Engine, MemoryBreakdown};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::input::Batch;
use crate::manifest::schema::TimedBlock;
use crate::measure::guard::Guard;
use crate::measure::interleaved::{RoundLimits, measure_interleaved};
use crate::measure::sustained::sustained;
use crate::provenance::arithmetic;
use crate::record::certificate::{PolicyTiming, TimedPolicy, TimedShape};
use crate::stats::{bootstrap_median, median, ratio_of_rounds};

/// Enough for an interval, and few enough that a search of a minute does not become one of two.
const LIMITS: RoundLimits = RoundLimits { rounds: 20, block: TimedBlock { untimed: 1, samples: 20 }, time_cap_s: 2.0 };

/// How long each policy runs for its energy, seconds. A step of the board's counter is seen 10 ms late at most.
const ENERGY_WINDOW_S: f64 = 1.0;

/// Seed of the bootstraps.
const SEED: u64 = 0;

/// Times the policy on the first of the search's backends that has a device. What the journal has is not timed again.
///
/// # Errors
/// [`SearchError`] of the backend or the journal. An engine that fails is the reason of its shape.
pub(super) fn time(
    subject: Subject<'_>,
    policy: &PrecisionPolicy,
    journal: &mut SearchJournal<TimedShape>,
    progress: &mut dyn FnMut(SearchStep),
) -> Result<PolicyTiming, SearchError> {
    let kind = subject.request.backend;
    let mut kinds = std::iter::once(kind).chain(subject.request.confirm);
    let Some(kind) = kinds.find(|kind| kind.device() == DeviceKind::Gpu) else {
        let cure = "`--backend cuda` or `--confirm cuda` times the policy where there is a GPU";
        return Ok(PolicyTiming::NotTimed(format!("{kind} has no device of its own; {cure}")));
    };
    let (backend, Availability { found: library, .. }) = executing(kind, policy)?;
    let device = TimedDevice { backend: backend.as_ref(), library };
    timed_shapes(subject, &device, policy, journal, progress).map(PolicyTiming::Timed)
}

/// What executes the policies.
struct TimedDevice<'a> {
    backend: &'a dyn Backend,
    /// As the backend found it.
    library: String,
}

fn timed_shapes(
    subject: Subject<'_>,
    device: &TimedDevice<'_>,
    policy: &PrecisionPolicy,
    journal: &mut SearchJournal<TimedShape>,
    progress: &mut dyn FnMut(SearchStep),
) -> Result<Vec<TimedShape>, SearchError> {
    let policies = policies(policy);
    let mut timed = Vec::new();
    for shape in shapes(subject.request.shape, &subject.request.timed_shapes) {
        let key = key(subject, device, &policies, shape)?;
        if let Some(known) = journal.get(&key) {
            timed.push(known);
            continue;
        }
        progress(SearchStep::Timing(shape));
        match timed_shape(subject, device, &policies, shape) {
            Ok(found) => {
                journal.insert(key, found.clone())?;
                timed.push(found);
            }
            Err(error) => timed.push(TimedShape {
                shape,
                backend: device.backend.kind(),
                library: device.library.clone(),
                device: None,
                policies: Vec::new(),
                failure: Some(error.to_string()),
            }),
        }
    }
    Ok(timed)
}

/// The presets, then the policy where its name is neither's.
fn policies(found: &PrecisionPolicy) -> Vec<PrecisionPolicy> {
    let presets = [Preset::Fp16, Preset::Hybrid].map(PrecisionPolicy::preset);
    let other = presets.iter().all(|preset| preset.name != found.name).then(|| found.clone());
    presets.into_iter().chain(other).collect()
}

/// The shape of the search, then the others, each once.
fn shapes(searched: Shape, asked: &[Shape]) -> Vec<Shape> {
    let mut shapes = vec![searched];
    for shape in asked {
        if !shapes.contains(shape) {
            shapes.push(*shape);
        }
    }
    shapes
}

/// Digest of all that decides a time.
fn key(
    subject: Subject<'_>,
    device: &TimedDevice<'_>,
    policies: &[PrecisionPolicy],
    shape: Shape,
) -> Result<String, SearchError> {
    let Subject { request, model, input, .. } = subject;
    let kind = device.backend.kind();
    let identity = json!({
        "weights": model.weights_identity(),
        "graph": model.graph.sha256(),
        "input": [request.input.name, input.file.as_ref().map(|file| file.sha256.clone())],
        "backend": kind,
        "library": device.library,
        "arithmetic": arithmetic::sha256(kind),
        "policies": policies,
        "shape": shape,
    });
    Ok(sha256(canonical(&identity).as_bytes()))
}

fn timed_shape(
    subject: Subject<'_>,
    device: &TimedDevice<'_>,
    policies: &[PrecisionPolicy],
    shape: Shape,
) -> Result<TimedShape, SearchError> {
    let Subject { request, model, input, .. } = subject;
    let batch = input.batch(shape, 0)?;
    let (padded, token_types) = (request.input.source.is_padded(), input.has_token_types);
    let mut engines = Vec::new();
    for policy in policies {
        let common = BuildRequest::new(model.clone(), policy.clone(), shape, request.threads);
        engines.push(device.backend.build(&BuildRequest { padded, token_types, ..common })?.engine?);
    }
    let mut all: Vec<&mut dyn Engine> = Vec::new();
    for engine in &mut engines {
        all.push(engine.as_mut());
    }
    let rounds = measure_interleaved(&mut all, &batch, LIMITS)?;
    let mut timed = Vec::new();
    for ((policy, engine), rounds_ms) in policies.iter().zip(&mut engines).zip(&rounds) {
        timed.push(timed_policy(policy, engine.as_mut(), &batch, (&rounds[0], rounds_ms))?);
    }
    let described = engines.first().map(|engine| engine.describe());
    Ok(TimedShape {
        shape,
        backend: device.backend.kind(),
        library: described.as_ref().map_or_else(|| device.library.clone(), |engine| engine.library.clone()),
        device: described.map(|engine| engine.device),
        policies: timed,
        failure: None,
    })
}

/// One policy by its rounds and those of the first one.
fn timed_policy(
    policy: &PrecisionPolicy,
    engine: &mut dyn Engine,
    batch: &Batch,
    (first_ms, rounds_ms): (&[f64], &[f64]),
) -> Result<TimedPolicy, BackendError> {
    let undefined = || BackendError::Clock("it returned a time that is not finite".to_owned());
    let median_ms = median(rounds_ms).ok_or_else(undefined)?;
    let (ratio, ratio_interval) = ratio_of_rounds(first_ms, rounds_ms, SEED).ok_or_else(undefined)?;
    engine.bind(batch)?;
    let energy = match engine.device_queue().is_some() {
        true => {
            let mut guard = Guard::of(engine);
            sustained(engine, (ENERGY_WINDOW_S, median_ms), &mut guard)?.energy
        }
        false => Err("the engine is not on a GPU".to_owned()),
    };
    let energy = energy.map(|energy| energy.energy_mj as f64 / 1e3 / energy.forwards as f64);
    Ok(TimedPolicy {
        policy: policy.name.clone(),
        rounds_ms: rounds_ms.to_vec(),
        median_ms,
        median_interval_ms: bootstrap_median(rounds_ms, SEED),
        ratio,
        ratio_interval,
        // What the driver counts is that of all engines.
        memory: MemoryBreakdown { device_bytes: None, ..engine.memory() },
        energy_j: energy.as_ref().ok().copied(),
        energy_remark: energy.err(),
        launches: engine.launches(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::super::SearchRequest;
    use super::super::journal::TIMING_JOURNAL;
    use super::*;
    use crate::backend::mock::MockBackend;
    use crate::engine::BackendKind;
    use crate::graph::{Format, Rounding};
    use crate::input::{InputSource, InputStream};
    use crate::manifest::schema::{InputEntry, ModelEntry, Numerics, SearchTolerance};
    use crate::model::{Architecture, Head, Model, ModelSource};

    const SHAPE: Shape = Shape { batch: 1, sequence: 8 };

    fn request(dir: &Path, timed_shapes: Vec<Shape>) -> SearchRequest {
        let source = ModelSource::Random { seed: 1, architecture: Architecture::BertTiny };
        SearchRequest {
            model: ModelEntry { name: "tiny".to_owned(), source, head: Head::Natural },
            input: InputEntry { name: "random".to_owned(), source: InputSource::Random { seed: 7 } },
            base_dir: PathBuf::from("."),
            start: PrecisionPolicy::preset(Preset::Fp16),
            tolerance: SearchTolerance::default(),
            settings: Numerics::DEFAULT,
            backend: BackendKind::Mock,
            confirm: None,
            shape: SHAPE,
            timed_shapes,
            forwards: 1,
            held_out: 0,
            supersets: 0,
            seed: 1,
            threads: 1,
            dir: dir.to_owned(),
            shared: dir.to_owned(),
        }
    }

    fn found() -> PrecisionPolicy {
        let mut policy = PrecisionPolicy { name: "fp16-searched".to_owned(), ..PrecisionPolicy::preset(Preset::Fp16) };
        policy.overrides.insert("layer.0/mlp/layer_norm".to_owned(), Rounding::uniform(Format::Fp32));
        policy
    }

    /// The times of a policy, and the shapes that were timed for it now.
    fn timed(dir: &Path, policy: &PrecisionPolicy, asked: Vec<Shape>) -> (Vec<TimedShape>, Vec<Shape>) {
        let request = request(dir, asked);
        let model = Model::open("tiny", &request.model.source, Path::new("."), Head::Natural).unwrap();
        let model = Arc::new(model);
        let input = InputStream::open(&request.input.source, Path::new("."), &model).unwrap();
        let subject = Subject { request: &request, model: &model, input: &input, candidates: &[] };
        let device = TimedDevice { backend: &MockBackend, library: "mock 1".to_owned() };
        let mut journal = SearchJournal::open(dir, TIMING_JOURNAL).unwrap();
        let mut steps = Vec::new();
        let mut note = |step| {
            if let SearchStep::Timing(shape) = step {
                steps.push(shape);
            }
        };
        (timed_shapes(subject, &device, policy, &mut journal, &mut note).unwrap(), steps)
    }

    #[test]
    fn every_policy_is_timed_at_every_shape_once() {
        let dir = tempfile::tempdir().unwrap();
        let larger = Shape { batch: 2, sequence: 16 };
        let (first, steps) = timed(dir.path(), &found(), vec![larger, SHAPE, larger]);
        assert_eq!(steps, [SHAPE, larger]);
        for one in &first {
            let names: Vec<&str> = one.policies.iter().map(|policy| policy.policy.as_str()).collect();
            assert_eq!(names, ["fp16", "hybrid", "fp16-searched"]);
            assert_eq!(one.policies[0].ratio, 1.0);
            for policy in &one.policies {
                assert_eq!(policy.rounds_ms.len(), LIMITS.rounds);
                let interval = policy.median_interval_ms.unwrap();
                assert!((interval.low..=interval.high).contains(&policy.median_ms) && policy.median_ms > 0.0);
                assert!(policy.ratio_interval.is_some() && policy.memory.weights_bytes.is_some());
                assert!(policy.energy_j.is_none() && policy.energy_remark.is_some() && policy.launches.is_none());
            }
        }
        // What a kill leaves: the first line is whole, the second one torn.
        let journal = dir.path().join(TIMING_JOURNAL);
        let bytes = std::fs::read(&journal).unwrap();
        std::fs::write(&journal, &bytes[..bytes.len() - 9]).unwrap();
        let (again, steps) = timed(dir.path(), &found(), vec![larger]);
        assert_eq!((&again[0], steps), (&first[0], vec![larger]));
        assert_eq!(timed(dir.path(), &found(), vec![larger]), (again, vec![]), "nothing is timed twice");
    }

    #[test]
    fn a_start_that_was_kept_is_not_timed_beside_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (shapes, _) = timed(dir.path(), &PrecisionPolicy::preset(Preset::Fp16), vec![]);
        assert_eq!(shapes[0].policies.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(), ["fp16", "hybrid"]);
    }
}
