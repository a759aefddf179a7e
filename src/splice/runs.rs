//! The runs of an artifact: what each holds, how long it took, and how far two runs of the main experiment agree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::SpliceError;
use crate::analysis::agreement::{Limits, Spread, agreement};
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
pub(super) struct Run<'a> {
    /// Folder within the artifact; `.` for the main run.
    pub folder: PathBuf,
    /// Its results.
    pub data: &'a Data,
}

/// Every run, the main run first, then its repeats.
///
/// # Errors
/// [`SpliceError`] when the artifact's list cannot be read.
pub(super) fn all<'a>(artifact: &Path, study: &'a Study) -> Result<Vec<Run<'a>>, SpliceError> {
    let parts = Parts::read(artifact)?;
    let folders = std::iter::once(PathBuf::from(".")).chain(parts.iter().flat_map(Parts::folders).cloned());
    let data = std::iter::once(&study.main).chain(&study.repeats).chain(&study.others);
    Ok(folders.zip(data).map(|(folder, data)| Run { folder, data }).collect())
}

impl Run<'_> {
    /// Name of the manifest.
    pub fn experiment(&self) -> &str {
        &self.data.plan.name
    }

    /// What the run measured, with which builds and on which machines.
    pub fn facts(&self) -> Value {
        let data = self.data;
        let environments = || data.environments.values();
        let gpus = environments().flat_map(|environment| &environment.gpus).map(Gpu::with_driver);
        json!({
            "folder": self.folder,
            "experiment": self.experiment(),
            "commits": distinct(environments().map(commit)).join(", "),
            "gpus": distinct(gpus).join("; "),
            "processors": distinct(environments().map(processor_model)).join("; "),
            "measured": numbers::count(data.count(Status::Ok) as u64),
            "built": numbers::count(data.count(Status::Built) as u64),
            "samples": numbers::count(total(data.rows.iter().filter_map(|row| row.samples))),
            "pins": pins::summary(data.rows.iter()),
        })
    }

    /// Wall time of the rows of one backend; `None` where no row has any.
    fn duration(&self, backend: BackendKind) -> Option<Value> {
        let of = |row: &&ResultRow| row.backend == backend && row.wall_s.is_some();
        let rows: Vec<&ResultRow> = self.data.rows.iter().filter(of).collect();
        let environment = |row: &&ResultRow| self.data.environments.get(row.environment.as_deref()?);
        let threads = rows.iter().filter_map(environment).filter_map(|found| found.machine.cpu.usable_cpus);
        let mut threads = distinct(threads);
        threads.sort_unstable();
        (!rows.is_empty()).then(|| {
            json!({
                "folder": self.folder,
                "experiment": self.experiment(),
                "backend": backend,
                "rows": rows.len(),
                "minutes": minutes(rows.iter().copied()),
                "threads": threads.iter().map(usize::to_string).collect::<Vec<_>>().join(" or "),
            })
        })
    }
}

fn commit(environment: &Environment) -> String {
    let commit = environment.build.commit.as_deref().unwrap_or("unknown");
    commit.chars().take(COMMIT_DIGITS).collect()
}

/// Wall time of the rows of each backend in each run, in plan order: rows measured or built, the sum over them, and the
/// threads that the workers could use.
pub(super) fn durations(runs: &[Run]) -> Vec<Value> {
    let of = |run: &Run| -> Vec<Value> {
        let backends = distinct(run.data.rows.iter().map(|row| row.backend));
        backends.into_iter().filter_map(|backend| run.duration(backend)).collect()
    };
    runs.iter().flat_map(of).collect()
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

/// The limits of rows on CPUs, of which less is asked: nobody holds the clocks of a shared host.
fn of_cpus() -> Limits {
    Limits { tolerance: 0.1, share: 0.9 }
}

/// The limits of a comparison of two runs: of all rows, and of rows on CPUs.
pub(super) fn limits() -> Value {
    let [all, cpus] = [Limits::default(), of_cpus()].map(
        |Limits { tolerance, share }| json!({"tolerance": whole_percent(tolerance), "share": whole_percent(share)}),
    );
    json!({"all": all, "cpus": cpus})
}

/// Every two runs of the main experiment: rows on a GPU, among them those whose GPU was throttled in neither run or in
/// either, rows on the CPU, and all rows.
///
/// # Errors
/// [`SpliceError::Repeat`] when two of them are of different experiments.
pub(super) fn comparisons(runs: &[Run]) -> Result<Vec<Value>, SpliceError> {
    let same: Vec<&Run> = runs.iter().filter(|run| run.experiment() == runs[0].experiment()).collect();
    let mut found = Vec::new();
    for (index, first) in same.iter().enumerate() {
        for second in &same[index + 1..] {
            let within = |limits| agreement((&first.folder, first.data), (&second.folder, second.data), limits);
            let (one, near) = (within(Limits::default())?, within(of_cpus())?);
            found.push(json!({
                "first": first.folder,
                "second": second.folder,
                "gpu": share(one.on(DeviceKind::Gpu)),
                "unthrottled": share(one.by_clocks(Some(false))),
                "throttled": share(one.by_clocks(Some(true))),
                "cpu": share(one.on(DeviceKind::Cpu)),
                "cpu_near": share(near.on(DeviceKind::Cpu)),
                "all": share(one.spread(|_| true)),
            }));
        }
    }
    Ok(found)
}

/// Rows whose medians are within the tolerance, like `239 of 239 (100 %)`, and the distances of the ratios of medians from 1;
/// empty texts without any row.
fn share(found: Option<Spread>) -> Value {
    let percent =
        |of: fn(&Spread) -> Option<f64>| found.as_ref().and_then(of).map(numbers::percent).unwrap_or_default();
    json!({
        "some": found.is_some(),
        "within": found.map(|spread| spread.in_short()).unwrap_or_default(),
        "typical": percent(|spread| spread.typical),
        "largest": percent(|spread| spread.largest),
    })
}

/// `3 %`
fn whole_percent(share: f64) -> String {
    format!("{} %", numbers::fixed(share * 100.0, 0))
}
