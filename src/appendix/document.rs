//! The appendix as one value: everything that its templates print, formatted as text.

use serde::Serialize;

use super::author::{Author, Unsupported};
use super::experiment::{ExperimentEntry, NOT_MEASURED, PlannedExperiment, compute, disk_size};
use super::folder::ResultsFolder;
use crate::analysis::facts::engine_library;
use crate::claims::schema::Claim;
use crate::claims::{Claims, Outcome, Verdict};
use crate::numbers;
use crate::report::document::Fact;
use crate::report::sentences::claims::{WordedVerdict, values};
use crate::results::data::distinct;

/// A reviewer's appendix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Appendix {
    /// The authors' part.
    pub author: Author,
    /// Source of the claims.
    pub source: String,
    /// Fields of the checklist, in the order of the ACM and cTuning forms.
    pub checklist: Vec<Fact>,
    /// Hardware that the given results were measured on.
    pub machines: Vec<String>,
    /// The requirements of the backends of all experiments, each once.
    pub needs: Vec<String>,
    /// Libraries of the rows, each once.
    pub libraries: Vec<String>,
    /// Results folders that the numbers of the appendix come from.
    pub folders: Vec<String>,
    /// Claims.
    pub claims: Vec<ClaimEntry>,
    /// Experiments.
    pub experiments: Vec<ExperimentEntry>,
    /// What the artifact does not show: what the authors name, and claims that no manifest measures.
    pub unsupported: Vec<Unsupported>,
}

/// A claim and how to check it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimEntry {
    /// `C1`; `C5*` in its second reading; `F1` of a finding.
    pub id: String,
    /// The paper's words, or ours.
    pub words: String,
    /// What a second reading counts.
    pub counts: Option<String>,
    /// The paper's figure; `None` of a finding.
    pub paper_value: Option<String>,
    /// How the words were turned into an expression.
    pub reading: String,
    /// What the value of the expression must be.
    pub expected: String,
    /// `E1 (quick)`, or why there is none.
    pub experiment: String,
    /// What to type.
    pub command: String,
    /// The hardware that it needs.
    pub hardware: String,
    /// The verdicts of the results folders.
    pub verdicts: Vec<VerdictEntry>,
}

/// The verdict of one results folder on a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerdictEntry {
    /// The folder.
    pub folder: String,
    /// PASS, FAIL, …
    pub label: String,
    /// Value and interval; empty without a value.
    pub found: String,
}

/// Puts the appendix together. `experiments` are in the order they are numbered.
pub fn document(
    author: &Author,
    claims: &Claims,
    experiments: &[PlannedExperiment<'_>],
    folders: &[ResultsFolder],
) -> Appendix {
    let entries: Vec<ExperimentEntry> = experiments.iter().enumerate().map(|(at, one)| one.entry(at)).collect();
    let rows = folders.iter().flat_map(|folder| &folder.data.rows);
    let label = |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| entry.label.clone());
    let mut unsupported = author.unsupported.clone();
    unsupported.extend(claims.claims.iter().filter(|claim| label(&claim.experiment).is_none()).map(without_experiment));
    Appendix {
        author: author.clone(),
        source: claims.source.clone(),
        checklist: checklist(author, experiments, &entries),
        machines: distinct(folders.iter().flat_map(ResultsFolder::machines)),
        needs: distinct(entries.iter().flat_map(|entry| entry.hardware.clone())),
        libraries: distinct(rows.filter_map(engine_library)),
        folders: folders.iter().map(|folder| folder.label.clone()).collect(),
        claims: claims.claims.iter().flat_map(|claim| readings(claim, label(&claim.experiment), folders)).collect(),
        experiments: entries,
        unsupported,
    }
}

/// The entry of a claim that no manifest measures.
fn without_experiment(claim: &Claim) -> Unsupported {
    Unsupported {
        statement: format!("{} ({})", claim.words(), claim.id).into(),
        reason: format!("there is no manifest named {}", claim.experiment).into(),
    }
}

/// The entry of a claim and, where it has one, that of its second reading.
fn readings(claim: &Claim, label: Option<String>, folders: &[ResultsFolder]) -> impl Iterator<Item = ClaimEntry> {
    let counts = claim.second.as_ref().map(|second| second.counts.clone());
    let second = claim.second_reading().map(|second| ClaimEntry { counts, ..entry(&second, label.clone(), folders) });
    std::iter::once(entry(claim, label, folders)).chain(second)
}

fn entry(claim: &Claim, label: Option<String>, folders: &[ResultsFolder]) -> ClaimEntry {
    let expected: Vec<String> =
        claim.checks.iter().map(|check| values::expectation(&check.expression, &check.expect)).collect();
    ClaimEntry {
        id: claim.id.clone(),
        words: claim.words().to_owned(),
        counts: None,
        paper_value: claim.paper_value.clone(),
        reading: claim.reading.clone(),
        expected: expected.join("; and "),
        experiment: match label {
            Some(label) => format!("{label} ({})", claim.experiment),
            None => format!("none: there is no manifest named {}", claim.experiment),
        },
        command: claim.command.clone(),
        hardware: claim.hardware.clone(),
        verdicts: verdicts(&claim.id, folders),
    }
}

/// The verdicts of the folders that answer the claim; if none does, those of all folders, which say what is missing.
fn verdicts(id: &str, folders: &[ResultsFolder]) -> Vec<VerdictEntry> {
    let all: Vec<(&ResultsFolder, &Verdict)> = folders
        .iter()
        .filter_map(|folder| {
            let mut readings = folder.verdicts.iter().flat_map(Verdict::readings);
            Some((folder, readings.find(|verdict| verdict.claim.id == id)?))
        })
        .collect();
    let answers = |verdict: &Verdict| !matches!(verdict.outcome, Outcome::NotRun | Outcome::NoHardware);
    let answered = all.iter().any(|(_, verdict)| answers(verdict));
    let shown = all.iter().filter(|(_, verdict)| !answered || answers(verdict));
    shown
        .map(|(folder, verdict)| VerdictEntry {
            folder: folder.label.clone(),
            label: verdict.outcome.label().to_owned(),
            found: found(&WordedVerdict::of(verdict)),
        })
        .collect()
}

fn found(verdict: &WordedVerdict) -> String {
    let value = [&verdict.measured, &verdict.interval].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
    let limits = verdict.answered.limits().join(", ");
    match (value.is_empty(), limits.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("measured {value}"),
        (false, false) => format!("measured {value} ({limits})"),
    }
}

/// The fields of the form. A field that depends on results names the experiments they come from.
fn checklist(author: &Author, experiments: &[PlannedExperiment<'_>], entries: &[ExperimentEntry]) -> Vec<Fact> {
    let fact = |label: &str, value: String| Fact { label: label.to_owned(), value };
    let list = |parts: &mut dyn Iterator<Item = String>| distinct(parts).join(", ");
    let manifests = || experiments.iter().map(|one| &one.loaded.manifest);
    let models = list(&mut manifests().flat_map(|manifest| &manifest.models).map(|model| model.name.clone()));
    let inputs = list(&mut manifests().flat_map(|manifest| &manifest.inputs).map(|input| input.name.clone()));
    let backends = list(&mut manifests().flat_map(|manifest| &manifest.backends).map(ToString::to_string));
    let machines = list(&mut entries.iter().flat_map(|entry| entry.machines.clone()));
    let measured = experiments.iter().filter(|one| one.wall_time().is_some());
    let taken: f64 = measured.clone().filter_map(|one| one.wall_time()).map(|time| time.seconds).sum();
    let estimated: f64 =
        experiments.iter().filter(|one| one.wall_time().is_none()).map(PlannedExperiment::estimated_s).sum();
    let minutes: u32 = author.installation.iter().map(|step| step.human_minutes).sum();
    let disk: u64 = experiments.iter().filter_map(|one| one.runs.iter().find_map(|run| run.bytes)).sum();
    let names = |some: &mut dyn Iterator<Item = &PlannedExperiment<'_>>| {
        some.map(|one| one.loaded.manifest.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let time = match (names(&mut measured.clone()), estimated > 0.0) {
        (names, _) if names.is_empty() => format!("{NOT_MEASURED}; {} by estimate for all", compute(estimated)),
        (names, false) => format!("{} measured ({names})", compute(taken)),
        (names, true) => {
            format!("{} measured ({names}); the others {} by estimate", compute(taken), compute(estimated))
        }
    };
    vec![
        fact("Algorithm", author.algorithm.0.clone()),
        fact("Program", format!("models {models}; backends {backends}")),
        fact("Compilation", author.compilation.0.clone()),
        fact("Data set", inputs),
        fact(
            "Run-time environment",
            "Linux on x86-64; Cargo.lock, container/wheels.json and flake.lock pin it".to_owned(),
        ),
        fact("Hardware", if machines.is_empty() { NOT_MEASURED.to_owned() } else { machines }),
        fact("Execution", author.execution.0.clone()),
        fact("Metrics", author.metrics.0.clone()),
        fact(
            "Output",
            "LaTeX tables, figures as SVG and PDF, one HTML page, Parquet tables of rows and samples".to_owned(),
        ),
        fact("Experiments", list(&mut entries.iter().map(|entry| format!("{} {}", entry.label, entry.name)))),
        fact("Disk space of the results", if disk == 0 { NOT_MEASURED.to_owned() } else { disk_size(disk) }),
        fact("Time to prepare", numbers::plural(minutes as usize, "estimated human-minute")),
        fact("Time to complete", time),
        fact("Code licences", author.licences.code.0.clone()),
        fact("Data licences", author.licences.data.0.clone()),
        fact("Workflow", author.automation.0.clone()),
        fact("Archived", author.archive.clone().unwrap_or_else(|| "not yet".to_owned())),
    ]
}
