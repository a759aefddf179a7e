//! Executes a plan: one worker process per group of backend, model and policy, a journal that survives any kill, and
//! progress.
//!
//! The parent never touches a model or a device. It gives a worker one configuration, waits, and writes the row to disk
//! before it gives out the next. A crash, an allocation failure or a timeout costs only that configuration.

mod child;
mod deadline;
mod examine;
mod failure;
mod interrupt;
mod lock;
mod materials;
pub mod placement;
mod progress;
mod protocol;
mod session;
mod sweep;
pub mod worker;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::engine::BackendKind;
use crate::files::{read_json, replace};
use crate::lock::LockError;
use crate::plan::{Configuration, PLAN_FILE, Plan, Shard};
use crate::provenance::{Environment, EnvironmentError};
use crate::store::journal::{self, Header, JOURNAL_FILE, Journal, JournalError, OnDamage};
use crate::store::{RESULTS_FILE, StoreError, derive, derive_tables};
use child::{Reply, Worker};
pub use deadline::Deadline;
pub use lock::in_use;
use placement::GpuShare;
use progress::ProgressDisplay;
use protocol::{Request, Response, Settings};
pub use session::measure_here;
use sweep::Sweep;

/// Time that a worker has to say whether its backend executes here.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Options of a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Machine, build and settings. Every row stores its id. The environment itself is stored next to the journal.
    pub environment: Environment,
    /// Whether to run failed and unexecuted configurations again.
    pub retry_failed: bool,
    /// What to do with damaged journal lines.
    pub on_damage: OnDamage,
    /// The part of the plan to run; `None` runs all of it.
    pub shard: Option<Shard>,
    /// Backends to run; empty runs all. Configurations of other backends stay pending.
    pub backends: Vec<BackendKind>,
    /// GPUs over which the rows are spread; where there are none, rows run one after the other.
    pub gpus: Vec<GpuShare>,
    /// When the run ends; `None` runs to the end of the plan.
    pub deadline: Option<Deadline>,
}

impl RunOptions {
    /// The configurations of `plan` to run, in the plan's order.
    fn part<'a>(&self, plan: &'a Plan) -> Vec<&'a Configuration> {
        let part = match self.shard {
            Some(shard) => plan.shard(shard),
            None => plan.configurations.iter().collect(),
        };
        let chosen = |one: &&Configuration| self.backends.is_empty() || self.backends.contains(&one.backend);
        part.into_iter().filter(chosen).collect()
    }
}

/// Counts of a run. Each counts configurations of the plan, or of the part of it that was selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunSummary {
    /// Measured by this run.
    pub ok: usize,
    /// Built by this run for another machine, and not executed.
    pub built: usize,
    /// Failed in this run.
    pub failed: usize,
    /// Measured by an earlier run and skipped.
    pub skipped_already_done: usize,
    /// Built by an earlier run and skipped; `--retry-failed` builds them again.
    pub skipped_built: usize,
    /// Failed in an earlier run and skipped; `--retry-failed` runs them again.
    pub skipped_failed: usize,
    /// Measured by this or an earlier run, but outside the manifest's tolerance.
    pub out_of_tolerance: usize,
    /// Not reached because the run was interrupted.
    pub pending: usize,
    /// Of the folder's other rows, those that this run contradicts because they were made from other files. They are
    /// pending until a run of the whole plan measures them again.
    pub outdated: usize,
    /// Whether Ctrl-C or a termination signal ended the run.
    pub interrupted: bool,
}

impl RunSummary {
    /// 0 when every configuration is measured, or built where it cannot be executed, and within tolerance. 1 when one
    /// is not. 130 when interrupted.
    pub fn exit_code(&self) -> u8 {
        if self.interrupted { 130 } else { u8::from(self.failed + self.skipped_failed + self.out_of_tolerance > 0) }
    }
}

impl fmt::Display for RunSummary {
    /// `10 measured, 2 failed, 3 measured earlier`: the counts that are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.ok, "measured"),
            (self.built, "built but not executed"),
            (self.failed, "failed"),
            (self.skipped_already_done, "measured earlier"),
            (self.skipped_built, "built earlier (--retry-failed tries to execute them again)"),
            (self.skipped_failed, "failed earlier (--retry-failed runs them again)"),
            (self.out_of_tolerance, "of the measured out of tolerance"),
            (self.pending, "not reached"),
            (self.outdated, "of other parts left out, for they were made from other files than these"),
        ];
        let parts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(if parts.is_empty() { "nothing to do" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Why a run stopped. Rows measured before are in the journal.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum RunnerError {
    /// A file or folder of the run cannot be used.
    #[error("{path}: {source}; choose a writable folder with --out, or make room")]
    Directory { path: PathBuf, source: io::Error },
    /// The folder holds tables, which would be lost, without the journal that they derive from.
    #[error(
        "{path}: results without a journal, as `mixprec merge` and publishing leave them; a run would replace them: use \
         another folder (--out), and merge both where they belong together"
    )]
    Published { path: PathBuf },
    /// Another run uses the folder: `the run with process id 123`.
    #[error("{path}: {holder} is using this folder; wait for it, or use another folder (--out)")]
    Locked { path: PathBuf, holder: String },
    /// The folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be opened or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A worker process cannot be started.
    #[error("cannot start a worker process: {source}")]
    Spawn { source: io::Error },
    /// The environment cannot be stored.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The tables cannot be derived.
    #[error(transparent)]
    Tables(#[from] StoreError),
    /// A path of the run is not UTF-8.
    #[error("{path}: this folder's path is not UTF-8, as requests to worker processes need it; choose another folder")]
    NotUtf8 { path: PathBuf },
    /// A request cannot be written as JSON.
    #[error("cannot ask a worker process: {0}")]
    Request(serde_json::Error),
    /// A request cannot be sent to a live worker.
    #[error("cannot reach a worker process: {source}")]
    Send { source: io::Error },
    /// The plan cannot be written as JSON.
    #[error("cannot store the plan: {0}")]
    Plan(#[from] serde_json::Error),
}

/// Executes the configurations of `plan` that have no row in `dir` yet, group by group. Writes every row to the
/// journal, then derives the tables. With a shard or a choice of backends, the folder still holds the whole plan, and
/// the other rows stay pending. They can be run into the same folder later, or merged with it. A folder is refused and
/// left unchanged when another run uses it, when its journal does not match, or when it has tables without a journal.
///
/// # Errors
/// [`RunnerError`] when the folder, its lock, its journal or a worker process is unavailable, or when the disk is full.
/// A failed configuration is a row, not an error.
pub fn run(plan: &Plan, dir: &Path, options: &RunOptions) -> Result<RunSummary, RunnerError> {
    interrupt::install();
    if let Some(path) = [dir, &plan.base_dir].into_iter().find(|path| path.to_str().is_none()) {
        return Err(RunnerError::NotUtf8 { path: path.to_owned() });
    }
    let in_dir = |source| RunnerError::Directory { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(in_dir)?;
    let table = dir.join(RESULTS_FILE);
    if table.exists() && !dir.join(JOURNAL_FILE).exists() {
        return Err(RunnerError::Published { path: table });
    }
    let lock = lock::acquire(dir)?;
    let opened = Journal::open(dir, &Header::of(plan), options.on_damage)?;
    options.environment.write(dir)?;
    let former: Option<Plan> = read_json(&dir.join(PLAN_FILE)).ok();
    store_plan(plan, dir)?;
    let part = part(plan, options);
    let progress = ProgressDisplay::new(part.configurations.len());
    for notice in &opened.notices {
        progress.notice(notice);
    }
    let rows = opened.contents.latest();
    let changed = former.map(|former| part.changed_settings(&former, |id| rows.contains_key(id)));
    for (setting, rows) in changed.into_iter().flatten() {
        progress.notice(&format!(
            "{setting} changed in the manifest: {rows} row(s) of this folder were measured under the former setting and are \
             measured again"
        ));
    }
    let mut summary = Sweep::new(&part, dir, options, opened.journal, progress).execute(&opened.contents)?;
    derive_tables(dir, plan)?;
    if part.configurations.len() < plan.configurations.len() {
        let records = journal::read(dir)?.records;
        let outdated = derive::outdated(plan, &records).into_iter();
        summary.outdated = outdated.filter(|(id, _)| part.configurations.iter().all(|one| one.id != **id)).count();
    }
    drop(lock);
    Ok(summary)
}

/// The part of a plan that a run with these options executes.
pub fn part(plan: &Plan, options: &RunOptions) -> Plan {
    Plan { configurations: options.part(plan).into_iter().cloned().collect(), ..plan.clone() }
}

/// The backends of a plan that execute here, as their workers say.
///
/// # Errors
/// [`RunnerError`] when a worker cannot be started.
pub fn executing(plan: &Plan) -> Result<BTreeSet<BackendKind>, RunnerError> {
    interrupt::install();
    let mut executing: BTreeSet<BackendKind> = plan.configurations.iter().map(|one| one.backend).collect();
    let mut refused = BTreeSet::new();
    for &backend in &executing {
        let mut worker = Worker::spawn(None)?;
        let probe = Request::Probe { settings: Settings::of(plan), backend };
        let reply = worker.call(&probe, PROBE_LIMIT)?;
        let answers = |response: &Response| matches!(response, Response::Probed(Ok(probed)) if probed.executes);
        match reply {
            Reply::Response(response) if answers(&response) => worker.finish(),
            _ => drop(refused.insert(backend)),
        }
    }
    executing.retain(|backend| !refused.contains(backend));
    Ok(executing)
}

/// Stores the plan next to the journal, for the report. Writes nothing when it is there already.
pub(crate) fn store_plan(plan: &Plan, dir: &Path) -> Result<(), RunnerError> {
    let path = dir.join(PLAN_FILE);
    let json = serde_json::to_vec_pretty(plan)?;
    if std::fs::read(&path).is_ok_and(|stored| stored == json) {
        return Ok(());
    }
    replace(&path, &json).map_err(|source| RunnerError::Directory { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_name_what_is_not_zero() {
        let summary = RunSummary { ok: 10, failed: 2, skipped_already_done: 3, ..RunSummary::default() };
        assert_eq!(summary.to_string(), "10 measured, 2 failed, 3 measured earlier");
        assert_eq!(RunSummary::default().to_string(), "nothing to do");
    }

    #[test]
    fn exit_codes_are_as_documented() {
        let done = RunSummary { ok: 3, skipped_already_done: 2, ..RunSummary::default() };
        assert_eq!(done.exit_code(), 0);
        assert_eq!(RunSummary { failed: 1, ..done }.exit_code(), 1);
        assert_eq!(RunSummary { skipped_failed: 1, ..done }.exit_code(), 1);
        assert_eq!(RunSummary { out_of_tolerance: 1, ..done }.exit_code(), 1);
        assert_eq!(RunSummary { interrupted: true, failed: 1, ..done }.exit_code(), 130);
    }
}
