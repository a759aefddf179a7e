//! Chooses the rows of the joined tables. The choice is a pure function of the results and does not depend on the order of
//! the folders.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::{Input, MergeError};
use crate::digest::sha256;
use crate::plan::{Axes, Configuration, ConfigurationId, Plan};
use crate::provenance::Environment;
use crate::record::Status;
use crate::store::derive;
use crate::store::materials::{Contradiction, Material, Shared, arithmetic_note};
use crate::store::schema::{ResultRow, SampleRow};

/// Joined results.
#[derive(Debug, Clone)]
pub struct Merged {
    /// Every configuration of any folder.
    pub plan: Plan,
    /// Rows in the order of the plan and, for each configuration, of the environments: a row per environment that ran it, or
    /// one pending row.
    pub rows: Vec<ResultRow>,
    /// Samples of these rows, in their order.
    pub samples: Vec<SampleRow>,
    /// The environments of the rows.
    pub environments: BTreeMap<String, Environment>,
    /// What was left out or joined, one sentence each.
    pub notes: Vec<String>,
}

/// A row with its samples and its folder.
#[derive(Debug)]
struct CandidateRow<'a> {
    dir: &'a Path,
    row: &'a ResultRow,
    samples: &'a [&'a SampleRow],
}

/// Joins folders.
///
/// # Errors
/// [`MergeError`] when they do not belong together.
pub fn join(mut inputs: Vec<Input>) -> Result<Merged, MergeError> {
    // The largest plan first. Ties are broken by the contents, which do not depend on the folders' names.
    inputs.sort_by_cached_key(|input| {
        let plan = &input.data.plan;
        (Reverse(plan.configurations.len()), plan.manifest_sha256.clone(), document(plan).to_string())
    });
    if inputs.is_empty() {
        return Err(MergeError::Nothing);
    }
    // Every pair, for the first plan may lack a name; and each with itself, for an older merge may have one twice.
    for (index, input) in inputs.iter().enumerate() {
        for other in &inputs[..=index] {
            input.data.plan.check_same_rules(&other.data.plan).map_err(|cause| MergeError::Rules {
                path: input.dir.clone(),
                other: other.dir.clone(),
                cause,
            })?;
        }
    }
    let mut notes: Vec<String> = inputs.iter().flat_map(|input| input.notes.iter().cloned()).collect();
    let plan = joined_plan(&inputs, &mut notes);
    let samples: Vec<HashMap<(&str, &str), Vec<&SampleRow>>> = inputs.iter().map(samples_by_row).collect();
    let candidates = candidates(&inputs, &samples);
    let mut kept: Vec<CandidateRow> = Vec::new();
    let mut rows = Vec::new();
    check_materials(&plan, &candidates, &mut notes)?;
    for configuration in &plan.configurations {
        let Some(environments) = candidates.get(configuration.id.0.as_str()) else {
            rows.push(derive::pending(configuration));
            continue;
        };
        for rivals in environments.values() {
            let Some(newest) = newest(rivals, &mut notes) else { continue };
            rows.push(newest.row.clone());
            kept.push(CandidateRow { ..*newest });
        }
    }
    let samples = kept.iter().flat_map(|candidate| candidate.samples.iter().map(|&sample| sample.clone())).collect();
    let environments = joined_environments(&inputs, &rows);
    notes.sort();
    Ok(Merged { plan, rows, samples, environments, notes })
}

fn document(plan: &Plan) -> serde_json::Value {
    serde_json::to_value(plan).unwrap_or_default()
}

/// The first folder's plan, followed by the configurations that only other folders have.
fn joined_plan(inputs: &[Input], notes: &mut Vec<String>) -> Plan {
    let mut plan = inputs[0].data.plan.clone();
    let mut known: HashSet<ConfigurationId> = plan.configurations.iter().map(|one| one.id.clone()).collect();
    let mut manifests = BTreeSet::new();
    for other in inputs {
        manifests.insert(&other.data.plan.manifest_sha256);
        let more = other.data.plan.configurations.iter().filter(|one| known.insert(one.id.clone()));
        plan.configurations.extend(more.cloned());
    }
    let mut excluded: HashSet<ConfigurationId> =
        known.into_iter().chain(plan.excluded.iter().map(|cell| cell.configuration.id.clone())).collect();
    for other in inputs {
        let more = other.data.plan.excluded.iter().filter(|cell| excluded.insert(cell.configuration.id.clone()));
        plan.excluded.extend(more.cloned());
    }
    let measured: HashSet<&ConfigurationId> = plan.configurations.iter().map(|one| &one.id).collect();
    plan.excluded.retain(|cell| !measured.contains(&cell.configuration.id));
    if manifests.len() > 1 {
        notes.push(format!(
            "the folders have {} versions of the manifest under one protocol: their {} configurations were joined",
            manifests.len(),
            plan.configurations.len()
        ));
        plan.axes = axes(&plan);
    }
    plan
}

/// Axis sizes counted from the cells, for a plan that no single manifest describes.
fn axes(plan: &Plan) -> Axes {
    let cells = || plan.configurations.iter().chain(plan.excluded.iter().map(|cell| &cell.configuration));
    fn count<'a, K: Ord>(
        cells: impl Iterator<Item = &'a Configuration>,
        key: impl Fn(&'a Configuration) -> K,
    ) -> usize {
        cells.map(key).collect::<BTreeSet<K>>().len()
    }
    Axes {
        models: count(cells(), |one| &one.model),
        backends: count(cells(), |one| one.backend.name()),
        precisions: count(cells(), |one| &one.policy.name),
        targets: count(cells(), |one| one.target.map(|target| target.to_string())),
        batch_sizes: count(cells(), |one| one.shape.batch),
        sequence_lengths: count(cells(), |one| one.shape.sequence),
        inputs: count(cells(), |one| &one.input),
    }
}

fn samples_by_row(input: &Input) -> HashMap<(&str, &str), Vec<&SampleRow>> {
    let mut samples: HashMap<(&str, &str), Vec<&SampleRow>> = HashMap::new();
    for sample in &input.samples {
        samples.entry((&sample.id, &sample.environment)).or_default().push(sample);
    }
    samples
}

/// Rows that were run, by configuration and environment.
type Candidates<'a> = HashMap<&'a str, BTreeMap<&'a str, Vec<CandidateRow<'a>>>>;

fn candidates<'a>(inputs: &'a [Input], samples: &'a [HashMap<(&str, &str), Vec<&'a SampleRow>>]) -> Candidates<'a> {
    let mut found = Candidates::new();
    for (input, samples) in inputs.iter().zip(samples) {
        for row in &input.data.rows {
            let Some(environment) = row.environment.as_deref() else { continue };
            let samples = samples.get(&(row.id.as_str(), environment)).map_or(&[][..], Vec::as_slice);
            let candidate = CandidateRow { dir: &input.dir, row, samples };
            found.entry(&row.id).or_default().entry(environment).or_default().push(candidate);
        }
    }
    found
}

/// The newest of several rows of one configuration and environment; one that failed only where all did. If their times are equal, it is the row whose contents
/// have the greater digest, so that the choice does not depend on the order of the folders.
fn newest<'a, 'b>(rivals: &'b [CandidateRow<'a>], notes: &mut Vec<String>) -> Option<&'b CandidateRow<'a>> {
    rivals.iter().reduce(|newest, rival| {
        if rival.row == newest.row && rival.samples == newest.samples {
            return newest;
        }
        let (kept, dropped) = if age(rival) > age(newest) { (rival, newest) } else { (newest, rival) };
        let row = kept.row;
        let why = if failed(kept) != failed(dropped) {
            "that one failed"
        } else if row.finished_unix_s == dropped.row.finished_unix_s {
            "their times are equal"
        } else {
            "it is newer"
        };
        notes.push(format!(
            "{} ({} {} {} {}x{} {}) was run more than once in environment {}: kept the row of {}, not that of {} ({why})",
            row.id,
            row.backend,
            row.model,
            row.precision,
            row.batch_size,
            row.sequence_length,
            row.input,
            row.environment.as_deref().unwrap_or_default(),
            kept.dir.display(),
            dropped.dir.display()
        ));
        kept
    })
}

fn failed(candidate: &CandidateRow) -> bool {
    candidate.row.status == Status::Failed
}

fn age(candidate: &CandidateRow) -> (bool, Option<u64>, String) {
    let contents = format!("{:?}{:?}", candidate.row, candidate.samples);
    (!failed(candidate), candidate.row.finished_unix_s, sha256(contents.as_bytes()))
}

/// Refuses rows that contradict each other in what a table shares: outputs and times of two sets of weights or of two files
/// would be compared as if they were of one. Rows that newer rows replace are checked as well: a stand-in must not replace the
/// real weights because it ran later. Another arithmetic of the program is noted: rows of two builds are not compared. Another
/// build of a library in one environment is refused, because nothing but the digest tells its rows apart.
fn check_materials(plan: &Plan, candidates: &Candidates, notes: &mut Vec<String>) -> Result<(), MergeError> {
    let mut shared: Shared<&Path> = Shared::default();
    let run = plan.configurations.iter().filter_map(|one| candidates.get(one.id.0.as_str()));
    let mut arithmetics = BTreeSet::new();
    for CandidateRow { dir, row, .. } in run.flat_map(BTreeMap::values).flatten() {
        for (material, other, of_other) in shared.add(row, dir) {
            if material == Material::Arithmetic {
                arithmetics.insert(row.backend);
                continue;
            }
            if material != Material::Weights {
                return Err(MergeError::Material(Box::new(Contradiction::new(
                    material,
                    (dir, row),
                    (of_other, other),
                ))));
            }
            let label = |row| material.label(row).unwrap_or_default();
            let (path, other_path) = (dir.to_path_buf(), of_other.to_owned());
            let (model, found, expected) = (row.model.clone(), label(row), label(other));
            return Err(MergeError::Weights { path, model, found, other: other_path, expected });
        }
    }
    notes.extend(arithmetics.into_iter().map(arithmetic_note));
    Ok(())
}

/// The environments of the rows. A property that does not enter the id, like a memory limit, may differ between folders:
/// the environment with the smallest text is then kept.
fn joined_environments(inputs: &[Input], rows: &[ResultRow]) -> BTreeMap<String, Environment> {
    let used: HashSet<&str> = rows.iter().filter_map(|row| row.environment.as_deref()).collect();
    let text = |environment: &Environment| serde_json::to_string(environment).unwrap_or_default();
    let mut joined: BTreeMap<String, Environment> = BTreeMap::new();
    let all = inputs.iter().flat_map(|input| &input.data.environments);
    for (id, environment) in all.filter(|(id, _)| used.contains(id.as_str())) {
        match joined.get(id) {
            Some(known) if text(known) <= text(environment) => {}
            _ => drop(joined.insert(id.clone(), environment.clone())),
        }
    }
    joined
}
