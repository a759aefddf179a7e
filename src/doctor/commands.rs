//! What can be done on this machine now, command by command, concluded from the other findings.

use std::collections::BTreeSet;

use super::material::{Experiment, Material};
use super::{Finding, Section, Status, is_on_path};
use crate::backend::BackendKind;

/// The manifest `make reproduce` runs.
const QUICK: &str = "experiments/quick.yaml";

/// One finding per command.
pub(super) fn possible(backends: &[(BackendKind, Finding)], material: &Material, paper: &Finding) -> Vec<Finding> {
    let available: BTreeSet<BackendKind> =
        backends.iter().filter(|(_, finding)| finding.status == Status::Ok).map(|&(kind, _)| kind).collect();
    let runs: Vec<Finding> = material.experiments.iter().map(|experiment| run(experiment, &available)).collect();
    let quick = material.experiments.iter().zip(&runs).find(|(experiment, _)| experiment.file == QUICK);
    let mut findings = vec![reproduce(quick.map(|(_, finding)| finding), is_on_path("cargo"))];
    findings.push(command("mixprec plan MANIFEST", Status::Ok, "needs the manifest only"));
    findings.extend(runs);
    findings.push(command("mixprec report DIR", Status::Ok, "for a folder that mixprec run has written"));
    findings.push(command("mixprec verify DIR", Status::Ok, "for a folder that mixprec run has written"));
    findings.push(infer(material));
    findings.push(make_paper(paper));
    findings
}

fn command(name: impl Into<String>, status: Status, detail: impl Into<String>) -> Finding {
    Finding::new(Section::Commands, name, status, detail)
}

fn run(experiment: &Experiment, available: &BTreeSet<BackendKind>) -> Finding {
    let total = experiment.plan.configurations.len();
    let mut blockers = BTreeSet::new();
    let mut possible = 0;
    for configuration in &experiment.plan.configurations {
        let mut free = true;
        let mut block = |reason: String| {
            blockers.insert(reason);
            free = false;
        };
        if !available.contains(&configuration.backend) {
            block(format!("backend {}", configuration.backend));
        }
        if experiment.absent_models.contains(&configuration.model) {
            block(format!("model {}", configuration.model));
        }
        if experiment.absent_inputs.contains(&configuration.input) {
            block(format!("input {}", configuration.input));
        }
        possible += usize::from(free);
    }
    let lacking = blockers.into_iter().collect::<Vec<_>>().join(", ");
    let (status, detail) = match possible {
        0 => (Status::Missing, format!("none of {total} configurations: not here: {lacking}")),
        _ if possible == total => (Status::Ok, format!("all {total} configurations")),
        _ => (Status::Limited, format!("{possible} of {total} configurations; not here: {lacking}")),
    };
    command(format!("mixprec run {}", experiment.file), status, detail)
}

fn reproduce(quick: Option<&Finding>, cargo: bool) -> Finding {
    const NAME: &str = "make reproduce";
    match quick {
        None => command(NAME, Status::Missing, format!("no readable {QUICK} here")),
        Some(_) if !cargo => command(NAME, Status::Missing, "no cargo on the PATH").cured_by("container/setup.sh"),
        Some(finding) => command(NAME, finding.status, format!("{QUICK}: {}", finding.detail)),
    }
}

fn infer(material: &Material) -> Finding {
    match material.checkpoints.first() {
        Some(folder) => {
            let rest = "--backend reference --precision hybrid --text 'any sentence' --output hidden";
            command("mixprec infer", Status::Ok, format!("mixprec infer --model {} {rest}", folder.display()))
        }
        None => command("mixprec infer", Status::Missing, "no checkpoint of a manifest is on this disk")
            .cured_by("container/setup.sh --minilm fetches a small one; any Hugging Face folder will do"),
    }
}

fn make_paper(latex: &Finding) -> Finding {
    let finding = command(
        "make paper",
        latex.status,
        match latex.status {
            Status::Ok => "from the results of a run".to_owned(),
            _ => latex.detail.clone(),
        },
    );
    Finding { cure: latex.cure.clone(), ..finding }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
schema: 1
name: both
question: what runs
models:
  drawn: {random: 1, architecture: bert-tiny}
  kept: {checkpoint: nowhere}
backends: [reference, cuda]
precisions: [fp32]
batch_sizes: [1]
sequence_lengths: [16]
inputs:
  ids: {random: 1}
expect_configurations: 4
";

    fn survey(manifest: &str) -> Material {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("experiments")).unwrap();
        std::fs::write(root.path().join(QUICK), manifest).unwrap();
        super::super::material::survey(root.path())
    }

    #[test]
    fn a_run_counts_what_can_be_measured_and_names_what_cannot() {
        let material = survey(MANIFEST);
        let experiment = &material.experiments[0];
        let finding = run(experiment, &BTreeSet::from([BackendKind::Reference]));
        assert_eq!(finding.status, Status::Limited);
        assert_eq!(finding.detail, "1 of 4 configurations; not here: backend cuda, model kept");
        let finding = run(experiment, &BTreeSet::new());
        assert_eq!(finding.status, Status::Missing);
        assert!(finding.detail.starts_with("none of 4 configurations"), "{}", finding.detail);
    }

    #[test]
    fn reproduce_follows_the_quick_manifest_and_cargo() {
        let whole = command("run", Status::Ok, "all 2 configurations");
        assert_eq!(reproduce(Some(&whole), true).status, Status::Ok);
        assert_eq!(reproduce(Some(&whole), false).status, Status::Missing);
        assert_eq!(reproduce(None, true).status, Status::Missing);
    }

    #[test]
    fn infer_needs_a_checkpoint() {
        let mut material = survey(MANIFEST);
        assert_eq!(infer(&material).status, Status::Missing);
        material.checkpoints.insert("runs/wheels/minilm".into());
        assert!(infer(&material).detail.contains("--model runs/wheels/minilm --backend reference"));
    }

    #[test]
    fn the_paper_needs_latex() {
        let latex = Finding::new(Section::Paper, "LaTeX", Status::Missing, "not found: latexmk").cured_by("install");
        let finding = make_paper(&latex);
        assert_eq!((finding.status, finding.cure.as_deref()), (Status::Missing, Some("install")));
    }
}
