//! The host's processors: which this process may use, and which share a core or a memory node.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors of this host, by the kernel's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuList(pub Vec<usize>);

impl fmt::Display for CpuList {
    /// `0,1,8`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for CpuList {
    type Err = String;

    /// Of the kernel's form: `0-3,8`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no list of processors");
        let mut all = Vec::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = first
                .parse()
                .ok()
                .zip(last.parse().ok())
                .filter(|(_, last)| *last < CpuSet::MAX_CPU)
                .ok_or_else(wrong)?;
            all.extend(first..=last);
        }
        Ok(CpuList(all))
    }
}

impl CpuList {
    /// Those that the calling thread may use: the mask that `taskset`, a cpuset or a job left to it.
    pub fn allowed() -> CpuList {
        let set = sched_getaffinity(None).unwrap_or_default();
        CpuList((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
    }

    /// Keeps the calling thread, and those that it starts from now on, on these processors. The kernel gives it memory of their
    /// node first.
    ///
    /// # Errors
    /// The kernel's, where it allows none of them.
    pub fn keep_this_thread(&self) -> std::io::Result<()> {
        let mut set = CpuSet::new();
        self.0.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
        Ok(sched_setaffinity(None, &set)?)
    }

    /// In the order in which threads fill them: one of every core before the second of any, those of one memory node before those
    /// of the next. `root` is the folder of `sys`.
    pub fn by_core_and_node(&self, root: &Path) -> CpuList {
        let nodes: Vec<CpuList> = (0..).map_while(|node| node_cpus(root, node)).collect();
        let node = |cpu: usize| nodes.iter().position(|of_node| of_node.0.contains(&cpu));
        let place =
            |cpu: usize| siblings(root, cpu).0.iter().filter(|&&other| other < cpu && self.0.contains(&other)).count();
        let mut ordered = self.0.clone();
        ordered.sort_by_cached_key(|&cpu| (place(cpu), node(cpu), cpu));
        CpuList(ordered)
    }
}

/// The processors of a memory node; `None` where the kernel does not say.
pub fn node_cpus(root: &Path, node: usize) -> Option<CpuList> {
    read(&root.join(format!("sys/devices/system/node/node{node}/cpulist")))
}

/// The processors of a core, from one of them; this one alone where the kernel does not say.
pub fn siblings(root: &Path, cpu: usize) -> CpuList {
    let listed = read(&root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")));
    listed.filter(|all| all.0.contains(&cpu)).unwrap_or_else(|| CpuList(vec![cpu]))
}

fn read(path: &Path) -> Option<CpuList> {
    fs::read_to_string(path).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host whose nodes and cores have these processors.
    fn host(nodes: &[&str], cores: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let system = root.path().join("sys/devices/system");
        for (index, cpus) in nodes.iter().enumerate() {
            let node = system.join(format!("node/node{index}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("cpulist"), format!("{cpus}\n")).unwrap();
        }
        for core in cores {
            for cpu in core.parse::<CpuList>().unwrap().0 {
                let topology = system.join(format!("cpu/cpu{cpu}/topology"));
                fs::create_dir_all(&topology).unwrap();
                fs::write(topology.join("thread_siblings_list"), format!("{core}\n")).unwrap();
            }
        }
        root
    }

    fn ordered(host: &tempfile::TempDir, allowed: &str) -> String {
        allowed.parse::<CpuList>().unwrap().by_core_and_node(host.path()).to_string()
    }

    #[test]
    fn every_core_has_a_thread_before_any_has_two() {
        let side_by_side = host(&["0-5"], &["0-1", "2-3", "4-5"]);
        assert_eq!(ordered(&side_by_side, "0-5"), "0,2,4,1,3,5");
        let by_halves = host(&["0-7"], &["0,4", "1,5", "2,6", "3,7"]);
        assert_eq!(ordered(&by_halves, "0-7"), "0,1,2,3,4,5,6,7");
        // Where the first of two is not allowed, the second is its core.
        assert_eq!(ordered(&side_by_side, "1-3"), "1,2,3");
        assert_eq!(ordered(&by_halves, "4-7,1"), "1,4,6,7,5");
    }

    #[test]
    fn a_node_is_full_before_the_next_begins() {
        let even_and_odd = host(&["0,2,4,6", "1,3,5,7"], &["0,4", "2,6", "1,5", "3,7"]);
        assert_eq!(ordered(&even_and_odd, "0-7"), "0,2,1,3,4,6,5,7");
        assert_eq!(ordered(&even_and_odd, "3-6"), "4,6,3,5");
        // A cpuset may leave one node alone, and a container may hide the nodes.
        assert_eq!(ordered(&even_and_odd, "1,5"), "1,5");
        assert_eq!(ordered(&host(&[], &[]), "9,2"), "2,9");
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        let list = |text: &str| text.parse::<CpuList>().map(|list| list.0);
        assert_eq!(list("4-6,9\n"), Ok(vec![4, 5, 6, 9]));
        assert_eq!(list("0,16"), Ok(vec![0, 16]));
        assert_eq!(list(""), Ok(vec![]));
        for wrong in ["a", "1-", "-1", "0-99999999999"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }

    /// A thread's mask is its own: what one keeps to, the others of the process do not.
    #[test]
    fn a_thread_that_keeps_to_a_processor_runs_on_no_other() {
        let before = CpuList::allowed();
        let last = CpuList(before.0.last().copied().into_iter().collect());
        let kept = std::thread::scope(|scope| {
            let narrow = || {
                last.keep_this_thread().unwrap();
                CpuList::allowed()
            };
            scope.spawn(narrow).join().unwrap()
        });
        assert_eq!((kept, CpuList::allowed()), (last, before));
    }
}
