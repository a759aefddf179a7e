//! The runs of an artifact: what each holds, how long it took, and how far two runs of the main experiment agree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::SpliceError;
use super::facts::AgreementLimits;
use crate::analysis::agreement::{self, Agreement, Spread, agreement};
use crate::engine::{BackendKind, DeviceKind};
use crate::numbers;
use crate::provenance::{Environment, Gpu};
use crate::record::Status;
use crate::report::sentences::machine::processor_model;
use crate::report::sentences::pins;
use crate::results::data::{Data, distinct, total};
use crate::results::study::{Parts, Study};
use crate::store::schema::ResultRow;

/// Digits of a commit that a page shows.
const COMMIT_DIGITS: usize = 12;

/// A run of the artifact.
#[derive(Debug, Serialize)]
pub(super) struct PublishedRun {
    /// Folder within the artifact; `.` for the main run.
    pub folder: String,
    /// Name of the manifest.
    pub experiment: String,
    /// Commits of the builds that measured it.
    pub commits: String,
    /// GPUs and their drivers.
    pub gpus: String,
    /// Processors.
    pub processors: String,
    /// Configurations measured.
    pub measured: String,
    /// Configurations built and not executed.
    pub built: String,
    /// Timed samples.
    pub samples: String,
    /// How the loaded libraries compare with the pinned ones.
    pub pins: String,
}

/// Wall time of the rows of one backend in one run.
#[derive(Debug, Serialize)]
pub(super) struct RunDuration {
    pub folder: String,
    pub experiment: String,
    pub backend: String,
    /// Rows measured or built.
    pub rows: usize,
    /// Sum over these rows, minutes.
    pub minutes: String,
    /// Threads that the workers could use.
    pub threads: String,
}

/// Two runs of the main experiment, compared.
#[derive(Debug, Serialize)]
pub(super) struct RunComparison {
    /// Folder of the first.
    pub first: String,
    /// Folder of the second.
    pub second: String,
    /// Rows on a GPU.
    pub gpu: WithinShare,
    /// Those whose GPU was throttled in neither run.
    pub unthrottled: WithinShare,
    /// Those whose GPU was throttled in one run or in both.
    pub throttled: WithinShare,
    /// Rows on the CPU.
    pub cpu: WithinShare,
    /// All rows.
    pub all: WithinShare,
}

/// Rows whose medians are within the tolerance.
#[derive(Debug, Serialize)]
pub(super) struct WithinShare {
    /// Whether there is any row.
    pub some: bool,
    /// `239 of 239 (100 %)`; empty without a row.
    pub within: String,
    /// Median distance of the ratio of medians from 1.
    pub typical: String,
    /// Largest distance.
    pub largest: String,
}

/// Every run with its results, the main run first, then its repeats.
///
/// # Errors
/// [`SpliceError`] when the artifact's list cannot be read.
pub(super) fn all<'a>(artifact: &Path, study: &'a Study) -> Result<Vec<(PublishedRun, &'a Data)>, SpliceError> {
    let parts = Parts::read(artifact)?;
    let folders = std::iter::once(PathBuf::from(".")).chain(parts.iter().flat_map(Parts::folders).cloned());
    let data = std::iter::once(&study.main).chain(&study.repeats).chain(&study.others);
    Ok(folders.zip(data).map(|(folder, data)| (run(&folder, data), data)).collect())
}

fn run(folder: &Path, data: &Data) -> PublishedRun {
    let environments = || data.environments.values();
    let gpus = environments().flat_map(|environment| &environment.gpus).map(Gpu::with_driver);
    PublishedRun {
        folder: folder.display().to_string(),
        experiment: data.plan.name.clone(),
        commits: distinct(environments().map(commit)).join(", "),
        gpus: distinct(gpus).join("; "),
        processors: distinct(environments().map(processor_model)).join("; "),
        measured: numbers::count(data.count(Status::Ok) as u64),
        built: numbers::count(data.count(Status::Built) as u64),
        samples: numbers::count(total(data.rows.iter().filter_map(|row| row.samples))),
        pins: pins::summary(data.rows.iter()),
    }
}

fn commit(environment: &Environment) -> String {
    let commit = environment.build.commit.as_deref().unwrap_or("unknown");
    commit.chars().take(COMMIT_DIGITS).collect()
}

/// Wall time by run and backend, in plan order.
pub(super) fn durations(runs: &[(PublishedRun, &Data)]) -> Vec<RunDuration> {
    let of = |(run, data): &(PublishedRun, &Data)| -> Vec<RunDuration> {
        let backends = distinct(data.rows.iter().map(|row| row.backend));
        backends.into_iter().filter_map(|backend| duration(run, data, backend)).collect()
    };
    runs.iter().flat_map(of).collect()
}

fn duration(run: &PublishedRun, data: &Data, backend: BackendKind) -> Option<RunDuration> {
    let rows: Vec<&ResultRow> = data.rows.iter().filter(|row| row.backend == backend && row.wall_s.is_some()).collect();
    let environment = |row: &&ResultRow| data.environments.get(row.environment.as_deref()?);
    let mut threads = distinct(rows.iter().filter_map(environment).filter_map(|found| found.machine.cpu.usable_cpus));
    threads.sort_unstable();
    (!rows.is_empty()).then(|| RunDuration {
        folder: run.folder.clone(),
        experiment: run.experiment.clone(),
        backend: backend.to_string(),
        rows: rows.len(),
        minutes: minutes(rows.iter().copied()),
        threads: threads.iter().map(usize::to_string).collect::<Vec<_>>().join(" or "),
    })
}

/// `10.0`
fn minutes<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> String {
    numbers::fixed(rows.filter_map(|row| row.wall_s).sum::<f64>() / 60.0, 1)
}

/// Minutes of the main run and the other experiments by `paper_cuda`, and by `downstream` for all backends together.
pub(super) fn times(study: &Study) -> BTreeMap<String, String> {
    let mut times = BTreeMap::new();
    for data in std::iter::once(&study.main).chain(&study.others) {
        let name = &data.plan.name;
        times.insert(name.clone(), format!("{} min", minutes(data.rows.iter())));
        for backend in distinct(data.rows.iter().filter(|row| row.wall_s.is_some()).map(|row| row.backend)) {
            let rows = data.rows.iter().filter(|row| row.backend == backend);
            times.insert(format!("{name}_{backend}"), format!("{} min", minutes(rows)));
        }
    }
    times
}

/// Every two runs of the main experiment, and the limits of their comparison.
///
/// # Errors
/// [`SpliceError::Repeat`] when two of them are of different experiments.
pub(super) fn comparisons(
    runs: &[(PublishedRun, &Data)],
) -> Result<(AgreementLimits, Vec<RunComparison>), SpliceError> {
    let limits = agreement::Limits::default();
    let shown = AgreementLimits { tolerance: whole_percent(limits.tolerance), share: whole_percent(limits.share) };
    let main = runs.first().map(|(run, _)| run.experiment.as_str());
    let same: Vec<&(PublishedRun, &Data)> =
        runs.iter().filter(|(run, _)| Some(run.experiment.as_str()) == main).collect();
    let mut found = Vec::new();
    for (index, (first, before)) in same.iter().copied().enumerate() {
        for (second, after) in same.iter().skip(index + 1).copied() {
            let named = |run: &PublishedRun| PathBuf::from(&run.folder);
            let compared = agreement((&named(first), before), (&named(second), after), limits)?;
            found.push(comparison(first, second, &compared));
        }
    }
    Ok((shown, found))
}

fn comparison(first: &PublishedRun, second: &PublishedRun, found: &Agreement) -> RunComparison {
    RunComparison {
        first: first.folder.clone(),
        second: second.folder.clone(),
        gpu: share(found.on(DeviceKind::Gpu)),
        unthrottled: share(found.by_clocks(Some(false))),
        throttled: share(found.by_clocks(Some(true))),
        cpu: share(found.on(DeviceKind::Cpu)),
        all: share(found.spread(|_| true)),
    }
}

fn share(found: Option<Spread>) -> WithinShare {
    let percent =
        |of: fn(&Spread) -> Option<f64>| found.as_ref().and_then(of).map(numbers::percent).unwrap_or_default();
    WithinShare {
        some: found.is_some(),
        within: found.map(|spread| spread.in_short()).unwrap_or_default(),
        typical: percent(|spread| spread.typical),
        largest: percent(|spread| spread.largest),
    }
}

/// `3 %`
fn whole_percent(share: f64) -> String {
    format!("{} %", numbers::fixed(share * 100.0, 0))
}
