//! The README of an artifact.

use std::fmt::Write;

use super::{CHECKSUMS_FILE, PublishedExperiment};
use crate::numbers;
use crate::provenance::{Environment, Gpu};
use crate::record::Status;
use crate::report::sentences::machine::processors;
use crate::report::sentences::pins;
use crate::results::data::distinct;

/// The text of `README.md`: what the folder holds, from which commits and machines, and the commands to use it with.
pub(super) fn readme(name: &str, parts: &[PublishedExperiment]) -> String {
    let mut text = format!("# {name}: reference output\n\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "Results of mixprec at {}. The paper is rendered from\nthem. They are what this hardware came to, to be read and \
         compared with: not what another machine must come to. A manifest may\nhave been run in parts (`--shard`, `--backend`) \
         and in several sittings, bound to fewer CPUs than there are: each row names its\nenvironment. By folder:\n",
        parts.first().map(commits).unwrap_or_default()
    );
    for part in parts {
        let rows = part.merged.rows.iter();
        let _ = writeln!(text, "- `{}`: {}; {}. {}", folder(part), commits(part), machines(part), pins::note(rows));
    }
    let rows = || parts.iter().flat_map(|part| &part.merged.rows);
    text.push_str("\nWeights:\n\n");
    for weights in distinct(rows().filter_map(|row| Some(format!("{}: {}", row.model, row.model_provenance.as_ref()?))))
    {
        let _ = writeln!(text, "- {weights}");
    }
    text.push_str(&folders(parts));
    let _ = write!(
        text,
        "\nEach folder has the rows (`results.parquet`), every sample and A/A round (`samples.parquet`), the expanded manifest\n\
         (`plan.json`) and the machines and builds (`environments/`). Where a row has no A/A test, `aa_remark` says why.\n\n\
         ```\n\
         sha256sum --check {CHECKSUMS_FILE}        # here\n\
         make replay ARTIFACT=artifacts/{name}     # at the top: renders the paper from this, no GPU needed, and compares\n\
         mixprec report artifacts/{name} --out runs/{name}-report\n\
         mixprec rerun artifacts/{name} --id ID    # one row again on your machine\n\
         mixprec compare artifacts/{name} runs/paper\n\
         ```\n"
    );
    text
}

/// A table with a row per folder: its contents and its manifest.
fn folders(parts: &[PublishedExperiment]) -> String {
    let mut text = String::from(
        "\n| folder | experiment | configurations | manifest | SHA-256 of the manifest |\n|---|---|---|---|---|\n",
    );
    for part in parts {
        let plan = &part.merged.plan;
        let count = |status| part.merged.rows.iter().filter(|row| row.status == status).count();
        let counts = [
            (Status::Ok, "measured"),
            (Status::Built, "built"),
            (Status::Failed, "failed"),
            (Status::Pending, "not run"),
        ];
        let counts = counts.into_iter().map(|(status, what)| (count(status), what)).filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts.map(|(n, what)| format!("{} {what}", numbers::count(n as u64))).collect();
        let manifest = plan.base_dir.join(format!("{}.yaml", plan.name));
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | `{}` | `{}` |",
            folder(part),
            plan.name,
            counts.join(", "),
            manifest.display(),
            plan.manifest_sha256
        );
    }
    text
}

fn folder(part: &PublishedExperiment) -> String {
    if part.folder.as_os_str().is_empty() { ".".to_owned() } else { part.folder.display().to_string() }
}

/// `commit 798a07e8c70a7e219e48d68735de00a72ec1bd3e`
fn commits(part: &PublishedExperiment) -> String {
    let of = |environment: &Environment| match &environment.build.commit {
        Some(commit) if environment.build.dirty == Some(true) => {
            format!("commit {commit} with changes that are not in it")
        }
        Some(commit) => format!("commit {commit}"),
        None => "an unknown commit".to_owned(),
    };
    distinct(part.merged.environments.values().map(of)).join(" and ")
}

/// `NVIDIA H200, driver 580.65.06; Intel Xeon (x86_64), 16 cores, 16 threads usable`
fn machines(part: &PublishedExperiment) -> String {
    let environments = || part.merged.environments.values();
    let gpus = distinct(environments().flat_map(|environment| &environment.gpus).map(Gpu::with_driver));
    let gpus = if gpus.is_empty() { "no GPU".to_owned() } else { gpus.join(", ") };
    format!("{gpus}; {}", processors(environments()))
}
