//! Results of several machines, separated: times of two machines are never compared by accident.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::data::{Data, distinct};
use crate::provenance::Environment;
use crate::store::derive;
use crate::store::schema::ResultRow;

/// Digits of an environment's id that tell two machines of one name apart.
const ID_DIGITS: usize = 8;

/// One machine's part of the results.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its GPUs, or its processor where it has none; unique among the machines of a report.
    pub label: String,
    /// The whole plan with the rows of this machine; what it has not run is pending.
    pub data: Data,
}

impl Machine {
    /// Names of its GPUs, each once.
    pub fn gpus(&self) -> Vec<String> {
        self.data.gpus()
    }

    /// Their drivers, each once.
    pub fn drivers(&self) -> Vec<String> {
        distinct(self.data.environments.values().flat_map(|found| &found.gpus).filter_map(|gpu| gpu.driver.clone()))
    }
}

/// Machines the rows are from, those with GPUs first, then by the number of rows: at least one.
///
/// Environments with the same GPUs and driver (or, without GPUs, the same processor) are one machine if no
/// configuration was run in two of them: these are shards on equal hosts, or a run in several sittings. If one was,
/// environments that list the same GPUs by serial number are one machine: a host in several sittings. If such a host
/// has run a configuration twice, each environment is a machine.
pub fn machines(data: &Data) -> Vec<Machine> {
    let mut alike: BTreeMap<Hardware, BTreeSet<&str>> = BTreeMap::new();
    for id in data.rows.iter().filter_map(|row| row.environment.as_deref()) {
        alike.entry(hardware(data.environments.get(id))).or_default().insert(id);
    }
    let sets: Vec<(Hardware, BTreeSet<&str>)> = alike
        .into_iter()
        .flat_map(|(hardware, ids)| split(data, ids).into_iter().map(move |ids| (hardware.clone(), ids)))
        .collect();
    if sets.len() <= 1 {
        let label = sets.into_iter().next().map(|(hardware, _)| hardware.label()).unwrap_or_default();
        return vec![Machine { label, data: data.clone() }];
    }
    let labels: Vec<String> = sets.iter().map(|(hardware, _)| hardware.label()).collect();
    let mut machines: Vec<Machine> = sets
        .iter()
        .zip(&labels)
        .map(|((_, ids), label)| {
            let unique = labels.iter().filter(|other| *other == label).count() == 1;
            let first: String = ids.first().map(|id| id.chars().take(ID_DIGITS).collect()).unwrap_or_default();
            let label = if unique { label.clone() } else { format!("{label} (environment {first})") };
            Machine { label, data: part(data, ids) }
        })
        .collect();
    machines.sort_by_cached_key(|machine| {
        (machine.gpus().is_empty(), Reverse(machine.data.measured().count()), machine.label.clone())
    });
    machines
}

/// What makes two environments the same kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Hardware {
    /// Names and drivers.
    Gpus(Vec<(String, Option<String>)>),
    /// Model or architecture.
    Processor(String),
}

impl Hardware {
    /// `NVIDIA H200`, `Intel Xeon`
    fn label(&self) -> String {
        match self {
            Hardware::Gpus(gpus) => distinct(gpus.iter().map(|(name, _)| name.clone())).join(", "),
            Hardware::Processor(name) => name.clone(),
        }
    }
}

fn hardware(environment: Option<&Environment>) -> Hardware {
    let Some(environment) = environment else { return Hardware::Processor("unknown machine".to_owned()) };
    let gpus: BTreeSet<_> = environment.gpus.iter().map(|gpu| (gpu.name.clone(), gpu.driver.clone())).collect();
    if !gpus.is_empty() {
        return Hardware::Gpus(gpus.into_iter().collect());
    }
    let cpu = &environment.machine.cpu;
    Hardware::Processor(cpu.model.clone().unwrap_or_else(|| cpu.architecture.clone()))
}

/// Environments of one kind of hardware, separated where they have run a configuration twice: by host, or one by one.
fn split<'a>(data: &Data, ids: BTreeSet<&'a str>) -> Vec<BTreeSet<&'a str>> {
    if !overlap(data, &ids) {
        return vec![ids];
    }
    let serials = |id: &str| -> Option<BTreeSet<&str>> {
        let gpus = &data.environments.get(id)?.gpus;
        gpus.iter().map(|gpu| gpu.uuid.as_deref()).collect::<Option<_>>().filter(|all: &BTreeSet<&str>| !all.is_empty())
    };
    let mut hosts: BTreeMap<BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
    for id in ids {
        hosts.entry(serials(id).unwrap_or_else(|| BTreeSet::from([id]))).or_default().insert(id);
    }
    let apart = |ids: BTreeSet<&'a str>| -> Vec<BTreeSet<&'a str>> {
        match overlap(data, &ids) {
            false => vec![ids],
            true => ids.into_iter().map(|id| BTreeSet::from([id])).collect(),
        }
    };
    hosts.into_values().flat_map(apart).collect()
}

/// Whether a configuration was run in two of these environments.
fn overlap(data: &Data, ids: &BTreeSet<&str>) -> bool {
    let mut seen = HashSet::new();
    let within = |row: &&ResultRow| row.environment.as_deref().is_some_and(|id| ids.contains(id));
    !data.rows.iter().filter(within).all(|row| seen.insert(&row.id))
}

fn part(data: &Data, ids: &BTreeSet<&str>) -> Data {
    let within = |row: &&ResultRow| row.environment.as_deref().is_some_and(|id| ids.contains(id));
    let rows: HashMap<&str, &ResultRow> = data.rows.iter().filter(within).map(|row| (row.id.as_str(), row)).collect();
    let row = |one| rows.get(one).map(|&row| row.clone());
    let configurations = data.plan.configurations.iter();
    Data {
        plan: data.plan.clone(),
        rows: configurations.map(|one| row(one.id.0.as_str()).unwrap_or_else(|| derive::pending(one))).collect(),
        environments: data
            .environments
            .iter()
            .filter(|(id, _)| ids.contains(id.as_str()))
            .map(|(id, environment)| (id.clone(), environment.clone()))
            .collect(),
    }
}
