//! `mixprec doctor`: reports what this machine has, what can run on it, and why the rest cannot. It changes nothing.

mod assets;
mod commands;
mod libraries;
mod machine;
mod paper;
mod pins;
mod render;

use std::path::Path;

use serde::Serialize;

use crate::backend;
use crate::engine::{Availability, BackendKind};
use crate::provenance::Environment;

pub use pins::has_drift;
pub use render::{json, text};

/// The area of a diagnosis, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Build, processor, memory, disk, GPUs.
    Machine,
    /// Libraries that execute models.
    Backends,
    /// Shared libraries that backends load.
    Libraries,
    /// The pins, compared with what is on this machine.
    Pins,
    /// Manifests, checkpoints and data.
    #[serde(rename = "material")]
    Assets,
    /// Programs that typeset the paper.
    Paper,
    /// Commands that can run on this machine.
    Commands,
}

/// Whether something is present or possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Present, or possible.
    Ok,
    /// Present or possible, with the limitation that the diagnosis names.
    Limited,
    /// Absent, or impossible.
    Missing,
    /// Absent, but nothing on this machine could use it.
    NotNeeded,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The area it belongs to.
    pub section: Area,
    /// The subject: a backend, a file, a command.
    pub name: String,
    /// Whether the subject is present or possible.
    pub status: Readiness,
    /// What was found, or why the subject is absent.
    pub detail: String,
    /// The cure, if there is one.
    pub cure: Option<String>,
}

impl Diagnosis {
    fn new(section: Area, name: impl Into<String>, status: Readiness, detail: impl Into<String>) -> Self {
        Diagnosis { section, name: name.into(), status, detail: detail.into(), cure: None }
    }

    fn cured_by(self, cure: impl Into<String>) -> Self {
        Diagnosis { cure: Some(cure.into()), ..self }
    }

    /// The same; where it is limited, with the cure.
    fn limited_if(self, is_limited: bool, cure: impl Into<String>) -> Self {
        if is_limited { Diagnosis { status: Readiness::Limited, ..self }.cured_by(cure) } else { self }
    }
}

/// All diagnoses of this machine, with the repository in the current folder.
pub fn report() -> Vec<Diagnosis> {
    report_in(Path::new(""))
}

/// All diagnoses of this machine, with the repository in `root`.
pub fn report_in(root: &Path) -> Vec<Diagnosis> {
    let backends = backends();
    let assets = assets::survey(root);
    let paper = paper::find();
    let commands = commands::possible(&backends, &assets, &paper);
    let environment = Environment::capture();
    let mut diagnoses = machine::diagnoses(&environment, root);
    diagnoses.extend(backends.into_iter().map(|(_, diagnosis)| diagnosis));
    diagnoses.extend(libraries::diagnoses(!environment.gpus.is_empty()));
    diagnoses.extend(pins::diagnoses(root, &environment.gpus, &environment.build));
    diagnoses.extend(assets.into_diagnoses());
    diagnoses.push(paper);
    diagnoses.extend(commands);
    diagnoses
}

/// One diagnosis per backend except the mock.
fn backends() -> Vec<(BackendKind, Diagnosis)> {
    let kinds = BackendKind::ALL.into_iter().filter(|&kind| kind != BackendKind::Mock);
    kinds.map(|kind| (kind, backend_diagnosis(kind))).collect()
}

fn backend_diagnosis(kind: BackendKind) -> Diagnosis {
    match backend::backend(kind).and_then(|backend| backend.availability()) {
        Ok(Availability { found, builds_only: None }) => {
            Diagnosis::new(Area::Backends, kind.name(), Readiness::Ok, found)
        }
        Ok(Availability { found, builds_only: Some(reason) }) => {
            let detail = format!("{found}; builds engines, but does not execute them here: {reason}");
            Diagnosis::new(Area::Backends, kind.name(), Readiness::Limited, detail)
        }
        Err(error) => Diagnosis::new(Area::Backends, kind.name(), Readiness::Missing, error.into_reason()),
    }
}

/// Whether the PATH has a program of this name.
fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_is_judged_and_the_absent_ones_say_why() {
        let diagnoses: Vec<Diagnosis> = backends().into_iter().map(|(_, diagnosis)| diagnosis).collect();
        let names: Vec<&str> = diagnoses.iter().map(|diagnosis| diagnosis.name.as_str()).collect();
        assert_eq!(names, ["reference", "onnxruntime", "cuda", "tensorrt"]);
        assert_eq!(diagnoses[0].status, Readiness::Ok);
        for kind in [BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt] {
            let diagnosis = backend_diagnosis(kind);
            if backend::backend(kind).is_err() {
                assert_eq!(diagnosis.status, Readiness::Missing);
                assert_eq!(diagnosis.detail, "this version of mixprec does not contain it");
            }
        }
    }

    #[test]
    fn the_report_is_in_section_order_and_ends_with_commands() {
        let diagnoses = report_in(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(diagnoses.is_sorted_by_key(|diagnosis| diagnosis.section));
        let sections = [Area::Machine, Area::Backends, Area::Libraries, Area::Pins, Area::Assets];
        for section in sections.into_iter().chain([Area::Paper, Area::Commands]) {
            assert!(diagnoses.iter().any(|diagnosis| diagnosis.section == section), "{section:?}");
        }
    }

    #[test]
    fn outside_the_repository_the_doctor_says_where_to_stand() {
        let elsewhere = tempfile::tempdir().unwrap();
        let diagnoses = report_in(elsewhere.path());
        let experiments = diagnoses.iter().find(|diagnosis| diagnosis.name == "experiments/").unwrap();
        assert_eq!(experiments.status, Readiness::Missing);
        assert!(experiments.cure.as_ref().is_some_and(|cure| cure.contains("repository's root")));
    }
}
