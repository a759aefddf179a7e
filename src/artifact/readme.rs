//! The README of an artifact.

use std::path::PathBuf;

use serde_json::{Value, json};
use tera::{Context, Tera};

use super::{CHECKSUMS_FILE, PublishedExperiment};
use crate::numbers;
use crate::provenance::{Environment, Gpu};
use crate::record::Status;
use crate::report::escape;
use crate::report::render::RenderError;
use crate::report::sentences::machine::processors;
use crate::report::sentences::pins;
use crate::results::data::distinct;

const FILE: &str = "artifact.md";

/// The text of `README.md`: what the folder holds, from which commits and machines, and the commands to use it with.
///
/// # Errors
/// [`RenderError`], a defect that a test rules out.
pub(super) fn readme(name: &str, parts: &[PublishedExperiment], searches: &[PathBuf]) -> Result<String, RenderError> {
    let rows = parts.iter().flat_map(|part| &part.merged.rows);
    let weights = rows.filter_map(|row| Some(format!("{}: {}", row.model, row.model_provenance.as_ref()?)));
    let facts = json!({
        "name": name,
        "checksums": CHECKSUMS_FILE,
        "parts": parts.iter().map(part).collect::<Vec<_>>(),
        "weights": distinct(weights),
        "searches": searches,
    });
    let mut engine = Tera::new();
    engine.set_escape_fn(escape::plain);
    engine.autoescape_on([".md"]);
    engine.add_raw_templates([(FILE, include_str!("../../paper/templates/artifact.md.tera"))])?;
    engine.render(FILE, &Context::from_serialize(&facts)?)
}

/// What a folder holds, its manifest, builds and machines.
fn part(part: &PublishedExperiment) -> Value {
    let plan = &part.merged.plan;
    let count = |status| part.merged.rows.iter().filter(|row| row.status == status).count();
    let counts =
        [(Status::Ok, "measured"), (Status::Built, "built"), (Status::Failed, "failed"), (Status::Pending, "not run")];
    let counts = counts.into_iter().map(|(status, what)| (count(status), what)).filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, what)| format!("{} {what}", numbers::count(n as u64))).collect();
    json!({
        "folder": if part.folder.as_os_str().is_empty() { ".".as_ref() } else { part.folder.as_path() },
        "experiment": plan.name,
        "configurations": counts.join(", "),
        "manifest": plan.base_dir.join(format!("{}.yaml", plan.name)),
        "manifest_sha256": plan.manifest_sha256,
        "commits": commits(part),
        "machines": machines(part),
        "pins": pins::note(part.merged.rows.iter()),
    })
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
