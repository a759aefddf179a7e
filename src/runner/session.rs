//! The worker's side of a run: one model, one backend, one configuration after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::examine::examined;
use super::protocol::{Opened, Probed, ProcessSamples, References, Request, Response, Settings};
use crate::backend::backend;
use crate::backend::reference::ReferenceBackend;
use crate::engine::{Backend, BackendError, Build, BuildReport, BuildRequest, Engine, ProgressSink};
use crate::graph::CostSummary;
use crate::input::InputStream;
use crate::libraries;
use crate::manifest::schema::Measurement;
use crate::measure::interleaved::{RoundLimits, measure_interleaved};
use crate::measure::memory::PeakMemory;
use crate::measure::{measure, samples};
use crate::model::{Model, ModelOutput, WeightsProvenance};
use crate::numerics::{Part, ReferenceOutputs, ReferenceSource};
use crate::plan::{Configuration, Plan};
use crate::provenance::{Drift, arithmetic, drift};
use crate::record::{AaTest, Built, EngineMeasurements, Failure, FailureKind, Materials, Outcome};
use crate::stats::median;

/// The state that a worker keeps between the configurations of its group.
pub(super) struct WorkerSession {
    progress: ProgressSink,
    model: Option<Arc<Model>>,
    backend: Option<Box<dyn Backend>>,
    loaded: bool,
    /// Built for the next samples.
    prepared: Option<Box<dyn Engine>>,
    inputs: BTreeMap<String, InputStream>,
    drift: Option<Vec<Drift>>,
    libraries: Option<BTreeMap<String, String>>,
    /// Keeps the weights of the references from one part to the next.
    reference_backend: ReferenceBackend,
}

impl WorkerSession {
    /// A worker's session that reports builds to `progress`.
    pub fn new(progress: ProgressSink) -> Self {
        WorkerSession {
            progress,
            model: None,
            backend: None,
            loaded: false,
            prepared: None,
            inputs: BTreeMap::new(),
            drift: None,
            libraries: None,
            reference_backend: ReferenceBackend::default(),
        }
    }

    /// Answers a request, unless a file was replaced since this session read it, even meanwhile.
    pub fn answer(&mut self, request: Request) -> Response {
        if let Some(file) = self.replaced() {
            return Response::Replaced(file);
        }
        let response = self.respond(request);
        self.replaced().map_or(response, Response::Replaced)
    }

    fn respond(&mut self, request: Request) -> Response {
        match request {
            Request::Probe { backend: kind, .. } => {
                let available = backend(kind).and_then(|backend| backend.availability());
                let probed = available.map(|found| Probed { executes: found.builds_only.is_none() });
                Response::Probed(probed.map_err(Failure::from))
            }
            Request::Open { settings, configuration, input } => {
                let opened = self.opened(&settings, &configuration, input);
                Response::Opened(opened.map_err(|failure| failure.reason))
            }
            Request::Reference { settings, configuration, part, path } => {
                let computed = self.reference(&settings, &configuration, part, &path);
                Response::Referenced(computed.map_err(|failure| failure.reason))
            }
            Request::Prepare { settings, configuration } => Response::Prepared(self.prepare(&settings, &configuration)),
            Request::Sample { settings, configuration } => Response::Sampled(self.sampled(&settings, &configuration)),
            Request::Measure { settings, configuration, references } => {
                let outcome = self.outcome(&settings, &configuration, &references);
                Response::Measured(outcome.unwrap_or_else(Outcome::Failed))
            }
        }
    }

    /// The file that is not any more what this session read.
    fn replaced(&self) -> Option<String> {
        let of_model = self.model.iter().flat_map(|model| &model.files);
        let mut files = of_model.chain(self.inputs.values().flat_map(InputStream::files));
        files.find(|file| !file.is_current()).map(|file| file.path.display().to_string())
    }

    /// What this configuration's model and, where asked, its input were read from.
    fn opened(&mut self, settings: &Settings, of: &Configuration, input: bool) -> Result<Opened, Failure> {
        let model = self.model(settings, of)?;
        let read = if input { self.input(settings, of, &model).map(drop) } else { Ok(()) };
        let materials = read.map(|()| self.materials(settings, of, &model)).map_err(|failure| failure.reason);
        Ok(Opened { weights: model.provenance.clone(), materials })
    }

    /// What this session has read for a configuration, without the libraries.
    fn materials(&self, settings: &Settings, of: &Configuration, model: &Model) -> Materials {
        let input = self.inputs.get(&of.input);
        let tokenizer = input.into_iter().flat_map(|input| &input.tokenizer_files);
        Materials {
            config_sha256: model.config_sha256().map(str::to_owned),
            tokenizer: tokenizer.map(|file| (file.name(), file.sha256.clone())).collect(),
            input_sha256: input.and_then(|input| Some(input.file.as_ref()?.sha256.clone())),
            libraries: BTreeMap::new(),
            settings_sha256: settings.protocol_sha256.clone(),
            arithmetic_sha256: arithmetic::sha256(of.backend).map(str::to_owned),
        }
    }

    /// The same with the libraries, whose bytes are read once: a mapped library does not change.
    fn materials_of_row(&mut self, settings: &Settings, of: &Configuration, model: &Model) -> Materials {
        let libraries = self.libraries.get_or_insert_with(|| libraries::digests(of.backend)).clone();
        Materials { libraries, ..self.materials(settings, of, model) }
    }

    /// Ensures that a reference file holds its part of this configuration's outputs, and computes them where it does not.
    fn reference(
        &mut self,
        settings: &Settings,
        of: &Configuration,
        part: Part,
        path: &Path,
    ) -> Result<Opened, Failure> {
        let model = self.model(settings, of)?;
        self.input(settings, of, &model)?;
        let opened = self.opened(settings, of, true)?;
        let WorkerSession { inputs, reference_backend, .. } = self;
        if let Some(input) = inputs.get(&of.input) {
            let source = ReferenceSource { model: &model, input, sequence: of.shape.sequence, part };
            source
                .ensure(path, reference_backend)
                .map_err(|error| Failure::new(FailureKind::Error, &error.to_string()))?;
        }
        Ok(opened)
    }

    /// Builds the engine and, where this machine can execute it, measures it.
    fn outcome(
        &mut self,
        settings: &Settings,
        of: &Configuration,
        references: &References,
    ) -> Result<Outcome, Failure> {
        let model = self.model(settings, of)?;
        let cost = model.graph.cost(&of.policy, of.shape).map_err(BackendError::from)?;
        let peak = PeakMemory::start();
        let load_s = self.load(of, &model)?;
        let request = self.build_request(settings, of, &model)?;
        let start = Instant::now();
        let Build { report, engine } = self.backend(of)?.build(&request)?;
        let build_s = start.elapsed().as_secs_f64();
        let process_peak_bytes = peak.bytes();
        let preparation = Preparation {
            load_s,
            build_s,
            build: report,
            cost,
            weights: model.provenance.clone(),
            output: model.output(),
        };
        match engine {
            Ok(mut engine) => {
                let mut measured = self.measured(settings, (of, references), engine.as_mut(), preparation)?;
                // Last, because a second engine would disturb every other measurement.
                let forward_s = median(&measured.samples_ms).unwrap_or_default() / 1e3;
                measured.aa_test = self.aa_test(settings, (of, forward_s), &request, engine.as_mut());
                Ok(Outcome::Ok(Box::new(measured)))
            }
            Err(error) => {
                let Preparation { load_s, build_s, build, cost, weights, output } = preparation;
                let reason = Failure::new(FailureKind::Unavailable, &error.into_reason()).reason;
                let built = Built {
                    reason,
                    load_s,
                    build_s,
                    build,
                    process_peak_bytes,
                    cost,
                    model_provenance: weights.to_string(),
                    weights: Some(weights),
                    materials: Some(self.materials_of_row(settings, of, &model)),
                    output: Some(output),
                    drift: Some(self.drift(of)),
                };
                Ok(Outcome::Built(Box::new(built)))
            }
        }
    }

    /// Builds the engine that takes this process's share of the samples.
    fn prepare(&mut self, settings: &Settings, of: &Configuration) -> Result<(), Failure> {
        self.prepared = None;
        let model = self.model(settings, of)?;
        self.load(of, &model)?;
        let request = self.build_request(settings, of, &model)?;
        self.prepared = Some(self.backend(of)?.build(&request)?.engine?);
        Ok(())
    }

    /// Takes this process's share of the samples.
    fn sampled(&mut self, settings: &Settings, of: &Configuration) -> Result<ProcessSamples, Failure> {
        let unprepared = || Failure::new(FailureKind::Error, "no engine was prepared");
        let mut engine = self.prepared.take().ok_or_else(unprepared)?;
        let model = self.model(settings, of)?;
        let batch = self.input(settings, of, &model)?.batch(of.shape, 0)?;
        let (samples_ms, telemetry) = samples(engine.as_mut(), &batch, &share(settings, of))?;
        Ok(ProcessSamples { samples_ms, telemetry })
    }

    fn build_request(
        &mut self,
        settings: &Settings,
        of: &Configuration,
        model: &Arc<Model>,
    ) -> Result<BuildRequest, Failure> {
        let token_types = of.input_source.may_have_token_types() && self.input(settings, of, model)?.has_token_types;
        Ok(BuildRequest {
            target: of.target.unwrap_or_default(),
            padded: of.input_source.is_padded(),
            token_types,
            pinned: settings.measurement.pin_threads,
            progress: self.progress.clone(),
            ..BuildRequest::new(Arc::clone(model), of.policy.clone(), of.shape, threads(settings))
        })
    }

    fn measured(
        &mut self,
        settings: &Settings,
        (of, references): (&Configuration, &References),
        engine: &mut dyn Engine,
        preparation: Preparation,
    ) -> Result<EngineMeasurements, Failure> {
        let model = self.model(settings, of)?;
        let input = self.input(settings, of, &model)?;
        let batch = input.batch(of.shape, 0)?;

        let sampling = measure(engine, &batch, &share(settings, of))?;

        let (numerics, quality) = examined(settings, (of, references), (&model, input), engine, &batch)?;
        Ok(EngineMeasurements {
            samples_ms: sampling.samples_ms,
            samples_of_processes: Vec::new(),
            device_samples_ms: sampling.device_samples_ms,
            end_to_end_ms: sampling.end_to_end_ms,
            sustained: sampling.sustained,
            telemetry: sampling.telemetry,
            warmup: sampling.warmup,
            stop_reason: sampling.stop_reason,
            load_s: preparation.load_s,
            build_s: preparation.build_s,
            build: BuildReport { first_run_s: engine.first_run_s(), ..preparation.build },
            memory: engine.memory(),
            ceilings: engine.ceilings(),
            process_peak_bytes: sampling.process_peak_bytes,
            cost: preparation.cost,
            aa_test: None,
            numerics,
            quality,
            engine: engine.describe(),
            model_provenance: preparation.weights.to_string(),
            weights: Some(preparation.weights),
            materials: Some(self.materials_of_row(settings, of, &model)),
            output: Some(preparation.output),
            drift: Some(self.drift(of)),
        })
    }

    /// The drift from the pins in this process, computed once. A mapped library does not change. Reading half a
    /// gigabyte of it between two measurements would disturb the second.
    fn drift(&mut self, of: &Configuration) -> Vec<Drift> {
        self.drift.get_or_insert_with(|| drift::of_process(of.backend)).clone()
    }

    /// Builds the same engine again and times the two interleaved, where the manifest asks for this shape. A failure
    /// here leaves the rest of the row intact.
    fn aa_test(
        &mut self,
        settings: &Settings,
        (of, forward_s): (&Configuration, f64),
        request: &BuildRequest,
        first: &mut dyn Engine,
    ) -> Option<Result<AaTest, String>> {
        let limits = settings.noise_floor.as_ref().filter(|limits| limits.covers(of.shape, &of.policy))?;
        let limits = RoundLimits::of(limits, forward_s);
        let mut test = || -> Result<AaTest, Failure> {
            let mut second = self.backend(of)?.build(request)?.engine?;
            let model = self.model(settings, of)?;
            let batch = self.input(settings, of, &model)?.batch(of.shape, 0)?;
            let mut rounds = measure_interleaved(&mut [first, second.as_mut()], &batch, limits)?;
            let (second_ms, first_ms) = (rounds.pop().unwrap_or_default(), rounds.pop().unwrap_or_default());
            Ok(AaTest { samples: limits.block.samples, first_ms, second_ms })
        };
        Some(test().map_err(|failure| failure.reason))
    }

    /// The group's model, opened on first use.
    fn model(&mut self, settings: &Settings, of: &Configuration) -> Result<Arc<Model>, Failure> {
        if let Some(model) = &self.model {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(Model::open(&of.model, &of.model_source, &settings.base_dir, of.head)?);
        self.model = Some(Arc::clone(&model));
        Ok(model)
    }

    fn backend(&mut self, of: &Configuration) -> Result<&dyn Backend, Failure> {
        let known = match self.backend.take() {
            Some(known) => known,
            None => backend(of.backend)?,
        };
        Ok(&**self.backend.insert(known))
    }

    /// Loads the weights for the first configuration. Returns the time in seconds, and 0 for later configurations.
    fn load(&mut self, of: &Configuration, model: &Arc<Model>) -> Result<f64, Failure> {
        if self.loaded {
            return Ok(0.0);
        }
        let start = Instant::now();
        self.backend(of)?.load(model, &of.policy)?;
        self.loaded = true;
        Ok(start.elapsed().as_secs_f64())
    }

    /// An input, opened and tokenised on first use.
    fn input(&mut self, settings: &Settings, of: &Configuration, model: &Model) -> Result<&InputStream, Failure> {
        let stream = match self.inputs.remove(&of.input) {
            Some(stream) => stream,
            None => InputStream::open(&of.input_source, &settings.base_dir, model)?,
        };
        Ok(self.inputs.entry(of.input.clone()).or_insert(stream))
    }
}

/// Measures one configuration in this process, as a worker would. Its FP32 reference lies in `references`. Meant for
/// `selftest`, whose engines are small and safe: a crash here ends the caller too.
pub fn measure_here(plan: &Plan, of: &Configuration, references: &Path) -> Outcome {
    let settings = Settings::of(plan);
    let mut session = WorkerSession::new(ProgressSink::default());
    let mut ensure = |part| {
        let path = ReferenceOutputs::path(references, of, part);
        session.reference(&settings, of, part, &path).err().map(|failure| failure.reason)
    };
    let references = References {
        dir: references.to_owned(),
        compared_missing: ensure(Part::Compared(plan.numerics.compare_sequences)),
        forwards_missing: Part::of_forwards(plan.numerics, of.shape.batch).find_map(ensure),
    };
    session.outcome(&settings, of, &references).unwrap_or_else(Outcome::Failed)
}

/// What is known about an engine before it is executed.
struct Preparation {
    load_s: f64,
    build_s: f64,
    build: BuildReport,
    cost: CostSummary,
    weights: WeightsProvenance,
    output: ModelOutput,
}

/// The limits of this process.
fn share(settings: &Settings, of: &Configuration) -> Measurement {
    settings.measurement.share_of(settings.measurement.processes(of.backend.device()))
}

fn threads(settings: &Settings) -> usize {
    let every_core = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    settings.measurement.threads.unwrap_or_else(every_core)
}
