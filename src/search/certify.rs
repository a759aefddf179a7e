//! A search from the request to the three files of its result.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::candidates::{CandidateOp, candidates, partitions};
use super::evaluator::{Evaluator, Subject, executing, has_next_tokens};
use super::explore::{Exploration, MinimalSet};
use super::journal::{SEARCH_JOURNAL, SearchJournal, TIMING_JOURNAL};
use super::minimise::Places;
use super::page::page;
use super::policy_yaml::policy_yaml;
use super::timing::time;
use super::tolerance::ForwardOutcome;
use super::{CERTIFICATE_PAGE, FORWARDS_FILE, POLICY_FILE, SearchError, SearchRequest, SearchStep};
use crate::backend::reference::ReferenceBackend;
use crate::digest::RunningDigest;
use crate::engine::checks::check_shape;
use crate::engine::{Backend, BackendKind, BuildRequest, Examination};
use crate::files::{FileError, replace};
use crate::graph::{OutputKind, PrecisionPolicy, Preset, Shape};
use crate::input::InputStream;
use crate::lock::{self, Sharing};
use crate::manifest::schema::Numerics;
use crate::model::Model;
use crate::numerics::{Part, ReferenceSource};
use crate::provenance::BuildInfo;
use crate::record::certificate::{
    Breakage, CERTIFICATE_FILE, CERTIFICATE_VERSION, Certificate, CertifiedSubject, Confirmation, EvaluationCount,
    ForwardTotals, HeldOutForwards, MonotonicityCheck, NecessaryOperation, NonMonotoneSet,
};
use crate::stats::clopper_pearson;

/// Name of the file that a search locks its folder by.
const LOCK_FILE: &str = "lock";

/// Finds a minimal set, certifies it and writes the results into the request's folder. A search that was stopped goes on.
///
/// # Errors
/// [`SearchError`], one message that names the place and the cure.
pub fn search(request: &SearchRequest, progress: &mut dyn FnMut(SearchStep)) -> Result<Certificate, SearchError> {
    let SearchRequest { dir, shared, .. } = request;
    for folder in [dir, shared] {
        std::fs::create_dir_all(folder).map_err(FileError::of_output(folder))?;
    }
    let locked = lock::attempt(&shared.join(LOCK_FILE), Sharing::Exclusive)?;
    let _lock = locked.map_err(|holder| SearchError::Locked { path: shared.clone(), holder: holder.to_string() })?;
    let model = &request.model;
    let model = Arc::new(Model::open(&model.name, &model.source, &request.base_dir, model.head)?);
    let input = InputStream::open(&request.input.source, &request.base_dir, &model)?;
    request.check(&model, &input)?;
    // What is absent is known before anything is computed.
    for kind in [Some(request.backend), request.confirm].into_iter().flatten() {
        executing(kind, &request.start)?;
    }
    let fp32 = ReferenceBackend::default();
    let candidates = candidates(&model.graph, &request.start, &request.examine(&fp32, &model, &input)?)?;
    request.ensure_references(&fp32, &model, &input, progress)?;
    drop(fp32);
    let subject = Subject { request, model: &model, input: &input, candidates: &candidates };
    let mut journal = SearchJournal::open(shared, SEARCH_JOURNAL)?;
    let mut certificate = certify(subject, &mut journal, progress)?;
    if let Some(kind) = request.confirm {
        certificate.confirmation = Some(confirm(subject, &certificate, kind, &mut journal, progress)?);
    }
    let mut times = SearchJournal::open(shared, TIMING_JOURNAL)?;
    certificate.timing = Some(time(subject, &certificate.policy, &mut times, progress)?);
    write(dir, &certificate)?;
    write_forwards(subject)?;
    Ok(certificate)
}

impl SearchRequest {
    /// Forwards searched and held out, as settings of the comparison.
    fn all_forwards(&self) -> Numerics {
        Numerics { forwards: Some(self.forwards + self.held_out), ..self.settings }
    }

    /// Refuses what cannot be searched or judged.
    fn check(&self, model: &Model, input: &InputStream) -> Result<(), SearchError> {
        if self.forwards == 0 {
            return Err(SearchError::NoForward);
        }
        check_shape(&model.graph, self.shape).map_err(|error| SearchError::UnfitShape { shape: self.shape, error })?;
        let (sequence, needed) = (self.shape.sequence, (self.forwards + self.held_out) * self.shape.batch);
        if let Some(rows) = input.len(sequence).filter(|rows| *rows < needed) {
            let (input, forwards, held_out) = (self.input.name.clone(), self.forwards, self.held_out);
            return Err(SearchError::FewRows { input, rows, sequence, forwards, held_out, needed });
        }
        let kind = model.graph.output_kind;
        let undefined = |limit, wanted: &str| {
            let reason = format!("{wanted}, and the output of `{}` is {}", model.name, kind.label());
            Err(SearchError::UndefinedLimit { limit, reason })
        };
        for &shape in &self.timed_shapes {
            let Shape { batch, sequence } = shape;
            check_shape(&model.graph, shape).map_err(|error| SearchError::UntimedShape { shape, error })?;
            if let Some(rows) = input.len(sequence).filter(|rows| *rows < batch) {
                return Err(SearchError::FewTimedRows { input: self.input.name.clone(), rows, shape });
            }
        }
        if self.tolerance.max_flips.is_some() && !kind.is_logits() {
            return undefined("max_flips", "decisions");
        }
        if self.tolerance.max_perplexity_ratio.is_some() {
            if kind != OutputKind::TokenLogits {
                return undefined("max_perplexity_ratio", "the likelihood of next tokens");
            }
            if !has_next_tokens(&input.batch(self.shape, 0)?) {
                let (limit, input) = ("max_perplexity_ratio", &self.input.name);
                let reason = format!("the likelihood of next tokens, and input `{input}` is no running text");
                return Err(SearchError::UndefinedLimit { limit, reason });
            }
        }
        Ok(())
    }

    /// The first forward, examined in FP32.
    fn examine(
        &self,
        backend: &ReferenceBackend,
        model: &Arc<Model>,
        input: &InputStream,
    ) -> Result<Examination, SearchError> {
        let policy = PrecisionPolicy::preset(Preset::Fp32);
        let request = BuildRequest::new(model.clone(), policy, self.shape, self.threads);
        let mut engine = backend.build(&request)?.engine?;
        engine.bind(&input.batch(self.shape, 0)?)?;
        // The reference backend shows its tensors.
        Ok(engine.examine()?.unwrap_or_default())
    }

    /// Computes the FP32 reference of every forward, unless it is there.
    fn ensure_references(
        &self,
        backend: &ReferenceBackend,
        model: &Arc<Model>,
        input: &InputStream,
        progress: &mut dyn FnMut(SearchStep),
    ) -> Result<(), SearchError> {
        let parts: Vec<Part> = Part::of_forwards(self.all_forwards(), self.shape.batch).collect();
        let total = parts.len();
        for (index, part) in parts.into_iter().enumerate() {
            let source = ReferenceSource { model, input, sequence: self.shape.sequence, part };
            source.ensure(&self.reference_path(part), backend)?;
            progress(SearchStep::Reference { done: index + 1, total });
        }
        Ok(())
    }

    /// The file of a part of the reference outputs.
    pub(super) fn reference_path(&self, part: Part) -> PathBuf {
        let name = match part {
            Part::Compared(sequences) => format!("first-{sequences}"),
            Part::Forwards(index) => format!("{index:04}"),
        };
        self.shared.join("reference").join(name + ".safetensors")
    }
}

/// The policy found on the backend of the request, with the evidence.
fn certify(
    subject: Subject<'_>,
    journal: &mut SearchJournal<ForwardOutcome>,
    progress: &mut dyn FnMut(SearchStep),
) -> Result<Certificate, SearchError> {
    let Subject { request, candidates, .. } = subject;
    let mut evaluator = Evaluator::new(request.backend, subject, journal)?;
    let certified = subject.certified(request.backend, evaluator.library())?;
    let mut tried = |trial| progress(SearchStep::Tried(trial));
    let size = (candidates.len(), request.forwards);
    let mut exploration = Exploration::new(&mut evaluator, request.tolerance, size, &mut tried);
    let found = exploration.minimal_set(&partitions(candidates))?;
    let searched = exploration.outcomes(&found.set, 0..request.forwards)?;
    let violations = exploration.violations(&found.set, request.supersets, request.seed)?;
    let violations = violations.into_iter().map(|violation| {
        let added = violation.set.difference(&found.set);
        let added = added.filter_map(|&place| candidates.get(place)).map(|one| one.op.clone()).collect();
        NonMonotoneSet { added, breaks: violation.breakage }
    });
    let monotonicity =
        MonotonicityCheck { supersets: request.supersets, seed: request.seed, violations: violations.collect() };
    let held_out = held_out(request, &mut exploration, &found.set)?;
    let (sets, forwards, wall_s) = exploration.evaluations();
    let named = |policy: PrecisionPolicy| match found.set.is_empty() {
        true => policy,
        false => PrecisionPolicy { name: searched_name(&request.start.name), ..policy },
    };
    Ok(Certificate {
        schema: CERTIFICATE_VERSION,
        subject: certified,
        start: request.start.clone(),
        policy: named(subject.policy(&found.set)),
        tolerance: request.tolerance,
        broken_cosine: request.settings.broken_cosine,
        broken_relative_l2: request.settings.broken_relative_l2,
        start_breaks: found.start,
        operations: operations(candidates, &found),
        searched: ForwardTotals::of(0, &searched),
        refuting_forwards: found.refuting,
        held_out,
        monotonicity,
        evaluations: EvaluationCount { sets, forwards, wall_s },
        confirmation: None,
        timing: None,
        build: Some(BuildInfo::current()),
    })
}

/// `fp16-searched`; a name that was found by a search keeps its end.
fn searched_name(start: &str) -> String {
    const SUFFIX: &str = "-searched";
    // Manifests allow 64 characters.
    let stem: String = start.trim_end_matches(SUFFIX).chars().take(64 - SUFFIX.len()).collect();
    stem + SUFFIX
}

fn operations(candidates: &[CandidateOp], found: &MinimalSet) -> Vec<NecessaryOperation> {
    let named = found.necessity.iter().filter_map(|(place, without)| Some((candidates.get(*place)?, *without)));
    let necessary = named.map(|(one, without)| NecessaryOperation {
        op: one.op.clone(),
        class: one.class,
        layer: one.layer,
        headroom_bits: Some(one.headroom_bits).filter(|bits| bits.is_finite()),
        without,
    });
    necessary.collect()
}

/// The set on the forwards after those that were searched, each judged by itself and all together.
fn held_out(
    request: &SearchRequest,
    exploration: &mut Exploration<'_, Evaluator<'_>>,
    set: &Places,
) -> Result<HeldOutForwards, SearchError> {
    let range = request.forwards..request.forwards + request.held_out;
    let outcomes = exploration.outcomes(set, range.clone())?;
    let alone: Vec<Vec<usize>> = range.clone().map(|forward| vec![forward]).collect();
    let breaking = alone.iter().filter_map(|forward| exploration.judge(set, forward).transpose());
    let breaking = breaking.collect::<Result<Vec<Breakage>, SearchError>>()?;
    let together = exploration.judge(set, &range.collect::<Vec<_>>())?;
    let trials = outcomes.len() as u64;
    Ok(HeldOutForwards {
        totals: ForwardTotals::of(request.forwards, &outcomes),
        breaking_share: clopper_pearson(breaking.len() as u64, trials),
        within_tolerance: (trials > 0).then_some(together.is_none()),
        breaking,
    })
}

/// The policy found on a second backend: all forwards that were searched, and the forward that needs each operation.
fn confirm(
    subject: Subject<'_>,
    certificate: &Certificate,
    kind: BackendKind,
    journal: &mut SearchJournal<ForwardOutcome>,
    progress: &mut dyn FnMut(SearchStep),
) -> Result<Confirmation, SearchError> {
    let Subject { request, candidates, .. } = subject;
    let mut evaluator = Evaluator::new(kind, subject, journal)?;
    let library = evaluator.library().to_owned();
    let mut tried = |trial| progress(SearchStep::Tried(trial));
    let size = (candidates.len(), request.forwards);
    let mut exploration = Exploration::new(&mut evaluator, request.tolerance, size, &mut tried);
    let place = |op: &str| candidates.iter().position(|one| one.op == op);
    let set: Places = certificate.operations.iter().filter_map(|one| place(&one.op)).collect();
    let outcomes = exploration.outcomes(&set, 0..request.forwards)?;
    let all: Vec<usize> = (0..request.forwards).collect();
    let breaks = exploration.judge(&set, &all)?;
    let mut unneeded = Vec::new();
    for one in &certificate.operations {
        let without: Places = set.iter().copied().filter(|&member| Some(member) != place(&one.op)).collect();
        // Counts and averages are limited over the forwards that refuted a set.
        let forwards = &certificate.refuting_forwards;
        if exploration.judge(&without, forwards)?.is_none() {
            unneeded.push(one.op.clone());
        }
    }
    Ok(Confirmation { backend: kind, library, breaks, totals: ForwardTotals::of(0, &outcomes), unneeded })
}

impl ForwardTotals {
    /// Sums over successive forwards from `first` on.
    fn of(first: usize, outcomes: &[ForwardOutcome]) -> Self {
        let sum = |count: fn(&ForwardOutcome) -> Option<u64>| outcomes.iter().map(count).sum::<Option<u64>>();
        let cosines: Option<Vec<f64>> = outcomes.iter().map(|outcome| outcome.cosine_min).collect();
        ForwardTotals {
            first,
            forwards: outcomes.len(),
            compared_rows: outcomes.iter().map(|outcome| outcome.compared_rows).sum(),
            nonfinite: outcomes.iter().map(|outcome| outcome.nonfinite).sum(),
            cosine_min: cosines.and_then(|all| all.into_iter().reduce(f64::min)),
            broken_rows: sum(|outcome| outcome.broken_rows).filter(|_| !outcomes.is_empty()),
            flips: sum(|outcome| outcome.flips).filter(|_| !outcomes.is_empty()),
        }
    }
}

impl Subject<'_> {
    /// What was searched, on this backend.
    fn certified(&self, backend: BackendKind, library: &str) -> Result<CertifiedSubject, SearchError> {
        let Subject { request, model, input, candidates } = self;
        let mut ids = RunningDigest::default();
        for forward in 0..request.forwards + request.held_out {
            let batch = input.batch(request.shape, forward * request.shape.batch)?;
            batch.ids.iter().for_each(|id| ids.update(&id.to_le_bytes()));
        }
        Ok(CertifiedSubject {
            model: model.name.clone(),
            weights: model.weights_identity(),
            graph_sha256: model.graph.sha256(),
            input: request.input.name.clone(),
            input_sha256: input.file.as_ref().map(|file| file.sha256.clone()),
            ids_sha256: ids.sha256(),
            backend,
            library: library.to_owned(),
            shape: request.shape,
            candidates: candidates.len(),
            layers: Some(model.graph.dimensions.layers),
        })
    }
}

/// Writes the policy and both forms of the certificate.
fn write(dir: &Path, certificate: &Certificate) -> Result<(), SearchError> {
    let subject = &certificate.subject;
    let why = [
        format!("What `mixprec search` left in FP32 of {} on {}: {}.", subject.model, subject.input, CERTIFICATE_PAGE),
        "An item of `precisions:` in a manifest.".to_owned(),
    ];
    let yaml = policy_yaml(&certificate.policy, &why);
    let files = [
        (POLICY_FILE, yaml.clone()),
        (CERTIFICATE_FILE, certificate.to_json()?),
        (CERTIFICATE_PAGE, page(certificate, &yaml)?),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        replace(&path, text.as_bytes()).map_err(FileError::at(&path))?;
    }
    Ok(())
}

/// Writes the token ids of all forwards, so that another program can check the certificate: `{"ids": [[..]], "lengths": [..],
/// "token_types": [[..]]}` with an entry for every row of every batch, and no types where all are 0.
fn write_forwards(subject: Subject<'_>) -> Result<(), SearchError> {
    let Subject { request, input, .. } = subject;
    let (mut ids, mut lengths, mut token_types) = (Vec::new(), Vec::new(), Vec::new());
    for forward in 0..request.forwards + request.held_out {
        let batch = input.batch(request.shape, forward * request.shape.batch)?;
        ids.extend(batch.ids.chunks(request.shape.sequence).map(<[u32]>::to_vec));
        token_types
            .extend(batch.token_types.iter().flat_map(|all| all.chunks(request.shape.sequence)).map(<[u32]>::to_vec));
        lengths.extend(batch.lengths);
    }
    let path = request.dir.join(FORWARDS_FILE);
    let text =
        serde_json::to_string(&serde_json::json!({ "ids": ids, "lengths": lengths, "token_types": token_types }))?
            + "\n";
    Ok(replace(&path, text.as_bytes()).map_err(FileError::at(&path))?)
}
