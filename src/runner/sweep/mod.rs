//! The parent's loop over groups and configurations.

mod references;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::child::{Reply, Worker};
use super::failure::name_files_as_the_manifest;
use super::materials::{CurrentMaterials, files_here, states_files};
use super::progress::ProgressDisplay;
use super::protocol::{Opened, Request, Response, Settings};
use super::{RunOptions, RunSummary, RunnerError, interrupt};
use crate::engine::{BackendKind, BuildProgress, DeviceKind};
use crate::libraries::{self, Library};
use crate::model::RawFiles;
use crate::plan::{Configuration, ConfigurationId, Plan};
use crate::record::{Failure, FailureKind, Outcome, Record, Status};
use crate::store::derive;
use crate::store::journal::{self, Journal, JournalContents};
use settle::Earlier;

/// Continue, or stop because the user asked to.
type Flow = Result<ControlFlow<()>, RunnerError>;

/// How often a file that changes while it is used is read anew, and how often a run measures again what its own later rows
/// contradict, before it gives up.
const REREADS: usize = 3;

/// How a configuration's newest row ended.
#[derive(Debug, Clone, Copy)]
struct RowEnd {
    status: Status,
    /// Whether this run has measured it.
    by_this_run: bool,
    out_of_tolerance: bool,
}

impl RowEnd {
    fn of(outcome: &Outcome, by_this_run: bool) -> Self {
        let status = match outcome {
            Outcome::Ok(_) => Status::Ok,
            Outcome::Built(_) => Status::Built,
            Outcome::Failed(_) => Status::Failed,
        };
        let broken = matches!(outcome, Outcome::Ok(measured) if measured.numerics.within_tolerance == Some(false));
        RowEnd { status, by_this_run, out_of_tolerance: broken }
    }
}

/// One run in progress.
pub(super) struct Sweep<'a> {
    plan: &'a Plan,
    dir: &'a Path,
    reference_dir: PathBuf,
    environment: String,
    settings: Settings,
    limit: Duration,
    journal: Journal,
    progress: ProgressDisplay,
    /// Configurations that have a final row.
    settled: BTreeMap<ConfigurationId, RowEnd>,
    /// What the references were computed from that this run has checked or computed, or the reason why that failed. A
    /// failure is not retried for every group.
    references: BTreeMap<PathBuf, Result<Opened, String>>,
    /// The files that failures are told with, by model and input.
    files: BTreeMap<(String, String), RawFiles>,
    /// The libraries that failures are told with.
    libraries: BTreeMap<BackendKind, Option<BTreeMap<String, String>>>,
    /// Rows of this run that were made from other files than their reference.
    without_reference: BTreeSet<ConfigurationId>,
    /// Whether the engines of the present group are executed as well as built.
    executes: bool,
    retry_failed: bool,
    /// When the previous row was stored.
    since: Instant,
}

impl<'a> Sweep<'a> {
    pub fn new(
        plan: &'a Plan,
        dir: &'a Path,
        options: &RunOptions,
        journal: Journal,
        progress: ProgressDisplay,
    ) -> Self {
        Sweep {
            plan,
            dir,
            reference_dir: dir.join("reference"),
            environment: options.environment.id(),
            settings: Settings::of(plan),
            limit: Duration::try_from_secs_f64(plan.measurement.timeout_s).unwrap_or(Duration::MAX),
            journal,
            progress,
            settled: BTreeMap::new(),
            references: BTreeMap::new(),
            files: BTreeMap::new(),
            libraries: BTreeMap::new(),
            without_reference: BTreeSet::new(),
            executes: false,
            retry_failed: options.retry_failed,
            since: Instant::now(),
        }
    }

    /// Runs every configuration without a final row in `earlier`, and returns the counts.
    pub fn execute(mut self, earlier: &JournalContents) -> Result<RunSummary, RunnerError> {
        let rows = earlier.latest();
        let measured = earlier.latest_without_failures();
        let asked = CurrentMaterials::ask(self.plan, &measured, self.limit, &self.progress)?;
        let start = if asked.is_break() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        self.settle(Earlier { rows, measured }, asked.continue_value().as_ref())?;
        self.progress.skip(self.settled.len());
        let result = self.passes(start);
        self.progress.close();
        let mut summary = self.summary();
        // A signal after the last row interrupts nothing.
        summary.interrupted = result?.is_break() && (summary.pending > 0 || start.is_break());
        if summary.interrupted {
            let total = self.plan.configurations.len();
            let safe = total - summary.pending;
            self.progress.notice(&format!(
                "interrupted: {safe} of {total} rows are on disk; run the same command again to go on"
            ));
        }
        Ok(summary)
    }

    /// Runs what is not settled, and again what rows of this run contradict, because a file was replaced meanwhile.
    fn passes(&mut self, start: ControlFlow<()>) -> Flow {
        let plan = self.plan;
        let mut flow = start;
        for pass in 0..=REREADS {
            let settled = |one: &&Configuration| self.settled.contains_key(&one.id);
            let pending: Vec<&Configuration> = plan.configurations.iter().filter(|one| !settled(one)).collect();
            for group in groups(&pending) {
                if flow.is_continue() {
                    flow = self.group(&group)?;
                }
            }
            if flow.is_break() {
                return Ok(flow);
            }
            let outdated = self.outdated()?;
            if outdated.is_empty() {
                break;
            }
            self.progress.again(outdated.len());
            self.references.clear();
            self.settled.retain(|id, _| !outdated.contains_key(id));
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            outdated.values().for_each(|material| *counts.entry(material).or_default() += 1);
            for (material, rows) in counts {
                self.progress.notice(&match pass {
                    REREADS => format!(
                        "{material}: replaced again and again during the run, so {rows} row(s) are left out; run the same \
                         command again when nothing writes to it"
                    ),
                    _ => format!("{material}: replaced during the run, so {rows} row(s) from before are measured again"),
                });
            }
        }
        Ok(flow)
    }

    /// The settled configurations whose rows contradict rows that this run has measured after them, or their reference, and in
    /// what.
    fn outdated(&mut self) -> Result<BTreeMap<ConfigurationId, String>, RunnerError> {
        let of_reference = std::mem::take(&mut self.without_reference).into_iter();
        let mut outdated: BTreeMap<_, _> =
            of_reference.map(|id| (id, "a file of the FP32 reference".to_owned())).collect();
        if self.settled.values().any(|end| end.by_this_run) {
            let records = journal::read(self.dir)?.records;
            outdated
                .extend(derive::outdated(self.plan, &records).into_iter().map(|(id, material)| (id.clone(), material)));
        }
        outdated.retain(|id, _| self.settled.contains_key(id));
        Ok(outdated)
    }

    fn summary(&self) -> RunSummary {
        let mut summary = RunSummary::default();
        for end in self.settled.values() {
            let count = match (end.status, end.by_this_run) {
                (Status::Ok, true) => &mut summary.ok,
                (Status::Ok, false) => &mut summary.skipped_already_done,
                (Status::Built, true) => &mut summary.built,
                (Status::Built, false) => &mut summary.skipped_built,
                (_, true) => &mut summary.failed,
                (_, false) => &mut summary.skipped_failed,
            };
            *count += 1;
            summary.out_of_tolerance += usize::from(end.out_of_tolerance);
        }
        summary.pending = self.plan.configurations.len() - self.settled.len();
        summary
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
        self.executes = executes;
        if self.references(group)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.measure_all(group, worker)
    }

    /// Gives the group's configurations to a worker one by one. After a death, a fresh worker takes the rest.
    fn measure_all(&mut self, group: &[&Configuration], worker: Worker) -> Flow {
        let mut ready = Some(worker);
        for configuration in group {
            // They are there unless a file was replaced.
            if self.references(&[configuration])?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.progress.working_on(&configuration.label());
            let ControlFlow::Continue(outcome) = self.measure(configuration, &mut ready)? else {
                return Ok(ControlFlow::Break(()));
            };
            self.record(configuration, outcome)?;
        }
        if let Some(worker) = ready {
            worker.finish();
        }
        Ok(if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Has one configuration measured by the worker that is ready, or by a fresh one. Leaves the worker ready where it can go
    /// on.
    fn measure(
        &mut self,
        configuration: &Configuration,
        ready: &mut Option<Worker>,
    ) -> Result<ControlFlow<(), Outcome>, RunnerError> {
        let request = Request::Measure {
            settings: self.settings.clone(),
            configuration: Box::new(configuration.clone()),
            references: self.references_of(configuration),
        };
        let mut changing = String::new();
        for _ in 0..=REREADS {
            let mut worker = match ready.take() {
                Some(worker) => worker,
                None => Worker::spawn()?,
            };
            let watch = |step: &BuildProgress| self.progress.building(configuration, step);
            let outcome = match worker.call_watched(&request, self.limit, watch)? {
                Reply::Response(response) => match *response {
                    Response::Measured(outcome) => {
                        if !poisons_worker(configuration.backend, &outcome) {
                            *ready = Some(worker);
                        }
                        outcome
                    }
                    Response::Replaced(file) => {
                        worker.finish();
                        changing = file;
                        self.references.clear();
                        if self.references(&[configuration])?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        continue;
                    }
                    other => {
                        *ready = Some(worker);
                        Outcome::Failed(out_of_step(&other))
                    }
                },
                Reply::Died(failure) => Outcome::Failed(failure),
                Reply::TimedOut => Outcome::Failed(self.timeout()),
                Reply::Interrupted => return Ok(ControlFlow::Break(())),
            };
            return Ok(ControlFlow::Continue(outcome));
        }
        Ok(ControlFlow::Continue(Outcome::Failed(Failure::new(FailureKind::Error, &keeps_changing(&changing)))))
    }

    /// Writes the row to disk before anything else happens.
    fn record(&mut self, configuration: &Configuration, mut outcome: Outcome) -> Result<(), RunnerError> {
        name_files_as_the_manifest(&mut outcome, &self.plan.base_dir);
        if let Outcome::Failed(failure) = &mut outcome {
            failure.libraries = self.libraries_of(configuration.backend);
            if states_files(configuration, failure) {
                failure.files = Some(Box::new(self.files_of(configuration)));
            }
        }
        let record = Record {
            id: configuration.id.clone(),
            environment: self.environment.clone(),
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
            wall_s: Some(self.since.elapsed().as_secs_f64()),
            outcome,
        };
        self.journal.append(&record)?;
        self.since = Instant::now();
        if self.reference_differs(configuration, &record.outcome) {
            self.without_reference.insert(record.id.clone());
            self.references.clear();
        }
        self.settled.insert(record.id.clone(), RowEnd::of(&record.outcome, true));
        self.progress.finished(configuration, &record.outcome);
        Ok(())
    }

    /// The files of a configuration, read once: a failure does not wait for every byte again.
    fn files_of(&mut self, configuration: &Configuration) -> RawFiles {
        let key = (configuration.model.clone(), configuration.input.clone());
        self.files.entry(key).or_insert_with(|| files_here(self.plan, configuration)).clone()
    }

    /// The libraries of a backend, read once; `None` where it has none.
    fn libraries_of(&mut self, backend: BackendKind) -> Option<BTreeMap<String, String>> {
        let read = || (!Library::of(backend).is_empty()).then(|| libraries::digests(backend));
        self.libraries.entry(backend).or_insert_with(read).clone()
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

/// Why a row has no measurement whose file is written to all the time.
fn keeps_changing(file: &str) -> String {
    format!("{file}: it was changed while it was used, again and again; run again when nothing writes to it")
}

fn out_of_step(response: &Response) -> Failure {
    Failure::new(FailureKind::Error, &format!("the worker sent an unexpected response: {response:?}"))
}
