//! What can be done on this machine now, command by command, concluded from the other findings.

use std::collections::BTreeSet;

use super::assets::{Experiment, Material};
use super::{Finding, Section, Status, is_on_path};
use crate::engine::{BackendKind, Target};
use crate::plan::Configuration;

/// The manifest `make reproduce` runs.
const QUICK: &str = "experiments/quick.yaml";

/// One finding per command.
pub(super) fn possible(backends: &[(BackendKind, Finding)], material: &Material, paper: &Finding) -> Vec<Finding> {
    let of = |status| backends.iter().filter(move |(_, finding)| finding.status == status).map(|&(kind, _)| kind);
    let able = Able { execute: of(Status::Ok).collect(), build: of(Status::Limited).collect() };
    let runs: Vec<Finding> = material.experiments.iter().map(|experiment| run(experiment, &able)).collect();
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

/// What the backends of this machine can do.
#[derive(Debug, Default)]
struct Able {
    /// Build and execute.
    execute: BTreeSet<BackendKind>,
    /// Build for a named target, and not execute.
    build: BTreeSet<BackendKind>,
}

impl Able {
    fn builds(&self, of: &Configuration) -> bool {
        self.build.contains(&of.backend) && of.target.is_some_and(|target| target != Target::Current)
    }
}

fn run(experiment: &Experiment, able: &Able) -> Finding {
    let total = experiment.plan.configurations.len();
    let mut blockers = BTreeSet::new();
    let (mut executed, mut built) = (0, 0);
    for configuration in &experiment.plan.configurations {
        let executes = able.execute.contains(&configuration.backend);
        let lacking: Vec<String> = [
            (!executes && !able.builds(configuration)).then(|| format!("backend {}", configuration.backend)),
            experiment.absent_models.contains(&configuration.model).then(|| format!("model {}", configuration.model)),
            experiment.absent_inputs.contains(&configuration.input).then(|| format!("input {}", configuration.input)),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (lacking.is_empty(), executes) {
            (true, true) => executed += 1,
            (true, false) => built += 1,
            (false, _) => blockers.extend(lacking),
        }
    }
    let lacking = blockers.into_iter().collect::<Vec<_>>().join(", ");
    let (status, detail) = match (executed, built) {
        (0, 0) => (Status::Missing, format!("none of {total} configurations: not here: {lacking}")),
        (all, 0) if all == total => (Status::Ok, format!("all {total} configurations")),
        (0, all) if all == total => (Status::Limited, format!("all {total} configurations built, none executed")),
        (some, 0) => (Status::Limited, format!("{some} of {total} configurations; not here: {lacking}")),
        (some, more) => {
            let lacking = if lacking.is_empty() { lacking } else { format!("; not here: {lacking}") };
            (Status::Limited, format!("{some} of {total} configurations, {more} more built and not executed{lacking}"))
        }
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
        crate::doctor::assets::survey(root.path())
    }

    #[test]
    fn a_run_counts_what_can_be_measured_and_names_what_cannot() {
        let material = survey(MANIFEST);
        let experiment = &material.experiments[0];
        let reference = Able { execute: BTreeSet::from([BackendKind::Reference]), ..Able::default() };
        let finding = run(experiment, &reference);
        assert_eq!(finding.status, Status::Limited);
        assert_eq!(finding.detail, "1 of 4 configurations; not here: backend cuda, model kept");
        let finding = run(experiment, &Able::default());
        assert_eq!(finding.status, Status::Missing);
        assert!(finding.detail.starts_with("none of 4 configurations"), "{}", finding.detail);
    }

    #[test]
    fn engines_that_are_built_for_other_machines_are_counted_apart() {
        let built = MANIFEST
            .replace("reference, cuda", "reference, tensorrt")
            .replace("precisions", "targets: [sm80, sm89]\nprecisions");
        let able = |execute: &[BackendKind]| Able {
            execute: execute.iter().copied().collect(),
            build: BTreeSet::from([BackendKind::TensorRt]),
        };
        let detail = |manifest: &str, execute: &[BackendKind]| {
            let finding = run(&survey(manifest).experiments[0], &able(execute));
            (finding.status, finding.detail)
        };
        let alone = built.replace("reference, tensorrt", "tensorrt").replace("  kept: {checkpoint: nowhere}\n", "");
        let alone = alone.replace("configurations: 4", "configurations: 2");
        assert_eq!(detail(&alone, &[]), (Status::Limited, "all 2 configurations built, none executed".to_owned()));
        let current = alone
            .replace("targets: [sm80, sm89]", "targets: [current]")
            .replace("configurations: 2", "configurations: 1");
        let expected = "none of 1 configurations: not here: backend tensorrt";
        assert_eq!(detail(&current, &[]), (Status::Missing, expected.to_owned()), "there is no such device");
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
