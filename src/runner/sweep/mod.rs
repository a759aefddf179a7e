//! The parent's loops over groups and configurations, one for each device.

mod feed;
mod lane;
mod processes;
mod references;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::materials::{CurrentMaterials, files_here};
use super::placement::{self, GpuShare};
use super::progress::ProgressDisplay;
use super::protocol::{Opened, Response, Settings};
use super::{Deadline, RunOptions, RunSummary, RunnerError, interrupt};
use crate::engine::{BackendKind, DeviceKind};
use crate::libraries::{self, Library};
use crate::model::RawFiles;
use crate::plan::{Configuration, ConfigurationId, Pace, Plan};
use crate::record::{Failure, FailureKind, Outcome, Status};
use crate::store::derive;
use crate::store::journal::{self, Journal, JournalContents};
use feed::Feed;
use lane::Lane;
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
    deadline: Option<&'a Deadline>,
    gpus: &'a [GpuShare],
    retry_failed: bool,
    state: Mutex<SharedState>,
    /// Held while a reference is computed, so that no two lanes compute the same.
    referencing: Mutex<()>,
    /// Whether a lane has failed, so that the others begin nothing more.
    failed: AtomicBool,
}

/// What the lanes of a run share.
struct SharedState {
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
    pace: Pace,
}

impl<'a> Sweep<'a> {
    pub fn new(
        plan: &'a Plan,
        dir: &'a Path,
        options: &'a RunOptions,
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
            deadline: options.deadline.as_ref(),
            gpus: &options.gpus,
            retry_failed: options.retry_failed,
            state: Mutex::new(SharedState {
                journal,
                progress,
                settled: BTreeMap::new(),
                references: BTreeMap::new(),
                files: BTreeMap::new(),
                libraries: BTreeMap::new(),
                without_reference: BTreeSet::new(),
                pace: options.deadline.as_ref().map(|deadline| deadline.pace.clone()).unwrap_or_default(),
            }),
            referencing: Mutex::new(()),
            failed: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working_on(&self, what: &str) {
        self.state().progress.working_on(what);
    }

    /// Time that a worker has for an answer.
    fn limit(&self) -> Duration {
        self.limit_since(Instant::now())
    }

    /// Time that the workers of a row begun then still have. What the run has left counts from now, and not from the row's begin.
    fn limit_since(&self, began: Instant) -> Duration {
        let of_row = self.limit.saturating_sub(began.elapsed());
        self.deadline.map_or(of_row, |deadline| of_row.min(deadline.left()))
    }

    fn is_out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.left().is_zero())
    }

    /// Whether a row would end in time, with its reference where that is not there.
    fn is_affordable(&self, one: &Configuration) -> bool {
        let Some(deadline) = self.deadline else { return true };
        let missing = self.parts(one).any(|part| !self.reference_path(one, part).exists());
        let pace = &self.state().pace;
        let reference_s = if missing { pace.expected_reference_s(self.plan, one) } else { 0.0 };
        deadline.admits(pace.expected_s(self.plan, one) + reference_s)
    }

    /// Runs every configuration without a final row in `earlier`, and returns the counts.
    pub fn execute(self, earlier: &JournalContents) -> Result<RunSummary, RunnerError> {
        let rows = earlier.latest();
        let measured = earlier.latest_without_failures();
        let asked = CurrentMaterials::ask(self.plan, &measured, self.limit(), &self.state().progress)?;
        let start = if asked.is_break() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        self.settle(Earlier { rows, measured }, asked.continue_value().as_ref())?;
        let settled = self.state().settled.len();
        self.state().progress.skip(settled);
        let result = self.passes(start);
        self.state().progress.close();
        let mut summary = self.summary();
        // A signal after the last row interrupts nothing.
        let stopped = result?.is_break() && (self.deadline.is_none() || interrupt::requested());
        summary.interrupted = stopped && (summary.pending > 0 || start.is_break());
        if summary.interrupted {
            let total = self.plan.configurations.len();
            let safe = total - summary.pending;
            self.state().progress.notice(&format!(
                "interrupted: {safe} of {total} rows are on disk; run the same command again to go on"
            ));
        }
        Ok(summary)
    }

    /// Runs what is not settled, and again what rows of this run contradict, because a file was replaced meanwhile.
    fn passes(&self, start: ControlFlow<()>) -> Flow {
        let mut flow = start;
        for pass in 0..=REREADS {
            let pending: Vec<&Configuration> = {
                let state = self.state();
                self.plan.configurations.iter().filter(|one| !state.settled.contains_key(&one.id)).collect()
            };
            for wave in self.waves(&pending) {
                let (shared, alone): (Vec<_>, Vec<_>) = wave.into_iter().partition(|one| self.is_spread(one));
                for part in [shared, alone] {
                    if flow.is_continue() && !part.is_empty() {
                        flow = self.wave(&part)?;
                    }
                }
            }
            if flow.is_break() {
                return Ok(flow);
            }
            let outdated = self.outdated()?;
            if outdated.is_empty() || self.is_out_of_time() {
                break;
            }
            self.measure_again(&outdated, pass);
        }
        Ok(flow)
    }

    /// Whether a configuration runs on one of several GPUs, and not alone on the host.
    fn is_spread(&self, one: &Configuration) -> bool {
        let fake = || one.backend == BackendKind::Mock && placement::are_fakes();
        !self.gpus.is_empty() && (one.backend.device() == DeviceKind::Gpu || fake())
    }

    /// The configurations in the parts in which a time limit has them run; all of them without one.
    fn waves<'b>(&self, pending: &[&'b Configuration]) -> Vec<Vec<&'b Configuration>> {
        let waves = self.deadline.map(|deadline| deadline.waves.as_slice()).unwrap_or_default();
        let place = |one: &Configuration| waves.iter().position(|ids| ids.contains(&one.id)).unwrap_or(waves.len());
        let mut placed: Vec<(usize, &Configuration)> = pending.iter().map(|&one| (place(one), one)).collect();
        placed.sort_by_key(|(wave, _)| *wave);
        placed.chunk_by(|a, b| a.0 == b.0).map(|wave| wave.iter().map(|(_, one)| *one).collect()).collect()
    }

    /// Runs configurations that wait for the same: on every GPU of the run at once, or one after the other.
    fn wave(&self, wave: &[&Configuration]) -> Flow {
        if !wave.iter().all(|one| self.is_spread(one)) {
            return self.lane(&mut Lane::new(0, None), &Feed::single(wave.to_vec()));
        }
        let feed = Feed::divided(self.plan, wave, self.gpus.len());
        let run = |(index, share)| {
            let flow = self.lane(&mut Lane::new(index, Some(share)), &feed);
            if flow.is_err() {
                self.failed.store(true, Ordering::SeqCst);
            }
            flow
        };
        let flows: Vec<Flow> = std::thread::scope(|scope| {
            let lanes: Vec<_> = self.gpus.iter().enumerate().map(|lane| scope.spawn(move || run(lane))).collect();
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        flows
            .into_iter()
            .try_fold(ControlFlow::Continue(()), |all, flow| flow.map(|flow| if flow.is_break() { flow } else { all }))
    }

    /// Says that rows are outdated, and forgets them.
    fn measure_again(&self, outdated: &BTreeMap<ConfigurationId, String>, pass: usize) {
        let mut state = self.state();
        state.progress.again(outdated.len());
        state.references.clear();
        state.settled.retain(|id, _| !outdated.contains_key(id));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        outdated.values().for_each(|material| *counts.entry(material).or_default() += 1);
        for (material, rows) in counts {
            state.progress.notice(&match pass {
                REREADS => format!(
                    "{material}: replaced again and again during the run, so {rows} row(s) are left out; run the same \
                     command again when nothing writes to it"
                ),
                _ => format!("{material}: replaced during the run, so {rows} row(s) from before are measured again"),
            });
        }
    }

    /// The settled configurations whose rows contradict rows that this run has measured after them, or their reference, and in
    /// what.
    fn outdated(&self) -> Result<BTreeMap<ConfigurationId, String>, RunnerError> {
        let mut state = self.state();
        let of_reference = std::mem::take(&mut state.without_reference).into_iter();
        let mut outdated: BTreeMap<_, _> =
            of_reference.map(|id| (id, "a file of the FP32 reference".to_owned())).collect();
        if state.settled.values().any(|end| end.by_this_run) {
            let records = journal::read(self.dir)?.records;
            outdated
                .extend(derive::outdated(self.plan, &records).into_iter().map(|(id, material)| (id.clone(), material)));
        }
        outdated.retain(|id, _| state.settled.contains_key(id));
        Ok(outdated)
    }

    fn summary(&self) -> RunSummary {
        let state = self.state();
        let mut summary = RunSummary::default();
        for end in state.settled.values() {
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
        summary.pending = self.plan.configurations.len() - state.settled.len();
        summary
    }

    /// The files of a configuration, read once: a failure does not wait for every byte again.
    fn files_of(&self, configuration: &Configuration) -> RawFiles {
        let key = (configuration.model.clone(), configuration.input.clone());
        if let Some(known) = self.state().files.get(&key) {
            return known.clone();
        }
        let read = files_here(self.plan, configuration);
        self.state().files.entry(key).or_insert(read).clone()
    }

    /// The libraries of a backend, read once; `None` where it has none.
    fn libraries_of(&self, backend: BackendKind) -> Option<BTreeMap<String, String>> {
        if let Some(known) = self.state().libraries.get(&backend) {
            return known.clone();
        }
        let read = (!Library::of(backend).is_empty()).then(|| libraries::digests(backend));
        self.state().libraries.entry(backend).or_insert(read).clone()
    }

    fn timeout(&self) -> Failure {
        let seconds = self.plan.measurement.timeout_s;
        Failure::new(FailureKind::Timeout, &format!("took longer than measurement.timeout_s = {seconds} s"))
    }
}

/// Why a row has no measurement whose file is written to all the time.
fn keeps_changing(file: &str) -> String {
    format!("{file}: it was changed while it was used, again and again; run again when nothing writes to it")
}

fn out_of_step(response: &Response) -> Failure {
    Failure::new(FailureKind::Error, &format!("the worker sent an unexpected response: {response:?}"))
}
