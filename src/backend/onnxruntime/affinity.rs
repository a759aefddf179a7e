//! Which processor each thread of a session stays on.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};

/// The configuration key of the library, `session.intra_op_thread_affinities`: a processor for each thread but the caller's, by
/// numbers from 1, separated by semicolons (onnxruntime_session_options_config_keys.h).
pub(super) const KEY: &str = "session.intra_op_thread_affinities";

/// The value of [`KEY`] for so many threads: a processor each, of those that this process may use, one of every core before the
/// second of any. The first is left to the caller's thread. `None` where there are fewer processors than threads, or one thread.
pub(super) fn of_threads(threads: usize) -> Option<String> {
    let set = sched_getaffinity(None).ok()?;
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    let ordered = cores_first(&allowed, siblings);
    let others = ordered.get(1..threads).filter(|others| !others.is_empty())?;
    Some(others.iter().map(|cpu| (cpu + 1).to_string()).collect::<Vec<_>>().join(";"))
}

/// The processors of one core, by the kernel's list (`0,16` or `0-1`); a processor is its own core where there is none.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let listed = fs::read_to_string(path).ok().and_then(|text| parse(text.trim()));
    listed.filter(|all| all.contains(&cpu)).unwrap_or_else(|| vec![cpu])
}

fn parse(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(all)
}

/// By the place among the siblings that are allowed, then by number.
fn cores_first(allowed: &[usize], siblings: impl Fn(usize) -> Vec<usize>) -> Vec<usize> {
    let mut ordered = allowed.to_vec();
    let place = |cpu: usize| siblings(cpu).iter().filter(|&&other| other < cpu && allowed.contains(&other)).count();
    ordered.sort_by_key(|&cpu| (place(cpu), cpu));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_has_a_thread_before_any_has_two() {
        // Two processors a core, numbered side by side, and numbered by halves.
        let side = |cpu: usize| vec![cpu & !1, cpu | 1];
        assert_eq!(cores_first(&[0, 1, 2, 3, 4, 5], side), [0, 2, 4, 1, 3, 5]);
        let halves = |cpu: usize| vec![cpu % 4, cpu % 4 + 4];
        assert_eq!(cores_first(&[0, 1, 2, 3, 4, 5, 6, 7], halves), [0, 1, 2, 3, 4, 5, 6, 7]);
        // Where one of two is not allowed, the other is its core.
        assert_eq!(cores_first(&[1, 2, 3], side), [1, 2, 3]);
        assert_eq!(cores_first(&[9, 2], |cpu| vec![cpu]), [2, 9]);
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse("0,16").as_deref(), Some(&[0, 16][..]));
        assert_eq!(parse("4-6,9").as_deref(), Some(&[4, 5, 6, 9][..]));
        assert_eq!((parse(""), parse("a-b")), (None, None));
    }

    #[test]
    fn one_thread_needs_no_place_and_there_are_no_more_places_than_processors() {
        assert_eq!((of_threads(1), of_threads(CpuSet::MAX_CPU + 1)), (None, None));
        let allowed = std::thread::available_parallelism().map_or(1, usize::from);
        if let Some(places) = of_threads(allowed) {
            assert_eq!(places.split(';').count(), allowed - 1, "{places}");
            assert!(places.split(';').all(|place| place.parse::<usize>().is_ok_and(|place| place > 0)), "{places}");
        }
    }
}
