//! The parent's loop over groups and configurations.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::child::{Reply, Worker};
use super::failure::name_files_as_the_manifest;
use super::progress::ProgressDisplay;
use super::protocol::{References, Request, Response, Settings};
use super::weights::CurrentWeights;
use super::{RunOptions, RunSummary, RunnerError, interrupt};
use crate::engine::{BackendKind, BuildProgress, DeviceKind};
use crate::numerics::{Part, ReferenceOutputs};
use crate::plan::{Configuration, ConfigurationId, Plan};
use crate::record::{Failure, FailureKind, Outcome, Record};
use crate::store::journal::{Journal, JournalContents};

/// Continue, or stop because the user asked to.
type Flow = Result<ControlFlow<()>, RunnerError>;

/// One run in progress.
pub(super) struct Sweep<'a> {
    plan: &'a Plan,
    reference_dir: PathBuf,
    environment: String,
    settings: Settings,
    limit: Duration,
    journal: Journal,
    progress: ProgressDisplay,
    summary: RunSummary,
    /// Configurations that already have a final row.
    settled: HashSet<ConfigurationId>,
    /// References that this run has checked or computed, or the reason why that failed. A failure is not retried for
    /// every group.
    references: BTreeMap<PathBuf, Result<(), String>>,
    retry_failed: bool,
    /// When the previous row was stored.
    since: Instant,
}

impl<'a> Sweep<'a> {
    pub fn new(plan: &'a Plan, dir: &Path, options: &RunOptions, journal: Journal, progress: ProgressDisplay) -> Self {
        Sweep {
            plan,
            reference_dir: dir.join("reference"),
            environment: options.environment.id(),
            settings: Settings::of(plan),
            limit: Duration::try_from_secs_f64(plan.measurement.timeout_s).unwrap_or(Duration::MAX),
            journal,
            progress,
            summary: RunSummary::default(),
            settled: HashSet::new(),
            references: BTreeMap::new(),
            retry_failed: options.retry_failed,
            since: Instant::now(),
        }
    }

    /// Skips the configurations that already have a final row. A row is not final when its model has other weights now.
    fn settle(&mut self, earlier: &JournalContents, weights: &CurrentWeights) {
        let (plan, rows) = (self.plan, earlier.latest());
        let mut elsewhere = 0;
        let mut replaced: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
        for configuration in &plan.configurations {
            let Some(row) = rows.get(&configuration.id) else { continue };
            if let Some((before, now)) = weights.replacing(configuration, &row.outcome) {
                *replaced.entry((&configuration.model, before, now)).or_default() += 1;
                continue;
            }
            match &row.outcome {
                Outcome::Failed(_) | Outcome::Built(_) if self.retry_failed => continue,
                Outcome::Failed(_) => self.summary.skipped_failed += 1,
                Outcome::Built(_) => self.summary.skipped_built += 1,
                Outcome::Ok(_) => self.summary.skipped_already_done += 1,
            }
            self.note_tolerance(&row.outcome);
            elsewhere += usize::from(row.environment != self.environment);
            self.settled.insert(row.id.clone());
        }
        for ((model, before, now), rows) in replaced {
            self.progress.notice(&format!(
                "{model}: {rows} row(s) of this folder were measured with other weights ({before}) than the model has now \
                 ({now}) and are measured again"
            ));
        }
        if elsewhere > 0 {
            self.progress.notice(&format!(
                "note: {elsewhere} row(s) of this folder were measured in another environment (machine, driver or build) \
                 and are kept; use another folder (--out) to measure everything in this one"
            ));
        }
    }

    /// Runs every configuration without a final row in `earlier`, and returns the counts.
    pub fn execute(mut self, earlier: &JournalContents) -> Result<RunSummary, RunnerError> {
        let asked = CurrentWeights::ask(self.plan, &earlier.records, self.limit, &self.progress)?;
        let start = if asked.is_break() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        self.settle(earlier, &asked.continue_value().unwrap_or_default());
        self.progress.skip(self.settled.len());
        let plan = self.plan;
        let pending: Vec<&Configuration> =
            plan.configurations.iter().filter(|configuration| !self.settled.contains(&configuration.id)).collect();
        let result = groups(&pending).into_iter().try_fold(start, |flow, group| match flow {
            ControlFlow::Continue(()) => self.group(&group),
            ControlFlow::Break(()) => Ok(flow),
        });
        self.progress.close();
        self.summary.pending = pending.len() - self.summary.ok - self.summary.built - self.summary.failed;
        // A signal after the last row interrupts nothing.
        self.summary.interrupted = result?.is_break() && (self.summary.pending > 0 || start.is_break());
        if self.summary.interrupted {
            let (total, left) = (plan.configurations.len(), self.summary.pending);
            let safe = total - left;
            self.progress.notice(&format!(
                "interrupted: {safe} of {total} rows are on disk; run the same command again to go on"
            ));
        }
        Ok(self.summary)
    }

    /// Runs the configurations of one backend, model and policy.
    fn group(&mut self, group: &[&Configuration]) -> Flow {
        let Some(first) = group.first() else {
            return Ok(ControlFlow::Continue(()));
        };
        self.progress.working_on(&format!("starting {} {} {}", first.backend, first.model, first.policy.name));
        let mut worker = Worker::spawn()?;
        let probe = Request::Probe { settings: self.settings.clone(), backend: first.backend };
        let probed = match worker.call(&probe, self.limit)? {
            Reply::Response(response) => match *response {
                Response::Probed(result) => result,
                other => Err(out_of_step(&other)),
            },
            Reply::Died(failure) => Err(failure),
            Reply::TimedOut => Err(self.timeout()),
            Reply::Interrupted => return Ok(ControlFlow::Break(())),
        };
        let executes = match probed {
            Ok(probed) => probed.executes,
            Err(failure) => {
                for configuration in group {
                    self.record(configuration, Outcome::Failed(failure.clone()))?;
                }
                return Ok(ControlFlow::Continue(()));
            }
        };
        // An engine that is not executed needs no reference.
        if executes && self.references(group)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.measure_all(group, worker)
    }

    /// Gives the group's configurations to a worker one by one. After a death, a fresh worker takes the rest.
    fn measure_all(&mut self, group: &[&Configuration], worker: Worker) -> Flow {
        let mut ready = Some(worker);
        for configuration in group {
            self.progress.working_on(&configuration.label());
            let mut worker = match ready.take() {
                Some(worker) => worker,
                None => Worker::spawn()?,
            };
            let request = Request::Measure {
                settings: self.settings.clone(),
                configuration: Box::new((*configuration).clone()),
                references: self.references_of(configuration),
            };
            let watch = |step: &BuildProgress| self.progress.building(configuration, step);
            let outcome = match worker.call_watched(&request, self.limit, watch)? {
                Reply::Response(response) => {
                    let outcome = match *response {
                        Response::Measured(outcome) => outcome,
                        other => Outcome::Failed(out_of_step(&other)),
                    };
                    if !poisons_worker(configuration.backend, &outcome) {
                        ready = Some(worker);
                    }
                    outcome
                }
                Reply::Died(failure) => Outcome::Failed(failure),
                Reply::TimedOut => Outcome::Failed(self.timeout()),
                Reply::Interrupted => return Ok(ControlFlow::Break(())),
            };
            self.record(configuration, outcome)?;
        }
        if let Some(worker) = ready {
            worker.finish();
        }
        Ok(if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Checks the group's FP32 references. Computes those that are absent, damaged or made from other weights. A
    /// separate worker does this, so that the measuring worker's memory and caches stay clean. A failure becomes a
    /// remark in the rows that need the reference.
    fn references(&mut self, group: &[&Configuration]) -> Flow {
        let mut ready: Option<Worker> = None;
        for configuration in group {
            for part in self.parts(configuration) {
                if self.reference(configuration, part, &mut ready)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let path = self.reference_path(configuration, part);
                // Without one part of the forwards the others serve nothing.
                if matches!(part, Part::Forwards(_)) && self.references.get(&path).is_some_and(Result::is_err) {
                    break;
                }
            }
        }
        if let Some(worker) = ready {
            worker.finish();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Checks or computes one part, unless this run has done so.
    fn reference(&mut self, configuration: &Configuration, part: Part, ready: &mut Option<Worker>) -> Flow {
        let path = self.reference_path(configuration, part);
        if self.references.contains_key(&path) {
            return Ok(ControlFlow::Continue(()));
        }
        self.progress.working_on(&format!("FP32 reference of {}", configuration.label()));
        let mut worker = match ready.take() {
            Some(worker) => worker,
            None => Worker::spawn()?,
        };
        let request = Request::Reference {
            settings: self.settings.clone(),
            configuration: Box::new(configuration.clone()),
            part,
            path: path.clone(),
        };
        let computed = match worker.call(&request, self.limit)? {
            Reply::Response(response) => {
                *ready = Some(worker);
                match *response {
                    Response::Referenced(result) => result,
                    other => Err(out_of_step(&other).reason),
                }
            }
            Reply::Died(failure) => Err(failure.reason),
            Reply::TimedOut => Err(self.timeout().reason),
            Reply::Interrupted => return Ok(ControlFlow::Break(())),
        };
        self.references.insert(path, computed.map_err(|reason| format!("no FP32 reference: {reason}")));
        Ok(ControlFlow::Continue(()))
    }

    /// The parts of the reference that a configuration needs.
    fn parts(&self, configuration: &Configuration) -> impl Iterator<Item = Part> + use<> {
        let settings = self.plan.numerics;
        let of_forwards = Part::of_forwards(settings, configuration.shape.batch);
        std::iter::once(Part::Compared(settings.compare_sequences)).chain(of_forwards)
    }

    fn references_of(&self, configuration: &Configuration) -> References {
        let missing = |part| self.references.get(&self.reference_path(configuration, part))?.clone().err();
        let mut parts = self.parts(configuration);
        References {
            dir: self.reference_dir.clone(),
            compared_missing: parts.next().and_then(missing),
            forwards_missing: parts.find_map(missing),
        }
    }

    fn reference_path(&self, configuration: &Configuration, part: Part) -> PathBuf {
        ReferenceOutputs::path(&self.reference_dir, configuration, part)
    }

    /// Writes the row to disk before anything else happens.
    fn record(&mut self, configuration: &Configuration, mut outcome: Outcome) -> Result<(), RunnerError> {
        name_files_as_the_manifest(&mut outcome, &self.plan.base_dir);
        let record = Record {
            id: configuration.id.clone(),
            environment: self.environment.clone(),
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
            wall_s: Some(self.since.elapsed().as_secs_f64()),
            outcome,
        };
        self.journal.append(&record)?;
        self.since = Instant::now();
        match record.outcome {
            Outcome::Ok(_) => self.summary.ok += 1,
            Outcome::Built(_) => self.summary.built += 1,
            Outcome::Failed(_) => self.summary.failed += 1,
        }
        self.note_tolerance(&record.outcome);
        self.progress.finished(configuration, &record.outcome);
        Ok(())
    }

    fn note_tolerance(&mut self, outcome: &Outcome) {
        let broken = matches!(outcome, Outcome::Ok(measured) if measured.numerics.within_tolerance == Some(false));
        self.summary.out_of_tolerance += usize::from(broken);
    }

    fn timeout(&self) -> Failure {
        let seconds = self.plan.measurement.timeout_s;
        Failure::new(FailureKind::Timeout, &format!("took longer than measurement.timeout_s = {seconds} s"))
    }
}

/// Groups configurations by backend, model and policy. Groups keep the order of their first member, and members keep
/// the plan's order.
fn groups<'a>(configurations: &[&'a Configuration]) -> Vec<Vec<&'a Configuration>> {
    let mut groups: Vec<Vec<&Configuration>> = Vec::new();
    for &configuration in configurations {
        let same = |other: &Configuration| {
            (other.backend, &other.model, &other.policy)
                == (configuration.backend, &configuration.model, &configuration.policy)
        };
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| same(first))) {
            Some(group) => group.push(configuration),
            None => groups.push(vec![configuration]),
        }
    }
    groups
}

/// Whether the worker must be discarded. A CUDA error persists in the process where it occurred.
fn poisons_worker(backend: BackendKind, outcome: &Outcome) -> bool {
    let failed = match outcome {
        Outcome::Failed(_) => true,
        Outcome::Ok(measured) => matches!(measured.aa_test, Some(Err(_))),
        Outcome::Built(_) => false,
    };
    backend.device() == DeviceKind::Gpu && failed
}

fn out_of_step(response: &Response) -> Failure {
    Failure::new(FailureKind::Error, &format!("the worker sent an unexpected response: {response:?}"))
}
