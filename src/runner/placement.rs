//! The GPUs of a host that share a run, each with its own part of the host's processors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

use crate::processors::{CpuList, node_cpus, siblings};
use crate::provenance::gpu::{Slot, slots};

/// Fake GPUs for tests of the runner, comma-separated, each `UUID@NODE`. The backend `mock` then counts as theirs.
pub const GPUS_VARIABLE: &str = "MIXPREC_MOCK_GPUS";

/// The GPUs that a person asks for, by the driver's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuChoice {
    /// Every one.
    All,
    /// These.
    Some(BTreeSet<usize>),
}

impl FromStr for GpuChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(GpuChoice::All);
        }
        let chosen: Option<Vec<usize>> = text.split(',').map(|number| number.parse().ok()).collect();
        let set: BTreeSet<usize> = chosen.iter().flatten().copied().collect();
        let twice = chosen.as_ref().is_some_and(|all| all.len() != set.len());
        match chosen {
            Some(_) if !twice => Ok(GpuChoice::Some(set)),
            _ => Err(format!("`{text}` is no list of GPUs; write all, or different numbers like 0,1")),
        }
    }
}

/// A GPU and the processors of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuShare {
    /// The driver's number.
    pub index: usize,
    /// Unique id, by which a worker sees this GPU alone.
    pub uuid: String,
    /// Processors of its own, of the GPU's memory node where the host has any left there.
    pub cpus: CpuList,
}

/// Why a run cannot be spread over GPUs.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum PlacementError {
    /// There is none.
    #[error(
        "--gpus: NVIDIA's management library lists no GPU here; `mixprec doctor` says why. Leave --gpus out to run without"
    )]
    NoGpu,
    /// A number without a GPU.
    #[error("--gpus {asked}: there is no such GPU; this host has {count}, numbered from 0")]
    Number { asked: usize, count: usize },
    /// Fewer processors than GPUs.
    #[error("--gpus: {gpus} GPUs share {cpus} processor(s); allow this process more, or name fewer GPUs")]
    Processors { gpus: usize, cpus: usize },
    /// A GPU that is split.
    #[error(
        "--gpus: GPU {index} is partitioned (MIG), and a worker cannot be given an instance of it; run it by itself"
    )]
    Mig { index: usize },
    /// Fakes that are none.
    #[error("{GPUS_VARIABLE} holds `{text}`, which is no list of UUID@NODE")]
    Fake { text: String },
}

/// The chosen GPUs, each with its share of the processors that this process may use.
///
/// # Errors
/// [`PlacementError`] where there is no such GPU, or no processor for one.
pub fn shares(choice: &GpuChoice) -> Result<Vec<GpuShare>, PlacementError> {
    let slots = match std::env::var(GPUS_VARIABLE) {
        Ok(text) => fakes(&text)?,
        Err(_) => visible(slots(), std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()),
    };
    divide(choice, &slots, &CpuList::allowed(), Path::new("/"))
}

/// Those of the GPUs that CUDA's own variable leaves to this process, as Slurm sets it: numbers, or beginnings of unique ids.
fn visible(slots: Vec<Slot>, variable: Option<&str>) -> Vec<Slot> {
    let Some(variable) = variable.filter(|variable| !variable.is_empty()) else { return slots };
    let named = |name: &str| match name.trim().parse::<usize>() {
        Ok(number) => slots.get(number).cloned(),
        Err(_) => slots.iter().find(|slot| slot.uuid.starts_with(name.trim())).cloned(),
    };
    // As CUDA does: what follows a name without a GPU is not seen.
    variable.split(',').map_while(named).collect()
}

/// Whether the fake GPUs stand in for real ones.
pub(super) fn are_fakes() -> bool {
    std::env::var_os(GPUS_VARIABLE).is_some()
}

fn fakes(text: &str) -> Result<Vec<Slot>, PlacementError> {
    let fake = |one: &str| {
        let (uuid, node) = one.split_once('@')?;
        Some(Slot { uuid: uuid.to_owned(), node: Some(node.parse().ok()?), mig: false })
    };
    let all: Option<Vec<Slot>> = text.split(',').map(fake).collect();
    all.ok_or_else(|| PlacementError::Fake { text: text.to_owned() })
}

/// Divides the allowed processors: those of a memory node among its GPUs; where a node has too few, all among all.
fn divide(choice: &GpuChoice, slots: &[Slot], allowed: &CpuList, root: &Path) -> Result<Vec<GpuShare>, PlacementError> {
    let chosen: Vec<usize> = match choice {
        GpuChoice::All => (0..slots.len()).collect(),
        GpuChoice::Some(numbers) => numbers.iter().copied().collect(),
    };
    if slots.is_empty() {
        return Err(PlacementError::NoGpu);
    }
    if let Some(&asked) = chosen.iter().find(|&&index| index >= slots.len()) {
        return Err(PlacementError::Number { asked, count: slots.len() });
    }
    if let Some(&index) = chosen.iter().find(|&&index| slots[index].mig) {
        return Err(PlacementError::Mig { index });
    }
    if allowed.0.len() < chosen.len() {
        return Err(PlacementError::Processors { gpus: chosen.len(), cpus: allowed.0.len() });
    }
    let mut by_node: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    chosen.iter().for_each(|&index| by_node.entry(slots[index].node).or_default().push(index));
    let of_node = |node: &Option<usize>| match node.and_then(|node| node_cpus(root, node)) {
        Some(CpuList(of_node)) => CpuList(allowed.0.iter().copied().filter(|cpu| of_node.contains(cpu)).collect()),
        None => allowed.clone(),
    };
    let groups: Vec<(Vec<usize>, CpuList)> = by_node.iter().map(|(node, of)| (of.clone(), of_node(node))).collect();
    let total: BTreeSet<usize> = groups.iter().flat_map(|(_, cpus)| cpus.0.iter().copied()).collect();
    let disjoint = groups.iter().map(|(_, cpus)| cpus.0.len()).sum::<usize>() == total.len();
    let groups = match disjoint && groups.iter().all(|(gpus, cpus)| cpus.0.len() >= gpus.len()) {
        true => groups,
        false => vec![(chosen, allowed.clone())],
    };
    let mut shares: Vec<GpuShare> = Vec::new();
    for (gpus, cpus) in groups {
        let cores = by_core(root, &cpus);
        for (position, &index) in gpus.iter().enumerate() {
            let part = |of: usize| cores.len() * of / gpus.len();
            let mut own = cores[part(position)..part(position + 1)].to_vec();
            own.sort_unstable();
            shares.push(GpuShare { index, uuid: slots[index].uuid.clone(), cpus: CpuList(own) });
        }
    }
    shares.sort_by_key(|share| share.index);
    Ok(shares)
}

/// The processors in an order in which those of one core are neighbours.
fn by_core(root: &Path, cpus: &CpuList) -> Vec<usize> {
    let first_sibling = |cpu: usize| siblings(root, cpu).0.first().copied().unwrap_or(cpu);
    let mut ordered = cpus.0.clone();
    ordered.sort_by_key(|&cpu| (first_sibling(cpu), cpu));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(uuid: &str, node: usize) -> Slot {
        Slot { uuid: uuid.to_owned(), node: Some(node), mig: false }
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join("sys/devices/system").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A host of two nodes with four processors each, two threads a core.
    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "node/node0/cpulist", "0-1,4-5\n");
        write(root.path(), "node/node1/cpulist", "2-3,6-7\n");
        for cpu in 0..8 {
            let siblings = format!("{},{}\n", cpu % 4, cpu % 4 + 4);
            write(root.path(), &format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &siblings);
        }
        root
    }

    fn cpus(choice: &str, slots: &[Slot], allowed: &str) -> Vec<String> {
        let shares = divide(&choice.parse().unwrap(), slots, &allowed.parse().unwrap(), host().path()).unwrap();
        shares.iter().map(|share| format!("{}: {}", share.uuid, share.cpus)).collect()
    }

    #[test]
    fn a_gpu_has_processors_of_its_node_and_whole_cores() {
        let slots = [slot("a", 1), slot("b", 0), slot("c", 1)];
        assert_eq!(cpus("all", &slots, "0-7"), ["a: 2,6", "b: 0,1,4,5", "c: 3,7"]);
        assert_eq!(cpus("0,1", &slots, "0-7"), ["a: 2,3,6,7", "b: 0,1,4,5"]);
        assert_eq!(cpus("0,1", &slots, "0-2"), ["a: 2", "b: 0,1"]);
    }

    #[test]
    fn where_a_node_has_no_processor_left_all_are_divided() {
        assert_eq!(cpus("all", &[slot("a", 1), slot("b", 0)], "0-1"), ["a: 0", "b: 1"]);
        let unknown = [slot("a", 7), slot("b", 0)];
        assert_eq!(cpus("all", &unknown, "0-7"), ["a: 0,1,4,5", "b: 2,3,6,7"]);
    }

    #[test]
    fn gpus_that_cuda_does_not_see_are_left_alone() {
        let all = vec![slot("GPU-a", 0), slot("GPU-b", 0), slot("GPU-c", 1)];
        let seen = |variable| visible(all.clone(), variable).into_iter().map(|slot| slot.uuid).collect::<Vec<_>>();
        assert_eq!(seen(None).len(), 3);
        assert_eq!(seen(Some("2,0")), ["GPU-c", "GPU-a"]);
        assert_eq!(seen(Some("GPU-b")), ["GPU-b"]);
        assert_eq!(seen(Some("1,-1,0")), ["GPU-b"]);
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let refused = |choice: &str, slots: &[Slot], allowed: &str| {
            divide(&choice.parse().unwrap(), slots, &allowed.parse().unwrap(), host().path()).unwrap_err().to_string()
        };
        let two = [slot("a", 0), slot("b", 1)];
        assert!(refused("all", &[], "0-7").contains("no GPU"));
        assert!(refused("0,2", &two, "0-7").contains("--gpus 2: there is no such GPU; this host has 2"));
        assert!(refused("all", &two, "3").contains("2 GPUs share 1 processor"));
        assert!(refused("all", &[Slot { mig: true, ..slot("a", 0) }], "0-7").contains("MIG"));
        for wrong in ["", "a", "0,0", "0,", "-1"] {
            assert!(wrong.parse::<GpuChoice>().is_err(), "{wrong}");
        }
    }
}
