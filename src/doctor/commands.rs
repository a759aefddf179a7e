//! Derives from the other diagnoses which commands work on this machine.

use std::collections::BTreeSet;

use super::assets::{Assets, SurveyedExperiment};
use super::{Area, Diagnosis, Readiness, is_on_path};
use crate::engine::{BackendKind, Target};
use crate::plan::Configuration;

/// The manifest that `make reproduce` runs.
const QUICK: &str = "experiments/quick.yaml";

/// One diagnosis per command.
pub(super) fn possible(backends: &[(BackendKind, Diagnosis)], assets: &Assets, paper: &Diagnosis) -> Vec<Diagnosis> {
    let of = |status| backends.iter().filter(move |(_, diagnosis)| diagnosis.status == status).map(|&(kind, _)| kind);
    let able = Able { execute: of(Readiness::Ok).collect(), build: of(Readiness::Limited).collect() };
    let runs: Vec<Diagnosis> = assets.experiments.iter().map(|experiment| run(experiment, &able)).collect();
    let quick = assets.experiments.iter().zip(&runs).find(|(experiment, _)| experiment.file == QUICK);
    let mut diagnoses = vec![reproduce(quick.map(|(_, diagnosis)| diagnosis), is_on_path("cargo"))];
    diagnoses.push(command("mixprec plan MANIFEST", Readiness::Ok, "needs the manifest only"));
    diagnoses.extend(runs);
    diagnoses.push(command("mixprec report DIR", Readiness::Ok, "for a folder that mixprec run has written"));
    diagnoses.push(command("mixprec verify DIR", Readiness::Ok, "for a folder that mixprec run has written"));
    diagnoses.push(infer(assets));
    diagnoses.push(make_paper(paper));
    diagnoses
}

fn command(name: impl Into<String>, status: Readiness, detail: impl Into<String>) -> Diagnosis {
    Diagnosis::new(Area::Commands, name, status, detail)
}

/// The abilities of the backends on this machine.
#[derive(Debug, Default)]
struct Able {
    /// Backends that build and execute.
    execute: BTreeSet<BackendKind>,
    /// Backends that build for a named target, but do not execute.
    build: BTreeSet<BackendKind>,
}

impl Able {
    fn builds(&self, of: &Configuration) -> bool {
        self.build.contains(&of.backend) && of.target.is_some_and(|target| target != Target::Current)
    }
}

fn run(experiment: &SurveyedExperiment, able: &Able) -> Diagnosis {
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
        (0, 0) => (Readiness::Missing, format!("none of {total} configurations: not here: {lacking}")),
        (all, 0) if all == total => (Readiness::Ok, format!("all {total} configurations")),
        (0, all) if all == total => (Readiness::Limited, format!("all {total} configurations built, none executed")),
        (some, 0) => (Readiness::Limited, format!("{some} of {total} configurations; not here: {lacking}")),
        (some, more) => {
            let lacking = if lacking.is_empty() { lacking } else { format!("; not here: {lacking}") };
            (
                Readiness::Limited,
                format!("{some} of {total} configurations, {more} more built and not executed{lacking}"),
            )
        }
    };
    command(format!("mixprec run {}", experiment.file), status, detail)
}

fn reproduce(quick: Option<&Diagnosis>, cargo: bool) -> Diagnosis {
    const NAME: &str = "make reproduce";
    match quick {
        None => command(NAME, Readiness::Missing, format!("no readable {QUICK} here")),
        Some(_) if !cargo => command(NAME, Readiness::Missing, "no cargo on the PATH").cured_by("container/setup.sh"),
        Some(diagnosis) => command(NAME, diagnosis.status, format!("{QUICK}: {}", diagnosis.detail)),
    }
}

fn infer(assets: &Assets) -> Diagnosis {
    match assets.checkpoints.first() {
        Some(folder) => {
            let rest = "--backend reference --precision hybrid --text 'any sentence' --output hidden";
            command("mixprec infer", Readiness::Ok, format!("mixprec infer --model {} {rest}", folder.display()))
        }
        None => command("mixprec infer", Readiness::Missing, "no checkpoint of a manifest is on this disk")
            .cured_by("container/setup.sh --minilm fetches a small one; any Hugging Face folder will do"),
    }
}

fn make_paper(latex: &Diagnosis) -> Diagnosis {
    let diagnosis = command(
        "make paper",
        latex.status,
        match latex.status {
            Readiness::Ok => "from the results of a run".to_owned(),
            _ => latex.detail.clone(),
        },
    );
    Diagnosis { cure: latex.cure.clone(), ..diagnosis }
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

    fn survey(manifest: &str) -> Assets {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("experiments")).unwrap();
        std::fs::write(root.path().join(QUICK), manifest).unwrap();
        crate::doctor::assets::survey(root.path())
    }

    #[test]
    fn a_run_counts_what_can_be_measured_and_names_what_cannot() {
        let assets = survey(MANIFEST);
        let experiment = &assets.experiments[0];
        let reference = Able { execute: BTreeSet::from([BackendKind::Reference]), ..Able::default() };
        let diagnosis = run(experiment, &reference);
        assert_eq!(diagnosis.status, Readiness::Limited);
        assert_eq!(diagnosis.detail, "1 of 4 configurations; not here: backend cuda, model kept");
        let diagnosis = run(experiment, &Able::default());
        assert_eq!(diagnosis.status, Readiness::Missing);
        assert!(diagnosis.detail.starts_with("none of 4 configurations"), "{}", diagnosis.detail);
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
            let diagnosis = run(&survey(manifest).experiments[0], &able(execute));
            (diagnosis.status, diagnosis.detail)
        };
        let alone = built.replace("reference, tensorrt", "tensorrt").replace("  kept: {checkpoint: nowhere}\n", "");
        let alone = alone.replace("configurations: 4", "configurations: 2");
        assert_eq!(detail(&alone, &[]), (Readiness::Limited, "all 2 configurations built, none executed".to_owned()));
        let current = alone
            .replace("targets: [sm80, sm89]", "targets: [current]")
            .replace("configurations: 2", "configurations: 1");
        let expected = "none of 1 configurations: not here: backend tensorrt";
        assert_eq!(detail(&current, &[]), (Readiness::Missing, expected.to_owned()), "there is no such device");
    }

    #[test]
    fn reproduce_follows_the_quick_manifest_and_cargo() {
        let whole = command("run", Readiness::Ok, "all 2 configurations");
        assert_eq!(reproduce(Some(&whole), true).status, Readiness::Ok);
        assert_eq!(reproduce(Some(&whole), false).status, Readiness::Missing);
        assert_eq!(reproduce(None, true).status, Readiness::Missing);
    }

    #[test]
    fn infer_needs_a_checkpoint() {
        let mut assets = survey(MANIFEST);
        assert_eq!(infer(&assets).status, Readiness::Missing);
        assets.checkpoints.insert("runs/wheels/minilm".into());
        assert!(infer(&assets).detail.contains("--model runs/wheels/minilm --backend reference"));
    }

    #[test]
    fn the_paper_needs_latex() {
        let latex = Diagnosis::new(Area::Paper, "LaTeX", Readiness::Missing, "not found: latexmk").cured_by("install");
        let diagnosis = make_paper(&latex);
        assert_eq!((diagnosis.status, diagnosis.cure.as_deref()), (Readiness::Missing, Some("install")));
    }
}
