//! Measures one row of a results folder again on this machine and compares it with the recorded one.

mod print;

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use crate::analysis::noise::Deviation;
use crate::analysis::pairs::{Ranged, RowPair};
use crate::json_diff::Difference;
use crate::plan::{Configuration, Plan};
use crate::provenance::Environment;
use crate::record::Status;
use crate::results::ResultsError;
use crate::results::data::Data;
use crate::runner::{self, RunOptions, RunnerError};
use crate::store::journal::OnDamage;
use crate::store::materials::{Material, digest_label, unlike_libraries};
use crate::store::schema::ResultRow;

/// Fewest digits of an id that may stand for it.
const ID_PREFIX: usize = 4;

/// The row to measure again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerunRequest {
    /// Folder of a run, an artifact or a merge.
    pub dir: PathBuf,
    /// Configuration id, or its first digits.
    pub id: String,
    /// Environment of the row, if several have a row of this configuration; its first digits suffice.
    pub environment: Option<String>,
    /// Folder that relative paths of checkpoints and inputs start from; the run's own unless given.
    pub base_dir: Option<PathBuf>,
}

/// Whether the machine reproduces the recorded row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reproduction {
    /// The intervals of both medians overlap; or neither has a median, for the same status.
    Agrees,
    /// They do not overlap; or one was measured and the other was not.
    Differs,
    /// One of the medians has no interval, or they are of different weights or files.
    Unknown,
}

/// A row as recorded and as measured now.
#[derive(Debug, Clone, PartialEq)]
pub struct Rerun {
    /// `reference bert-base fp32 1x32 random`
    pub label: String,
    /// As recorded.
    pub recorded: ResultRow,
    /// As measured now.
    pub here: ResultRow,
    /// Median latency here over the recorded one, with an interval from the ends of both.
    pub ratio: Option<Ranged>,
    /// Whether the two agree.
    pub agreement: Reproduction,
    /// What differs between the environments, the most telling first. In each, `first` is as recorded, `second` as here.
    pub differences: Vec<Difference>,
}

/// A row that cannot be measured again.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum RerunError {
    /// The folder cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// There is no such configuration.
    #[error(
        "{dir}: no configuration `{id}`; ids are in results.parquet, in `mixprec plan MANIFEST`, and under the pointer in \
         report.html"
    )]
    NoRow { dir: PathBuf, id: String },
    /// The ids of several configurations begin like this.
    #[error("{dir}: `{id}` is the beginning of {count} ids, e.g. {first} and {second}; give more digits")]
    Ambiguous { dir: PathBuf, id: String, count: usize, first: String, second: String },
    /// The configuration was not run.
    #[error("{dir}: {id} was planned and not run, so there is nothing to compare with; `mixprec run` measures it")]
    NotRun { dir: PathBuf, id: String },
    /// The requested environment has no row of the configuration, or several environments have one.
    #[error("{dir}: {id} was run in {found}; name one of them with --environment")]
    Environments { dir: PathBuf, id: String, found: String },
    /// There is no room for the measurement.
    #[error("{path}: {source}; set TMPDIR to a folder with room")]
    Scratch { path: PathBuf, source: io::Error },
    /// The runner could not go on.
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// Measures one row again in a temporary folder; the results folder is only read. `None` if a signal ended the measurement.
///
/// # Errors
/// [`RerunError`] when there is no such row or the runner cannot run. A configuration that fails is a row, not an error.
pub fn rerun(request: &RerunRequest) -> Result<Option<Rerun>, RerunError> {
    let data = Data::read(&request.dir)?;
    let configuration = find(&data.plan, request)?;
    let mut environment = Environment::capture().for_manifest(&data.plan.manifest_sha256);
    let recorded = recorded(&data, configuration, &environment.id(), request)?.clone();
    let plan = Plan {
        configurations: vec![configuration.clone()],
        base_dir: request.base_dir.clone().unwrap_or_else(|| data.plan.base_dir.clone()),
        ..data.plan.clone()
    };
    let scratch = tempfile::tempdir().map_err(|source| RerunError::Scratch { path: std::env::temp_dir(), source })?;
    let options = RunOptions {
        environment: environment.clone(),
        retry_failed: false,
        on_damage: OnDamage::Refuse,
        shard: None,
        backends: Vec::new(),
        gpus: Vec::new(),
        deadline: None,
    };
    if runner::run(&plan, scratch.path(), &options)?.interrupted {
        return Ok(None);
    }
    let Some(here) = Data::read(scratch.path())?.rows.into_iter().next() else { return Ok(None) };
    let before = recorded.environment.as_ref().and_then(|id| data.environments.get(id));
    // The manifest that named the configuration is no property of the machine.
    environment.manifest_sha256 = None;
    let mut differences = rows_differ(&recorded, &here);
    differences.extend(before.map(|before| before.differences(&environment)).unwrap_or_default());
    let ratio = ratio(&recorded, &here);
    Ok(Some(Rerun {
        label: configuration.label(),
        ratio,
        agreement: agreement(&recorded, &here, ratio),
        recorded,
        here,
        differences,
    }))
}

fn find<'a>(plan: &'a Plan, RerunRequest { dir, id, .. }: &RerunRequest) -> Result<&'a Configuration, RerunError> {
    let matching: Vec<&Configuration> = plan
        .configurations
        .iter()
        .filter(|one| one.id.0 == *id || (id.len() >= ID_PREFIX && one.id.0.starts_with(id.as_str())))
        .collect();
    match matching.as_slice() {
        [] => Err(RerunError::NoRow { dir: dir.clone(), id: id.clone() }),
        [one] => Ok(one),
        [first, second, ..] => Err(RerunError::Ambiguous {
            dir: dir.clone(),
            id: id.clone(),
            count: matching.len(),
            first: first.id.to_string(),
            second: second.id.to_string(),
        }),
    }
}

/// The row to compare with: that of the requested environment, otherwise that of this environment, otherwise the only one.
fn recorded<'a>(
    data: &'a Data,
    configuration: &Configuration,
    this_environment: &str,
    request: &RerunRequest,
) -> Result<&'a ResultRow, RerunError> {
    let (dir, id) = (request.dir.clone(), configuration.id.to_string());
    let of = |row: &&ResultRow| row.id == id && row.status != Status::Pending;
    let rows: Vec<&ResultRow> = data.rows.iter().filter(of).collect();
    if rows.is_empty() {
        return Err(RerunError::NotRun { dir, id });
    }
    let environment = |row: &ResultRow| row.environment.clone().unwrap_or_default();
    let chosen: Vec<&ResultRow> = match &request.environment {
        Some(prefix) => rows.iter().copied().filter(|row| environment(row).starts_with(prefix.as_str())).collect(),
        None => match rows.iter().copied().find(|row| environment(row) == this_environment) {
            Some(same) => vec![same],
            None => rows.clone(),
        },
    };
    match chosen.as_slice() {
        [one] => Ok(one),
        _ => {
            let describe = |row: &&ResultRow| {
                let id = environment(row);
                let gpus = data.environments.get(&id).map(|found| found.gpus.iter().map(|gpu| gpu.name.as_str()));
                let gpus = gpus.map(|names| names.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty());
                format!("{id} ({})", gpus.unwrap_or_else(|| "no GPU".to_owned()))
            };
            let found = rows.iter().map(describe).collect::<Vec<_>>().join(", ");
            Err(RerunError::Environments { dir, id, found })
        }
    }
}

/// The ratio of the medians; `None` where a row has none, or where the rows are of different weights or files.
fn ratio(recorded: &ResultRow, here: &ResultRow) -> Option<Ranged> {
    let pair = RowPair { numerator: here, denominator: recorded };
    (!made_from_others(recorded, here)).then(|| pair.latency_ratio()).flatten()
}

/// Whether the rows are of different weights, files or settings. Builds of this program and of libraries may differ: that is
/// what is compared.
fn made_from_others(recorded: &ResultRow, here: &ResultRow) -> bool {
    let is_compared = |one: &Material| matches!(one, Material::Arithmetic | Material::Libraries);
    !recorded.shares_weights(here) || contradicted(recorded, here).any(|one| !is_compared(&one))
}

/// What the two rows should share and do not.
fn contradicted(recorded: &ResultRow, here: &ResultRow) -> impl Iterator<Item = Material> {
    Material::ALL.into_iter().filter(|material| !material.agrees(recorded, here))
}

fn agreement(recorded: &ResultRow, here: &ResultRow, ratio: Option<Ranged>) -> Reproduction {
    match ratio.map(|ratio| Deviation::of(ratio).is_nothing()) {
        Some(Some(true)) => Reproduction::Agrees,
        Some(Some(false)) => Reproduction::Differs,
        Some(None) => Reproduction::Unknown,
        None if recorded.latency_p50_ms.is_some() && here.latency_p50_ms.is_some() => Reproduction::Unknown,
        None if recorded.latency_p50_ms.is_none() && recorded.status == here.status => Reproduction::Agrees,
        None => Reproduction::Differs,
    }
}

/// Differences in what the rows themselves record of their environment.
fn rows_differ(recorded: &ResultRow, here: &ResultRow) -> Vec<Difference> {
    let threads = |row: &ResultRow| row.threads.map(|threads| threads.to_string());
    let labels = || ("weights".to_owned(), recorded.model_provenance.clone(), here.model_provenance.clone());
    let files = contradicted(recorded, here);
    let files = files.filter(|material| !matches!(material, Material::Weights | Material::Libraries));
    let files = files.map(|material| (material.to_string(), material.label(recorded), material.label(here)));
    let rows = [
        ("engine library", recorded.engine_library.clone(), here.engine_library.clone()),
        ("engine device", recorded.engine_device.clone(), here.engine_device.clone()),
        ("engine threads", threads(recorded), threads(here)),
        ("throttle reasons", recorded.throttle_reasons.clone(), here.throttle_reasons.clone()),
    ];
    let differing = rows.into_iter().filter(|(_, first, second)| first != second);
    let differing = differing.map(|(property, first, second)| (property.to_owned(), first, second));
    let differing = differing.chain(libraries_differ(recorded, here));
    let differing = (!recorded.shares_weights(here)).then(labels).into_iter().chain(files).chain(differing);
    differing.map(|(property, first, second)| Difference { property, first, second }).collect()
}

/// Libraries whose bytes differ, by their names.
fn libraries_differ(recorded: &ResultRow, here: &ResultRow) -> Vec<(String, Option<String>, Option<String>)> {
    let label = |digest: &str| Some(digest_label(digest));
    let differing = unlike_libraries(recorded, here);
    differing.map(|(name, recorded, here)| (format!("library {name}"), label(recorded), label(here))).collect()
}

impl Rerun {
    /// Whether the machine does not reproduce the recorded row: its median differs, or the row is made from other weights,
    /// files or settings here.
    pub fn is_failure(&self) -> bool {
        self.agreement == Reproduction::Differs || made_from_others(&self.recorded, &self.here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WeightsOrigin;

    fn measured(low: f64, median: f64, high: f64) -> ResultRow {
        ResultRow {
            status: Status::Ok,
            latency_p50_ms: Some(median),
            latency_p50_low_ms: Some(low),
            latency_p50_high_ms: Some(high),
            ..ResultRow::default()
        }
    }

    fn without_median(status: Status) -> ResultRow {
        ResultRow { status, ..ResultRow::default() }
    }

    fn agreement(recorded: &ResultRow, here: &ResultRow) -> Reproduction {
        super::agreement(recorded, here, ratio(recorded, here))
    }

    #[test]
    fn medians_of_different_weights_decide_nothing() {
        let weighed = |seed| {
            let mut row = measured(1.0, 1.1, 1.2);
            row.set_weights(&WeightsOrigin::Random { seed }.into());
            row
        };
        assert_eq!(agreement(&weighed(1), &weighed(1)), Reproduction::Agrees);
        assert_eq!(
            (agreement(&weighed(1), &weighed(2)), ratio(&weighed(1), &weighed(2))),
            (Reproduction::Unknown, None)
        );
        assert_eq!(rows_differ(&weighed(1), &weighed(2))[0].property, "weights");
        assert_eq!(agreement(&weighed(1), &without_median(Status::Failed)), Reproduction::Differs);
    }

    #[test]
    fn libraries_of_one_version_are_told_apart_by_their_bytes() {
        let of = |digests: Option<&str>| ResultRow {
            engine_library: Some("onnxruntime 1.2".to_owned()),
            engine_library_digests: digests.map(str::to_owned),
            ..measured(1.0, 1.1, 1.2)
        };
        let (one, other) = (of(Some("a=1234567890abcdef; b=00")), of(Some("a=234567890abcdef1; b=00; c=1")));
        let found = rows_differ(&one, &other);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].property, "library a");
        assert_eq!(found[0].first.as_deref(), Some("sha256 1234567890ab"));
        assert!(rows_differ(&one, &one).is_empty() && rows_differ(&one, &of(None)).is_empty());
    }

    #[test]
    fn intervals_that_touch_agree_and_others_do_not() {
        let recorded = measured(1.0, 1.1, 1.2);
        assert_eq!(agreement(&recorded, &measured(1.2, 1.3, 1.4)), Reproduction::Agrees);
        assert_eq!(agreement(&recorded, &measured(0.5, 1.1, 2.0)), Reproduction::Agrees);
        assert_eq!(agreement(&recorded, &measured(1.21, 1.3, 1.4)), Reproduction::Differs);
        assert_eq!(agreement(&recorded, &measured(0.8, 0.9, 0.99)), Reproduction::Differs);
        let few = ResultRow { latency_p50_low_ms: None, ..measured(1.0, 1.1, 1.2) };
        assert_eq!(agreement(&recorded, &few), Reproduction::Unknown);
    }

    #[test]
    fn a_row_without_a_median_agrees_with_its_like() {
        let failed = without_median(Status::Failed);
        assert_eq!(agreement(&failed, &failed), Reproduction::Agrees);
        assert_eq!(agreement(&failed, &without_median(Status::Built)), Reproduction::Differs);
        assert_eq!(agreement(&measured(1.0, 1.1, 1.2), &failed), Reproduction::Differs);
        assert_eq!(agreement(&failed, &measured(1.0, 1.1, 1.2)), Reproduction::Differs);
    }
}
