//! The load that other processes put on the CPUs this process may use, from the kernel's accounting (proc(5)). Unknown
//! on systems without /proc. For a process bound to some CPUs (`taskset`, a Slurm job), only those CPUs count.

use std::fs;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity};

/// USER_HZ, the unit of /proc, whatever the kernel's own clock: 100 on x86-64 and ARM (asm-generic/param.h).
const TICKS_PER_S: f64 = 100.0;

/// Shorter periods, in ticks, are too coarse to judge.
const LEAST_TICKS: f64 = 10.0;

/// Ticks for which this process's CPUs were busy up to some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Busy {
    /// All work, including the time that the hypervisor gave to other machines.
    all: u64,
    /// Work of this process, over all its threads.
    own: u64,
}

/// The start of a period.
#[derive(Debug, Clone, Copy)]
pub struct Neighbours {
    start: Instant,
    busy: Option<Busy>,
}

impl Neighbours {
    /// Starts a period now.
    pub fn now() -> Self {
        Neighbours { start: Instant::now(), busy: busy() }
    }

    /// Mean number of CPUs that other processes kept busy since the start. `None` for a short period, and where the
    /// kernel does not report it.
    pub fn foreign_cpus(self) -> Option<f64> {
        let ticks = self.start.elapsed().as_secs_f64() * TICKS_PER_S;
        foreign_cpus(self.busy?, busy()?, ticks)
    }
}

fn foreign_cpus(before: Busy, after: Busy, ticks: f64) -> Option<f64> {
    if ticks < LEAST_TICKS {
        return None;
    }
    let (all, own) = (after.all.checked_sub(before.all)?, after.own.checked_sub(before.own)?);
    // Each of the two accounts is rounded to ticks separately.
    Some(all.saturating_sub(own) as f64 / ticks)
}

fn busy() -> Option<Busy> {
    let all = busy_of(&sched_getaffinity(None).ok()?, &fs::read_to_string("/proc/stat").ok()?)?;
    let own = busy_of_one(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(Busy { all, own })
}

/// Sums the lines `cpu3 user nice system idle iowait irq softirq steal ...` of the CPUs in a set. Guest time is part of
/// user time. `None` when the set matches no line.
fn busy_of(cpus: &CpuSet, stat: &str) -> Option<u64> {
    let lines = stat.lines().filter_map(|line| {
        let (cpu, ticks) = line.strip_prefix("cpu")?.split_once(' ')?;
        let cpu: usize = cpu.parse().ok()?;
        (cpu < CpuSet::MAX_CPU && cpus.is_set(cpu)).then(|| busy_of_line(ticks))
    });
    lines.reduce(|sum, line| Some(sum? + line?)).flatten()
}

fn busy_of_line(ticks: &str) -> Option<u64> {
    let ticks: Vec<u64> = ticks.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, rest @ ..] = ticks.as_slice() else { return None };
    Some(user + nice + system + rest.iter().sum::<u64>())
}

/// Sums fields 14 and 15, user and system time. The bracketed name before them may hold any character.
fn busy_of_one(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_accounts_are_read() {
        let stat =
            "cpu  99 9 9 9 9 9 9 9 9 9\ncpu0 1 1 1 1 1\ncpu1 10 2 30 400 50 6 7 8 9 0\ncpu2 5 5 5 5 5\nintr 5 5\n";
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|&cpu| set.set(cpu));
            set
        };
        assert_eq!(busy_of(&set(&[1]), stat), Some(10 + 2 + 30 + 6 + 7 + 8));
        assert_eq!(busy_of(&set(&[0, 2, 7]), stat), Some(3 + 15));
        assert_eq!(busy_of(&set(&[7]), stat), None);
        assert_eq!(busy_of(&set(&[0]), "cpu0 1 x 1 1 1\n"), None);
        assert_eq!(busy_of(&set(&[0]), "cpu0 1 1 1 1\n"), None);
        let stat = "42 (a) b c) S 1 42 42 0 -1 4194304 100 0 0 0 250 30 0 0 20 0 1 0 100";
        assert_eq!(busy_of_one(stat), Some(280));
        assert_eq!(busy_of_one("42"), None);
    }

    #[test]
    fn own_work_is_nobody_elses() {
        let before = Busy { all: 1000, own: 100 };
        assert_eq!(foreign_cpus(before, Busy { all: 1200, own: 300 }, 100.0), Some(0.0));
        assert_eq!(foreign_cpus(before, Busy { all: 1350, own: 300 }, 100.0), Some(1.5));
        assert_eq!(foreign_cpus(before, Busy { all: 1199, own: 300 }, 100.0), Some(0.0), "rounding is no work");
        assert_eq!(foreign_cpus(before, Busy { all: 1200, own: 100 }, 9.0), None, "too short");
        assert_eq!(foreign_cpus(before, Busy { all: 1, own: 100 }, 100.0), None, "the accounts were reset");
    }

    #[test]
    fn a_busy_neighbour_is_seen() {
        if busy().is_none() {
            crate::skip::skip("this system has no /proc/stat");
            return;
        }
        let mut neighbour = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let period = Neighbours::now();
        std::thread::sleep(std::time::Duration::from_millis(600));
        let seen = period.foreign_cpus();
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
        assert!(seen.is_some_and(|cpus| cpus > 0.3), "{seen:?}");
    }
}
