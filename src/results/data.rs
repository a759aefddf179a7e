//! What a report is made from: the plan, the results and the environments of one run folder, and ways to group them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::consistency;
use crate::engine::{BackendKind, Target};
use crate::files::{JsonError, read_json};
use crate::graph::Preset;
use crate::plan::{Configuration, PLAN_FILE, Plan};
use crate::provenance::{Environment, environment};
use crate::record::Status;
use crate::results::ResultsError;
use crate::store::schema::ResultRow;
use crate::store::{StoreError, derive, journal, parquet};

/// A run folder, read.
#[derive(Debug, Clone)]
pub struct Data {
    /// The expanded manifest.
    pub plan: Plan,
    /// A row per planned configuration, in plan order; in merged results a row per configuration and environment.
    pub rows: Vec<ResultRow>,
    /// Environments by id.
    pub environments: BTreeMap<String, Environment>,
}

/// A backend, the GPU generation it built for and a precision policy: what a curve or a column shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Series {
    /// Backend.
    pub backend: BackendKind,
    /// What its engines are built for, where the manifest says.
    pub target: Option<Target>,
    /// Policy name.
    pub precision: String,
}

impl Series {
    /// `cuda hybrid`, `tensorrt sm80 hybrid`
    pub fn label(&self) -> String {
        format!("{} {}", self.builder(), self.precision)
    }

    /// `cuda`, `tensorrt sm80`
    pub fn builder(&self) -> String {
        match self.target {
            Some(target) => format!("{} {target}", self.backend),
            None => self.backend.to_string(),
        }
    }

    /// The FP32 series of the same backend and target.
    pub fn fp32(&self) -> Series {
        Series { precision: Preset::Fp32.name().to_owned(), ..self.clone() }
    }
}

/// Rows of one model reading one input.
#[derive(Debug)]
pub struct Group<'a> {
    /// Model name.
    pub model: &'a str,
    /// Input name.
    pub input: &'a str,
    /// Position among the groups; it makes file names unique for any names.
    pub index: usize,
    /// Its rows, in plan order.
    pub rows: Vec<&'a ResultRow>,
}

impl Data {
    /// Reads `dir`. Where there is a journal, the rows are derived from it, so that outdated tables have no effect. A
    /// published folder without a journal is read from its tables. Tables that were changed since they were written are
    /// refused: each must follow from the journal or, without one, the results from the samples.
    ///
    /// # Errors
    /// [`ResultsError`] naming the file that is absent or damaged; a damaged table is refused even where there is a
    /// journal.
    pub fn read(dir: &Path) -> Result<Data, ResultsError> {
        let path = dir.join(PLAN_FILE);
        let plan: Plan = read_json(&path).map_err(|error| match error {
            error if error.is_absent() => ResultsError::NoRun { path: dir.to_owned() },
            JsonError::File(error) => error.into(),
            JsonError::Document(source) => ResultsError::Plan { path, source },
        })?;
        let rows = rows(dir, &plan)?;
        let environments = Environment::read_all(dir)?;
        match rows.iter().filter_map(|row| row.environment.as_ref()).find(|id| !environments.contains_key(*id)) {
            Some(id) => {
                Err(ResultsError::NoEnvironment { path: dir.join(environment::FOLDER).join(format!("{id}.json")) })
            }
            None => Ok(Data { plan, rows, environments }),
        }
    }

    /// Rows by model and input, in plan order.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for row in &self.rows {
            match groups.iter_mut().find(|group| group.model == row.model && group.input == row.input) {
                Some(group) => group.rows.push(row),
                None => {
                    let index = groups.len();
                    groups.push(Group { model: &row.model, input: &row.input, index, rows: vec![row] });
                }
            }
        }
        groups
    }

    /// Names of the GPUs, each once.
    pub fn gpus(&self) -> Vec<String> {
        distinct(self.environments.values().flat_map(|found| &found.gpus).map(|gpu| gpu.name.clone()))
    }

    /// Rows that were measured.
    pub fn measured(&self) -> impl Iterator<Item = &ResultRow> {
        self.rows.iter().filter(|row| row.status == Status::Ok)
    }

    /// Digests of input files that the manifest pins, by configuration. A row is measured of no other file.
    pub fn pinned_inputs(&self) -> HashMap<String, String> {
        let pin = |one: &Configuration| Some((one.id.0.clone(), one.input_source.pin()?.to_owned()));
        self.plan.configurations.iter().filter_map(pin).collect()
    }

    /// Number of rows with this status.
    pub fn count(&self, status: Status) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }
}

/// Whether the rows are the plan's configurations in its order; several rows of one configuration must each have their
/// own environment.
fn is_of(plan: &Plan, rows: &[ResultRow]) -> bool {
    let same = |a: &&[ResultRow], b: &Configuration| a[0].id == b.id.0 && distinct_environments(a);
    let groups: Vec<&[ResultRow]> = rows.chunk_by(|a, b| a.id == b.id).collect();
    groups.len() == plan.configurations.len() && groups.iter().zip(&plan.configurations).all(|(a, b)| same(a, b))
}

fn distinct_environments(rows: &[ResultRow]) -> bool {
    let mut seen = HashSet::new();
    rows.len() == 1 || rows.iter().all(|row| row.environment.as_ref().is_some_and(|id| seen.insert(id)))
}

fn rows(dir: &Path, plan: &Plan) -> Result<Vec<ResultRow>, ResultsError> {
    let (results, samples) = (parquet::read_results(dir), parquet::read_samples(dir));
    if !dir.join(journal::JOURNAL_FILE).exists() {
        let rows = results?;
        if !is_of(plan, &rows) {
            return Err(ResultsError::OtherPlan { path: dir.to_owned() });
        }
        consistency::tables_agree(dir, plan, &rows, &samples?)?;
        return Ok(rows);
    }
    let (results, samples) = (if_there(results)?, if_there(samples)?);
    let records = journal::read(dir).map_err(StoreError::Journal)?.records;
    let rows = derive::derive(plan, &records);
    if let Some(stored) = results {
        consistency::results_follow(dir, plan, consistency::Measured { records: &records, rows: &rows }, &stored)?;
    }
    if let Some(samples) = samples {
        consistency::samples_follow(dir, &records, &samples)?;
    }
    Ok(rows)
}

/// A table that need not be there yet: a run writes them when it ends.
fn if_there<T>(table: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match table {
        Err(StoreError::Absent { .. }) => Ok(None),
        other => other.map(Some),
    }
}

impl<'a> Group<'a> {
    /// `bert-base, random input`
    pub fn label(&self) -> String {
        format!("{}, {} input", self.model, self.input)
    }

    /// Part of file names: `1-bert-base-random`.
    pub fn slug(&self) -> String {
        slug(&format!("{} {} {}", self.index + 1, self.model, self.input))
    }

    /// Backends, in plan order.
    pub fn backends(&self) -> Vec<BackendKind> {
        distinct(self.rows.iter().map(|row| row.backend))
    }

    /// Series, in plan order.
    pub fn series(&self) -> Vec<Series> {
        distinct(self.rows.iter().map(|row| series(row)))
    }

    /// Series with more to show than engines that were built and not executed, in plan order.
    pub fn executed_series(&self) -> Vec<Series> {
        distinct(self.rows.iter().filter(|row| row.status != Status::Built).map(|row| series(row)))
    }

    /// Batch size and sequence length pairs, ascending.
    pub fn shapes(&self) -> Vec<(u64, u64)> {
        let mut shapes = distinct(self.rows.iter().map(|row| shape(row)));
        shapes.sort_unstable();
        shapes
    }

    /// The row of a series and a shape.
    pub fn row(&self, wanted: &Series, at: (u64, u64)) -> Option<&'a ResultRow> {
        self.rows.iter().copied().find(|row| series(row) == *wanted && shape(row) == at)
    }

    /// The FP32 row that CPU speed-ups are quoted against: ONNX Runtime's where this group has any, else the reference
    /// backend's.
    pub fn cpu_baseline(&self) -> Option<Series> {
        [BackendKind::OnnxRuntime, BackendKind::Reference]
            .into_iter()
            .map(|backend| Series { backend, target: None, precision: Preset::Fp32.name().to_owned() })
            .find(|wanted| self.rows.iter().any(|row| series(row) == *wanted && timed(row)))
    }
}

/// Whether a row's time may be compared: measured, and not emulated.
pub fn timed(row: &ResultRow) -> bool {
    row.status == Status::Ok && row.latency_p50_ms.is_some() && row.emulated == Some(false)
}

/// The series of a row.
pub fn series(row: &ResultRow) -> Series {
    let target = row.target.filter(|target| *target != Target::Current);
    Series { backend: row.backend, target, precision: row.precision.clone() }
}

/// Batch size and sequence length of a row.
pub fn shape(row: &ResultRow) -> (u64, u64) {
    (row.batch_size, row.sequence_length)
}

/// Values in order of first appearance.
pub fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}

/// The sum of counts, saturating: a forged table may hold any count.
pub fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Lower-case letters, digits and hyphens only: safe in file names, labels and URLs. Long texts are cut: a file's name has
/// at most 255 bytes, two names of a manifest and what stands around them far fewer.
pub fn slug(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut out = String::new();
    for c in text.chars() {
        if out.len() == LONGEST {
            break;
        }
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}
