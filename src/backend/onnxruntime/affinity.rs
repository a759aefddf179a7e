//! Which processor each thread of a session stays on.

use std::path::Path;

use crate::processors::CpuList;

/// The configuration key of the library, `session.intra_op_thread_affinities`: a processor for each thread but the caller's, by
/// numbers from 1, separated by semicolons (onnxruntime_session_options_config_keys.h).
pub(super) const KEY: &str = "session.intra_op_thread_affinities";

/// The key in `engine_options` of the caller's processor, by the kernel's number.
const KEY_OF_CALLER: &str = "caller_affinity";

/// A processor for each thread of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affinities {
    caller: CpuList,
    others: CpuList,
    /// What the caller may use besides, when it is no more at work for the session.
    allowed: CpuList,
}

impl Affinities {
    /// A processor each, of those that this process may use. `None` where there are fewer processors than threads.
    pub fn of_threads(threads: usize) -> Option<Affinities> {
        let allowed = CpuList::allowed();
        let ordered = allowed.by_core_and_node(Path::new("/")).0;
        let (caller, others) = ordered.get(..threads)?.split_first()?;
        Some(Affinities { caller: CpuList(vec![*caller]), others: CpuList(others.to_vec()), allowed })
    }

    /// The value of [`KEY`]; `None` for one thread.
    pub fn value(&self) -> Option<String> {
        let numbers: Vec<String> = self.others.0.iter().map(|cpu| (cpu + 1).to_string()).collect();
        (!numbers.is_empty()).then(|| numbers.join(";"))
    }

    /// As options of a build.
    pub fn options(&self) -> impl Iterator<Item = (String, String)> {
        let others = self.value().map(|value| (KEY.to_owned(), value));
        others.into_iter().chain([(KEY_OF_CALLER.to_owned(), self.caller.to_string())])
    }

    /// Keeps the calling thread on its processor until the end of `work`, and no longer: threads that it starts for other work
    /// would stay there too. What it touches first lies in that processor's memory node. A kernel that refuses leaves the thread
    /// where it is.
    pub fn keep_caller<T>(affinities: Option<&Affinities>, work: impl FnOnce() -> T) -> T {
        let _ = affinities.map(|affinities| affinities.caller.keep_this_thread());
        let done = work();
        let _ = affinities.map(|affinities| affinities.allowed.keep_this_thread());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_affinities_than_processors() {
        let allowed = CpuList::allowed();
        assert_eq!((Affinities::of_threads(0), Affinities::of_threads(allowed.0.len() + 1)), (None, None));
        for threads in 1..=allowed.0.len() {
            let affinities = Affinities::of_threads(threads).unwrap();
            let mut all = [affinities.caller.0.clone(), affinities.others.0.clone()].concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), threads, "{affinities:?}");
            assert!(all.iter().all(|cpu| allowed.0.contains(cpu)), "{affinities:?}");
        }
    }

    #[test]
    fn the_library_counts_from_one() {
        let list = |text: &str| text.parse::<CpuList>().unwrap();
        let affinities = Affinities { caller: list("0"), others: list("2,1,3"), allowed: list("0-3") };
        assert_eq!(affinities.value().as_deref(), Some("3;2;4"));
        let options: Vec<_> = affinities.options().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(options, ["session.intra_op_thread_affinities=3;2;4", "caller_affinity=0"]);
        let one = Affinities { others: CpuList::default(), ..affinities };
        assert_eq!((one.value(), one.options().count()), (None, 1));
    }

    #[test]
    fn the_caller_stays_until_the_end_of_its_work() {
        let before = CpuList::allowed();
        let affinities = Affinities::of_threads(before.0.len()).unwrap();
        assert_eq!(Affinities::keep_caller(Some(&affinities), CpuList::allowed), affinities.caller);
        assert_eq!(CpuList::allowed(), before);
        assert_eq!(Affinities::keep_caller(None, CpuList::allowed), before);
    }
}
