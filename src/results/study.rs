//! What one report is about: a main run, repeats of it, and other experiments that answer what it cannot.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::Data;
use super::peers::{self, PeerRow};
use super::searches;
use crate::files::{JsonError, read_json};
use crate::numbers;
use crate::plan::Plan;
use crate::record::Status;
use crate::record::certificate::Certificate;
use crate::results::ResultsError;
use crate::store::materials::{Contradiction, Material, Shared, arithmetic_note, libraries_note};
use crate::store::schema::ResultRow;

/// Says that a folder is an artifact, and which further folders of results lie in it.
pub const ARTIFACT_FILE: &str = "artifact.json";

/// Version of [`ARTIFACT_FILE`].
pub const ARTIFACT_VERSION: u64 = 2;

/// The main run and what belongs to it.
#[derive(Debug, Clone)]
pub struct Study {
    /// The run that the report is about.
    pub main: Data,
    /// The same experiment, run again, in the order given.
    pub repeats: Vec<Data>,
    /// Other experiments, in the order given: their numerics, task quality and engines appear next to the main run's.
    pub others: Vec<Data>,
    /// Searches for the operations that need FP32, in the order of [`searches::certificates`].
    pub searches: Vec<Certificate>,
    /// Other engines timed beside mixprec, at each shape: those that are given, or that were published beside an artifact.
    pub peers: Vec<PeerRow>,
}

/// Folders of further results in an artifact, relative to the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// [`ARTIFACT_VERSION`]
    pub version: u64,
    /// Of the repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<PathBuf>,
    /// Of the other experiments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<PathBuf>,
    /// Of the searches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<PathBuf>,
}

/// The cure of a list that is not as it was published.
const RESTORE: &str = "restore it from where it was published";

fn malformed(error: serde_json::Error) -> String {
    format!("{error}; {RESTORE}")
}

/// What is read first: the rest depends on it.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Parts {
    /// The parts of the artifact in `dir`; `None` where it is none.
    ///
    /// # Errors
    /// [`ResultsError`] when its list cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Parts>, ResultsError> {
        let path = dir.join(ARTIFACT_FILE);
        let parsed = match read_json(&path) {
            Ok(document) => Parts::parse(document),
            Err(error) if error.is_absent() => return Ok(None),
            Err(JsonError::File(error)) => return Err(error.into()),
            Err(JsonError::Document(error)) => Err(malformed(error)),
        };
        parsed.map(Some).map_err(|detail| ResultsError::Artifact { path, detail })
    }

    /// What is wrong with the document, and the cure, where it is no list of parts.
    fn parse(document: Value) -> Result<Parts, String> {
        let Version { version } = Version::deserialize(&document).map_err(malformed)?;
        if version != ARTIFACT_VERSION {
            let again = "publish its runs again with `mixprec artifact`";
            return Err(format!("version {version}, and this program reads version {ARTIFACT_VERSION}; {again}"));
        }
        let parts: Parts = serde_json::from_value(document).map_err(malformed)?;
        match parts.outside() {
            Some(outside) => Err(format!("{}: not a folder inside this one; {RESTORE}", outside.display())),
            None => Ok(parts),
        }
    }

    /// The folders of rows it names, repeats first.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.repeats.iter().chain(&self.with)
    }

    /// A path that would leave the artifact: its list came with it, from wherever that is.
    fn outside(&self) -> Option<&PathBuf> {
        let inside = |path: &Path| {
            path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
        };
        self.folders().chain(&self.searches).find(|path| !inside(path))
    }
}

impl Study {
    /// A run by itself.
    pub fn of(main: Data) -> Study {
        Study { main, repeats: Vec::new(), others: Vec::new(), searches: Vec::new(), peers: Vec::new() }
    }

    /// The run in `dir`; of an artifact, with its repeats, other experiments and the comparison with peers beside it.
    ///
    /// # Errors
    /// [`ResultsError`] naming the file that cannot be read.
    pub fn read(dir: &Path) -> Result<Study, ResultsError> {
        Study::read_with(dir, &[], &[])
    }

    /// [`Study::read`] with repeats and other experiments in folders of their own, in addition to those of an artifact.
    ///
    /// # Errors
    /// [`ResultsError`] naming the file that cannot be read, or an experiment or a repeat that is there already.
    pub fn read_with(dir: &Path, repeats: &[PathBuf], with: &[PathBuf]) -> Result<Study, ResultsError> {
        let parts = Parts::read(dir)?;
        let own_repeats = parts.iter().flat_map(|parts| &parts.repeats).map(|path| dir.join(path));
        let own = parts.iter().flat_map(|parts| &parts.with).map(|path| dir.join(path));
        let searches: Vec<PathBuf> =
            parts.iter().flat_map(|parts| &parts.searches).map(|path| dir.join(path)).collect();
        let mut study = Study { searches: searches::certificates(&searches)?, ..Study::of(Data::read(dir)?) };
        let repeats = own_repeats.chain(repeats.iter().cloned());
        for path in repeats {
            let repeat = Data::read(&path)?;
            let mut known = std::iter::once(&study.main).chain(&study.repeats);
            if known.any(|known| is_the_same_run(&known.rows, &repeat.rows)) {
                return Err(ResultsError::SameRun { path });
            }
            study.repeats.push(repeat);
        }
        let others: Vec<PathBuf> = own.chain(with.iter().cloned()).collect();
        for path in &others {
            let other = Data::read(path)?;
            let name = &other.plan.name;
            if std::iter::once(&study.main).chain(&study.others).any(|known| known.plan.name == *name) {
                return Err(ResultsError::SameExperiment { path: path.clone(), name: name.clone() });
            }
            study.others.push(other);
        }
        // What an artifact holds was checked when it was published.
        if !with.is_empty() {
            let folders = std::iter::once(dir).chain(others.iter().map(PathBuf::as_path));
            let data = std::iter::once(&study.main).chain(&study.others);
            let experiments = folders.zip(data).map(|(path, data)| (path, &data.plan, data.rows.as_slice()));
            check_experiments(&experiments.collect::<Vec<_>>())?;
        }
        if let Some(folder) = parts.and_then(|_| peers::beside(dir)) {
            study.peers = peers::read(&folder)?;
        }
        Ok(study)
    }
}

/// Whether every row that `other` measured is one of `run`. Then `other` is the same measurement, not a repeat.
pub fn is_the_same_run(run: &[ResultRow], other: &[ResultRow]) -> bool {
    let key = |row: &ResultRow| (row.id.clone(), row.finished_unix_s, row.latency_p50_ms.map(f64::to_bits));
    let measured =
        |rows: &[ResultRow]| -> BTreeSet<_> { rows.iter().filter(|row| row.status == Status::Ok).map(key).collect() };
    let other = measured(other);
    !other.is_empty() && other.is_subset(&measured(run))
}

/// Refuses experiments that share the name of a model, an input or a policy and not its definition, weights or files: readers
/// would take two for one. Each is given with its folder. Settings differ from experiment to experiment. Returns a note for each backend whose
/// rows are of builds with different arithmetic, or of different builds of a library.
///
/// # Errors
/// [`ResultsError::OtherMaterial`] or [`ResultsError::OtherDefinition`].
pub fn check_experiments(experiments: &[(&Path, &Plan, &[ResultRow])]) -> Result<BTreeSet<String>, ResultsError> {
    for (index, (path, plan, _)) in experiments.iter().enumerate() {
        for (other, of_other, _) in &experiments[..index] {
            let (path, other) = (path.to_path_buf(), other.to_path_buf());
            let same = plan.check_same_definitions(of_other);
            same.map_err(|cause| ResultsError::OtherDefinition { path, other, cause })?;
        }
    }
    let mut shared: Shared<&Path> = Shared::default();
    let mut notes = BTreeSet::new();
    for (path, row) in experiments.iter().flat_map(|&(path, _, rows)| rows.iter().map(move |row| (path, row))) {
        for (material, other, of_other) in
            shared.add(row, path).into_iter().filter(|(_, _, of_other)| *of_other != path)
        {
            match material {
                Material::Settings => {}
                Material::Arithmetic => drop(notes.insert(arithmetic_note(row.backend))),
                Material::Libraries => drop(notes.insert(libraries_note(row.backend))),
                _ => {
                    let found = Contradiction::new(material, (path, row), (of_other, other));
                    return Err(ResultsError::OtherMaterial(Box::new(found)));
                }
            }
        }
    }
    Ok(notes)
}

/// `second` for the first repeat, `third` for the next: which run of the experiment it is.
pub fn run_of_repeat(index: usize) -> String {
    numbers::ordinal(index + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_parts_that_leads_out_of_the_artifact_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join(ARTIFACT_FILE), text).unwrap();
            Parts::read(dir.path())
        };
        let parts = read(r#"{"version": 2, "repeats": ["repeat"], "with": ["a", "b/c"]}"#).unwrap().unwrap();
        assert_eq!(parts.folders().count(), 3);
        let older = read(r#"{"version": 1, "repeat": "repeat"}"#).unwrap_err().to_string();
        assert!(older.contains("version 1, and this program reads version 2"), "{older}");
        for path in ["/etc", "../other", "a/../../b", ".", ""] {
            let error = read(&format!(r#"{{"version": 2, "with": ["{path}"]}}"#)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains("not a folder inside"), "{error}");
            assert!(read(&format!(r#"{{"version": 2, "repeats": ["{path}"]}}"#)).is_err(), "{path}");
            assert!(read(&format!(r#"{{"version": 2, "searches": ["{path}"]}}"#)).is_err(), "{path}");
        }
    }
}
