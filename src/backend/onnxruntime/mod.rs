//! ONNX Runtime on the CPU: the baseline that speedups are quoted against, and a second opinion on the numerics of the
//! policies that round to FP16.
//!
//! FP32 is executed in the library's fastest way: with every graph optimisation, packed weights and all requested threads.
//! For other policies it has few kernels and computes in FP32 between casts. `barrier` makes it keep the roundings, which
//! costs time. Such times say nothing about hardware that has the format, and the rows say `emulated`.

mod affinity;
mod barrier;
mod engine;
mod runtime;
mod weights;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use crate::engine::checks::{check_shape, export_failed, is_fp32};
use crate::engine::{
    Availability, Backend, BackendError, BackendKind, Build, BuildReport, BuildRequest, Engine, EngineDescription,
};
use crate::graph::{Format, PrecisionPolicy, Shape};
use crate::model::Model;
use crate::onnx::{Dialect, Export, ExportError, Extent};
use affinity::Affinities;
use engine::{OnnxRuntimeEngine, SessionParts};
use runtime::{failure, runtime};
use weights::SessionWeights;

/// Weights kept for the next engine of the same model and policy.
type LoadedWeights = (Arc<Model>, PrecisionPolicy, Arc<SessionWeights>);

/// Builds sessions. It keeps the weights of the last model and policy, so that engines of many shapes share them.
#[derive(Debug, Default)]
pub struct OnnxRuntimeBackend {
    loaded: Mutex<Option<LoadedWeights>>,
}

/// Whether the library's CPU provider has operators of every type the policy names.
///
/// # Errors
/// The reason, as a sentence fragment.
pub(super) fn supports(policy: &PrecisionPolicy) -> Result<(), String> {
    let roundings = || policy.classes.values().chain(policy.overrides.values());
    let names = |format| roundings().any(|r| [r.compute, r.accumulate, r.store].contains(&format));
    for (format, reason) in [
        (Format::Tf32, "TF32 is a mode of NVIDIA's tensor cores and onnxruntime executes on the CPU"),
        (Format::Bf16, "onnxruntime has no BF16 arithmetic on the CPU"),
        (Format::Fp64, "FP64 is the oracle's format, which backend `reference` computes"),
    ] {
        if names(format) {
            return Err(reason.to_owned());
        }
    }
    Ok(())
}

impl OnnxRuntimeBackend {
    fn weights(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<Arc<SessionWeights>, BackendError> {
        runtime()?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.as_ref() {
            Some((held, kept, weights)) if Arc::ptr_eq(held, model) && kept == policy => return Ok(weights.clone()),
            _ => {}
        }
        // The old weights are dropped first: two models may not fit into the memory.
        *loaded = None;
        let smallest = Shape { batch: 1, sequence: 1 };
        let export = Export::new(model, policy, Extent::Static(smallest)).map_err(export_failure)?;
        let weights = Arc::new(SessionWeights::load(&export)?);
        *loaded = Some((model.clone(), policy.clone(), weights.clone()));
        Ok(weights)
    }

    fn engine(&self, request: &BuildRequest, report: &mut BuildReport) -> Result<OnnxRuntimeEngine, BackendError> {
        let BuildRequest { model, policy, shape, threads, token_types, pinned, .. } = request;
        let weights = self.weights(model, policy)?;
        let start = Instant::now();
        let dialect = Dialect { token_types: *token_types, ..Dialect::default() };
        let export = Export::in_dialect(model, policy, Extent::Static(*shape), dialect).map_err(export_failure)?;
        let rounds = !is_fp32(&model.graph, policy)?;
        let skeleton = if rounds { barrier::skeleton(&export) } else { export.skeleton() };
        report.export_s = Some(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let affinities = pinned.then(|| Affinities::of_threads(*threads)).flatten();
        report.options.extend(affinities.iter().flat_map(Affinities::options));
        let mut builder = weights.give(options(*threads, affinities.as_ref(), rounds)?)?;
        let session =
            Affinities::keep_caller(affinities.as_ref(), || builder.commit_from_memory(&skeleton)).map_err(failure)?;
        report.compile_s = Some(start.elapsed().as_secs_f64());
        let description = EngineDescription {
            library: runtime()?.name.clone(),
            device: "cpu".to_owned(),
            threads: Some(*threads),
            emulated: rounds,
        };
        OnnxRuntimeEngine::new(SessionParts {
            session,
            weights,
            model: model.clone(),
            shape: *shape,
            token_types: export.dialect().token_types,
            output: export.output_name(),
            affinities,
            description,
        })
    }
}

/// A session's options: one forward pass at a time on `threads` threads, including the caller's. Threads spin between
/// operators and do not sleep, which is the library's default. A baseline should be as fast as possible, and on a quiet
/// machine spinning is faster (BERT-base on 2 cores: 33.3 against 35.6 ms at 1x32, 89.6 against 92.2 ms at 1x128). With six
/// busy processes on the machine it is slower (204 against 136 ms at 1x32), but a baseline of a busy machine is worthless.
fn options(threads: usize, affinities: Option<&Affinities>, rounds: bool) -> Result<SessionBuilder, BackendError> {
    let environment = &runtime()?.environment;
    let options = || -> ort::Result<SessionBuilder> {
        let builder = Session::builder(environment)?
            .with_log_level(LogLevel::Fatal)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?;
        let builder = match affinities.and_then(Affinities::value) {
            Some(affinities) => builder.with_config_entry(affinity::KEY, affinities)?,
            None => builder,
        };
        Ok(if rounds { builder.with_disabled_optimizers(barrier::MUST_BE_OFF)? } else { builder })
    };
    options().map_err(failure)
}

impl Backend for OnnxRuntimeBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::OnnxRuntime
    }

    fn availability(&self) -> Result<Availability, BackendError> {
        let runtime = runtime()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let found = &runtime.found;
        Ok(Availability::executes(format!("{} on {threads} cores, {}: {}", runtime.name, found.how, found.place())))
    }

    fn load(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<(), BackendError> {
        check_policy(policy)?;
        self.weights(model, policy).map(|_| ())
    }

    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError> {
        check_policy(&request.policy)?;
        check_shape(&request.model.graph, request.shape)?;
        let mut report = BuildReport::default();
        let engine = self.engine(request, &mut report)?;
        Ok(Build { report, engine: Ok(Box::new(engine) as Box<dyn Engine>) })
    }
}

fn check_policy(policy: &PrecisionPolicy) -> Result<(), BackendError> {
    supports(policy).map_err(|reason| BackendError::UnsupportedPolicy {
        backend: BackendKind::OnnxRuntime,
        policy: policy.name.clone(),
        reason,
    })
}

fn export_failure(error: ExportError) -> BackendError {
    export_failed(BackendKind::OnnxRuntime, error)
}
