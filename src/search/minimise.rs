//! Delta debugging over sets of candidates (Zeller and Hildebrandt, IEEE TSE 28(2), 2002), which are given by their places in
//! the order of headroom.
//!
//! The search takes the shortest prefix of the order that keeps the tolerance, drops whole groups from it, then ever smaller
//! parts down to single candidates. The result is 1-minimal whether or not failures are monotone: it keeps the tolerance, and
//! without any one of its members it does not.

use std::collections::BTreeSet;

/// Candidates by their places in the order of headroom, 0 for the least.
pub(super) type Places = BTreeSet<usize>;

/// A 1-minimal set of the first `count` places for which `keeps` holds; `None` where it does not even hold for all of them.
/// `partitions` are divisions of the places into groups, each tried as a whole before any single place.
///
/// # Errors
/// The first error of `keeps`.
pub(super) fn minimal<E>(
    count: usize,
    partitions: &[Vec<Places>],
    keeps: &mut impl FnMut(&Places) -> Result<bool, E>,
) -> Result<Option<Places>, E> {
    let Some(mut kept) = shortest_prefix(count, keeps)? else { return Ok(None) };
    for groups in partitions {
        // Those of most headroom first: they are the likeliest to be superfluous.
        for group in groups.iter().rev() {
            let rest: Places = kept.difference(group).copied().collect();
            if !rest.is_empty() && rest.len() < kept.len() && keeps(&rest)? {
                kept = rest;
            }
        }
    }
    single(kept, keeps).map(Some)
}

/// The first places, as few as a doubling and a bisection find.
fn shortest_prefix<E>(count: usize, keeps: &mut impl FnMut(&Places) -> Result<bool, E>) -> Result<Option<Places>, E> {
    let prefix = |length: usize| (0..length).collect::<Places>();
    if keeps(&prefix(0))? {
        return Ok(Some(prefix(0)));
    }
    let (mut fails, mut holds) = (0, 1.min(count));
    while !keeps(&prefix(holds))? {
        if holds == count {
            return Ok(None);
        }
        (fails, holds) = (holds, (2 * holds).min(count));
    }
    while holds - fails > 1 {
        let middle = usize::midpoint(fails, holds);
        if keeps(&prefix(middle))? {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    Ok(Some(prefix(holds)))
}

/// Drops parts of a set that keeps the tolerance, in halves, quarters and so on, until no single member can be dropped. The
/// empty set is known not to keep it, unless `kept` is empty.
fn single<E>(mut kept: Places, keeps: &mut impl FnMut(&Places) -> Result<bool, E>) -> Result<Places, E> {
    let mut parts = 2;
    while kept.len() > 1 {
        let members: Vec<usize> = kept.iter().copied().collect();
        let mut smaller = None;
        for part in members.chunks(members.len().div_ceil(parts)).rev() {
            let rest: Places = members.iter().filter(|member| !part.contains(member)).copied().collect();
            if keeps(&rest)? {
                smaller = Some(rest);
                break;
            }
        }
        match smaller {
            Some(rest) => (kept, parts) = (rest, (parts - 1).max(2)),
            None if parts < kept.len() => parts = (2 * parts).min(kept.len()),
            None => break,
        }
    }
    Ok(kept)
}

/// Sets of the first `count` places that keep the tolerance and, less any one member, do not: brute force over all subsets.
#[cfg(test)]
pub(super) fn one_minimal(count: usize, keeps: &impl Fn(&Places) -> bool) -> Vec<Places> {
    let less = |set: &Places, one: &usize| set.iter().filter(|member| *member != one).copied().collect::<Places>();
    let sets = (0..1 << count).map(|bits: u32| (0..count).filter(|place| bits >> place & 1 == 1).collect());
    sets.filter(keeps).filter(|set: &Places| set.iter().all(|one| !keeps(&less(set, one)))).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const COUNT: usize = 7;

    fn places(bits: u32) -> Places {
        (0..COUNT).filter(|place| bits >> place & 1 == 1).collect()
    }

    fn found(partitions: &[Vec<Places>], keeps: &impl Fn(&Places) -> bool) -> Option<Places> {
        minimal(COUNT, partitions, &mut |set: &Places| Ok::<bool, Infallible>(keeps(set))).unwrap()
    }

    fn partition(generator: &mut ChaCha8Rng) -> Vec<Places> {
        let mut groups = vec![Places::new(); 3];
        for place in 0..COUNT {
            groups[generator.next_u32() as usize % 3].insert(place);
        }
        groups
    }

    /// Every failure needs one of its repairs whole, as overflow in a norm does.
    #[test]
    fn of_monotone_failures_it_finds_a_smallest_repair_that_brute_force_knows() {
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..400 {
            let failures: Vec<Vec<u32>> = (0..generator.next_u32() % 3)
                .map(|_| (0..=generator.next_u32() % 2).map(|_| generator.next_u32() % (1 << COUNT)).collect())
                .collect();
            let keeps = |set: &Places| {
                failures.iter().all(|repairs| repairs.iter().any(|&repair| places(repair).is_subset(set)))
            };
            let partitions = [partition(&mut generator), partition(&mut generator)];
            let (ours, all) = (found(&partitions, &keeps).unwrap(), one_minimal(COUNT, &keeps));
            assert!(all.contains(&ours), "{failures:?}: {ours:?} is not among {all:?}");
            if failures.iter().all(|repairs| repairs.len() == 1) {
                assert_eq!(all, [ours], "one repair a failure leaves one minimal set");
            }
        }
    }

    #[test]
    fn of_failures_that_are_not_monotone_it_finds_a_set_that_is_one_minimal() {
        let mut generator = ChaCha8Rng::seed_from_u64(2);
        let mut repaired = 0;
        for _ in 0..400 {
            let mut table: Vec<bool> = (0..1 << COUNT).map(|_| generator.next_u32().is_multiple_of(3)).collect();
            table[0] = false;
            let keeps = |set: &Places| table[set.iter().map(|place| 1 << place).sum::<usize>()];
            match found(&[partition(&mut generator)], &keeps) {
                Some(ours) => assert!(one_minimal(COUNT, &keeps).contains(&ours), "{ours:?}"),
                None => assert!(!keeps(&places(u32::MAX)), "every prefix that doubles fails, the longest among them"),
            }
            repaired += usize::from(keeps(&places(u32::MAX)));
        }
        assert!(repaired > 50, "{repaired}");
    }

    #[test]
    fn nothing_is_needed_where_nothing_fails_and_nothing_helps_where_all_fails() {
        assert_eq!(found(&[], &|_| true), Some(Places::new()));
        assert_eq!(found(&[], &|_| false), None);
        let none = minimal(0, &[], &mut |_: &Places| Ok::<bool, Infallible>(false)).unwrap();
        assert_eq!(none, None, "a model without candidates");
    }

    /// Two of 150 operations, the first in the order, as in BERT-base.
    #[test]
    fn two_norms_with_the_least_headroom_take_four_sets() {
        let mut tried = Vec::new();
        let set = minimal(150, &[], &mut |set: &Places| {
            tried.push(set.clone());
            Ok::<bool, Infallible>(set.is_superset(&Places::from([0, 1])))
        });
        assert_eq!(set.unwrap(), Some(Places::from([0, 1])));
        assert_eq!(tried.iter().map(Places::len).collect::<Vec<_>>(), [0, 1, 2, 1, 1]);
    }
}
