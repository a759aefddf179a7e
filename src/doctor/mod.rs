//! `mixprec doctor`: what this machine has, what can run on it now, and why the rest cannot. It looks and changes
//! nothing.

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

/// What a finding is about, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Build, processor, memory, disk, GPUs.
    Machine,
    /// What executes models.
    Backends,
    /// Shared libraries that backends load.
    Libraries,
    /// What is pinned, against what is here.
    Pins,
    /// Manifests, checkpoints and data.
    Material,
    /// Programs that print the paper.
    Paper,
    /// What can be done here now.
    Commands,
}

/// Whether a thing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There, or possible.
    Ok,
    /// There or possible with a limitation that the finding names.
    Limited,
    /// Not there, or not possible.
    Missing,
    /// Not there, and nothing on this machine could use it.
    NotNeeded,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub section: Section,
    /// The thing: a backend, a file, a command.
    pub name: String,
    /// Whether it is there.
    pub status: Status,
    /// What was found, or why it is not there.
    pub detail: String,
    /// What to do about it, where something can be done.
    pub cure: Option<String>,
}

impl Finding {
    fn new(section: Section, name: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Finding { section, name: name.into(), status, detail: detail.into(), cure: None }
    }

    fn cured_by(self, cure: impl Into<String>) -> Self {
        Finding { cure: Some(cure.into()), ..self }
    }
}

/// Everything there is to say about this machine, with the repository in the current folder.
pub fn report() -> Vec<Finding> {
    report_in(Path::new(""))
}

/// The same with the repository in `root`.
pub fn report_in(root: &Path) -> Vec<Finding> {
    let backends = backends();
    let assets = assets::survey(root);
    let paper = paper::find();
    let commands = commands::possible(&backends, &assets, &paper);
    let environment = Environment::capture();
    let mut findings = machine::findings(&environment, root);
    findings.extend(backends.into_iter().map(|(_, finding)| finding));
    findings.extend(libraries::findings(!environment.gpus.is_empty()));
    findings.extend(pins::findings(root, &environment.gpus, &environment.build));
    findings.extend(assets.into_findings());
    findings.push(paper);
    findings.extend(commands);
    findings
}

/// Every backend a reader can use, asked whether it can execute here.
fn backends() -> Vec<(BackendKind, Finding)> {
    let kinds = BackendKind::ALL.into_iter().filter(|&kind| kind != BackendKind::Mock);
    kinds.map(|kind| (kind, backend_finding(kind))).collect()
}

fn backend_finding(kind: BackendKind) -> Finding {
    match backend::backend(kind).and_then(|backend| backend.availability()) {
        Ok(Availability { found, builds_only: None }) => {
            Finding::new(Section::Backends, kind.name(), Status::Ok, found)
        }
        Ok(Availability { found, builds_only: Some(reason) }) => {
            let detail = format!("{found}; builds engines, but does not execute them here: {reason}");
            Finding::new(Section::Backends, kind.name(), Status::Limited, detail)
        }
        Err(error) => Finding::new(Section::Backends, kind.name(), Status::Missing, error.into_reason()),
    }
}

/// Whether a program of this name is on the PATH.
fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_is_judged_and_the_absent_ones_say_why() {
        let findings: Vec<Finding> = backends().into_iter().map(|(_, finding)| finding).collect();
        let names: Vec<&str> = findings.iter().map(|finding| finding.name.as_str()).collect();
        assert_eq!(names, ["reference", "onnxruntime", "cuda", "tensorrt"]);
        assert_eq!(findings[0].status, Status::Ok);
        for kind in [BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt] {
            let finding = backend_finding(kind);
            if backend::backend(kind).is_err() {
                assert_eq!(finding.status, Status::Missing);
                assert_eq!(finding.detail, "this version of mixprec does not contain it");
            }
        }
    }

    #[test]
    fn the_report_is_in_section_order_and_ends_with_commands() {
        let findings = report_in(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(findings.is_sorted_by_key(|finding| finding.section));
        let sections = [Section::Machine, Section::Backends, Section::Libraries, Section::Pins, Section::Material];
        for section in sections.into_iter().chain([Section::Paper, Section::Commands]) {
            assert!(findings.iter().any(|finding| finding.section == section), "{section:?}");
        }
    }

    #[test]
    fn outside_the_repository_the_doctor_says_where_to_stand() {
        let elsewhere = tempfile::tempdir().unwrap();
        let findings = report_in(elsewhere.path());
        let experiments = findings.iter().find(|finding| finding.name == "experiments/").unwrap();
        assert_eq!(experiments.status, Status::Missing);
        assert!(experiments.cure.as_ref().is_some_and(|cure| cure.contains("repository's root")));
    }
}
