//! The search itself: a minimal set for a few forwards, held against all of them, until no forward breaks the tolerance.
//!
//! Most policies are refuted by the forwards that refuted others before. The set is therefore minimised over these alone, those
//! that refuted last first, and each ends at the first limit that it breaks. A set that all others accept is complete. A forward
//! that refutes it joins them, and the search begins again with what it knows.

use std::collections::HashMap;
use std::ops::Range;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::SearchError;
use super::minimise::{Places, minimal};
use super::tolerance::{ForwardOutcome, RunningSums};
use crate::manifest::schema::SearchTolerance;
use crate::record::certificate::Breakage;

/// Runs one forward of the policy whose candidates at `fp32` compute in FP32.
pub(super) trait Evaluate {
    /// The forward compared with the reference.
    fn forward(&mut self, fp32: &Places, forward: usize) -> Result<ForwardOutcome, SearchError>;
}

/// A set that was tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Operations that it computed in FP32.
    pub fp32_ops: usize,
    /// The forward at which it broke the tolerance; `None` where it kept it.
    pub breakage: Option<Breakage>,
    /// Forwards it was tried on: those before the break.
    pub forwards: usize,
    /// The smallest set so far that keeps the tolerance on the refuting forwards.
    pub bound: Option<usize>,
}

/// A set of candidates with the proof that none of them is superfluous.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct MinimalSet {
    /// The set.
    pub set: Places,
    /// For each member, the forward at which the set without it breaks the tolerance.
    pub necessity: Vec<(usize, Breakage)>,
    /// The forward at which the policy at the start breaks it.
    pub start: Option<Breakage>,
    /// The forwards that refuted a set.
    pub refuting: Vec<usize>,
}

/// A superset of the set found that breaks the tolerance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Violation {
    pub set: Places,
    pub breakage: Breakage,
}

/// A search over `candidates` places and `forwards` forwards.
pub(super) struct Exploration<'a, E> {
    evaluate: &'a mut E,
    tolerance: SearchTolerance,
    candidates: usize,
    forwards: usize,
    progress: &'a mut dyn FnMut(Trial),
    /// Those that refuted a set, the last one first.
    refuting: Vec<usize>,
    bound: Option<usize>,
    /// Every outcome that was asked for.
    outcomes: HashMap<(Places, usize), ForwardOutcome>,
}

impl<'a, E: Evaluate> Exploration<'a, E> {
    pub fn new(
        evaluate: &'a mut E,
        tolerance: SearchTolerance,
        (candidates, forwards): (usize, usize),
        progress: &'a mut dyn FnMut(Trial),
    ) -> Self {
        let (refuting, bound, outcomes) = Default::default();
        Exploration { evaluate, tolerance, candidates, forwards, progress, refuting, bound, outcomes }
    }

    /// Sets and forwards that were evaluated, and the time of the latter, seconds.
    pub fn evaluations(&self) -> (usize, usize, f64) {
        let mut sets: Vec<&Places> = self.outcomes.keys().map(|(set, _)| set).collect();
        sets.sort_unstable();
        sets.dedup();
        let mut times: Vec<f64> = self.outcomes.values().map(|outcome| outcome.wall_s).collect();
        // The sum of floating-point numbers depends on their order, and that of the map is random.
        times.sort_unstable_by(f64::total_cmp);
        (sets.len(), self.outcomes.len(), times.iter().sum())
    }

    /// The 1-minimal set that keeps the tolerance over all forwards.
    ///
    /// # Errors
    /// [`SearchError::Unreachable`] when not even the whole keeps it, or that of a forward.
    pub fn minimal_set(&mut self, partitions: &[Vec<Places>]) -> Result<MinimalSet, SearchError> {
        let all: Vec<usize> = (0..self.forwards).collect();
        let start = self.judge(&Places::new(), &all)?;
        let Some(first) = start else { return Ok(MinimalSet::default()) };
        self.refuting = if self.tolerance.is_average() { all.clone() } else { vec![first.forward] };
        let set = loop {
            self.bound = None;
            let candidates = self.candidates;
            let set = minimal(candidates, partitions, &mut |set: &Places| {
                let keeps = self.refute(set)?.is_none();
                if keeps {
                    self.bound = Some(self.bound.map_or(set.len(), |bound| bound.min(set.len())));
                }
                Ok::<bool, SearchError>(keeps)
            })?;
            let Some(set) = set else {
                let whole = (0..candidates).collect();
                let breakage = self.refute(&whole)?.map_or_else(String::new, |breakage| breakage.to_string());
                return Err(SearchError::Unreachable { breakage });
            };
            let others = all.iter().copied().filter(|forward| !self.refuting.contains(forward));
            let order: Vec<usize> = self.refuting.iter().copied().chain(others).collect();
            match self.judge(&set, &order)? {
                // The refuting forwards come first and accept the set, so that this is another one.
                Some(breakage) => self.refuting.insert(0, breakage.forward),
                None => break set,
            }
        };
        let necessity = set.iter().map(|&member| {
            let without: Places = set.iter().copied().filter(|&other| other != member).collect();
            Ok(self.refute(&without)?.map(|breakage| (member, breakage)))
        });
        let necessity = necessity.collect::<Result<Vec<_>, SearchError>>()?.into_iter().flatten().collect();
        Ok(MinimalSet { set, necessity, start, refuting: self.refuting.clone() })
    }

    /// Random supersets of `set` that break the tolerance on a refuting forward, of so many that are drawn.
    ///
    /// # Errors
    /// That of a forward.
    pub fn violations(&mut self, set: &Places, supersets: usize, seed: u64) -> Result<Vec<Violation>, SearchError> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut others: Vec<usize> = (0..self.candidates).filter(|place| !set.contains(place)).collect();
        let mut found = Vec::new();
        for _ in 0..if others.is_empty() { 0 } else { supersets } {
            others.shuffle(&mut generator);
            let more = 1 + generator.next_u64() as usize % others.len();
            let superset: Places = set.iter().chain(&others[..more]).copied().collect();
            if let Some(breakage) = self.refute(&superset)? {
                found.push(Violation { set: superset, breakage });
            }
        }
        Ok(found)
    }

    /// The first limit that a set breaks over the refuting forwards. The forward moves to the front.
    fn refute(&mut self, set: &Places) -> Result<Option<Breakage>, SearchError> {
        let order = self.refuting.clone();
        let breakage = self.judge(set, &order)?;
        if let Some(at) = breakage.and_then(|found| self.refuting.iter().position(|&one| one == found.forward)) {
            self.refuting[..=at].rotate_right(1);
        }
        Ok(breakage)
    }

    /// The first limit that a set breaks over forwards in this order.
    ///
    /// # Errors
    /// That of a forward.
    pub fn judge(&mut self, set: &Places, forwards: &[usize]) -> Result<Option<Breakage>, SearchError> {
        let before = self.outcomes.len();
        let breakage = self.first_breakage(set, forwards)?;
        if self.outcomes.len() > before {
            let (fp32_ops, forwards, bound) = (set.len(), self.outcomes.len() - before, self.bound);
            (self.progress)(Trial { fp32_ops, breakage, forwards, bound });
        }
        Ok(breakage)
    }

    fn first_breakage(&mut self, set: &Places, forwards: &[usize]) -> Result<Option<Breakage>, SearchError> {
        let mut sums = RunningSums::default();
        for &forward in forwards {
            let outcome = self.outcome(set, forward)?;
            if let Some(breakage) = self.tolerance.add(&mut sums, forward, &outcome) {
                return Ok(Some(breakage));
            }
        }
        if !self.tolerance.is_average() {
            return Ok(None);
        }
        let fp32: Places = (0..self.candidates).collect();
        let pairs =
            forwards.iter().map(|&forward| Ok((forward, self.outcome(set, forward)?, self.outcome(&fp32, forward)?)));
        let pairs = pairs.collect::<Result<Vec<_>, SearchError>>()?;
        Ok(self.tolerance.perplexity(&pairs))
    }

    /// Forwards of a set in order.
    ///
    /// # Errors
    /// That of a forward.
    pub fn outcomes(&mut self, set: &Places, forwards: Range<usize>) -> Result<Vec<ForwardOutcome>, SearchError> {
        forwards.map(|forward| self.outcome(set, forward)).collect()
    }

    fn outcome(&mut self, set: &Places, forward: usize) -> Result<ForwardOutcome, SearchError> {
        if let Some(known) = self.outcomes.get(&(set.clone(), forward)) {
            return Ok(*known);
        }
        let outcome = self.evaluate.forward(set, forward)?;
        self.outcomes.insert((set.clone(), forward), outcome);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::super::minimise::one_minimal;
    use super::super::tolerance::DEFAULT_TOLERANCE;
    use super::*;
    use crate::record::certificate::LimitedQuantity;

    const COUNT: usize = 6;
    const FORWARDS: usize = 5;

    /// An evaluator whose forwards break unless `keeps` holds, and that stops after some forwards, as if it were killed.
    struct Planted<'a> {
        keeps: &'a dyn Fn(&Places, usize) -> bool,
        known: HashMap<(Places, usize), ForwardOutcome>,
        left: usize,
    }

    impl<'a> Planted<'a> {
        fn new(keeps: &'a dyn Fn(&Places, usize) -> bool) -> Self {
            Planted { keeps, known: HashMap::new(), left: usize::MAX }
        }
    }

    impl Evaluate for Planted<'_> {
        fn forward(&mut self, fp32: &Places, forward: usize) -> Result<ForwardOutcome, SearchError> {
            if let Some(known) = self.known.get(&(fp32.clone(), forward)) {
                return Ok(*known);
            }
            self.left = self.left.checked_sub(1).ok_or(SearchError::NoForward)?;
            let keeps = (self.keeps)(fp32, forward);
            let outcome = ForwardOutcome {
                cosine_min: Some(if keeps { 1.0 } else { 0.1 }),
                broken_rows: Some(u64::from(!keeps)),
                wall_s: 0.5,
                ..ForwardOutcome::default()
            };
            self.known.insert((fp32.clone(), forward), outcome);
            Ok(outcome)
        }
    }

    fn explore<T>(
        planted: &mut Planted<'_>,
        tolerance: SearchTolerance,
        work: impl FnOnce(&mut Exploration<'_, Planted<'_>>) -> Result<T, SearchError>,
    ) -> Result<T, SearchError> {
        work(&mut Exploration::new(planted, tolerance, (COUNT, FORWARDS), &mut |_| {}))
    }

    fn set(bits: u32) -> Places {
        (0..COUNT).filter(|place| bits >> place & 1 == 1).collect()
    }

    /// Per forward, the sets of which it needs one whole.
    fn random_repairs(generator: &mut ChaCha8Rng) -> Vec<Vec<Places>> {
        let mut forward = |_| {
            let repairs = generator.next_u32() % 3;
            (0..repairs).map(|_| set(generator.next_u32() & generator.next_u32())).collect()
        };
        (0..FORWARDS).map(&mut forward).collect()
    }

    fn repaired(repairs: &[Vec<Places>], fp32: &Places, forward: usize) -> bool {
        repairs[forward].is_empty() || repairs[forward].iter().any(|repair| repair.is_subset(fp32))
    }

    #[test]
    fn the_set_is_one_that_brute_force_over_all_sets_and_forwards_finds() {
        let mut generator = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..300 {
            let repairs = random_repairs(&mut generator);
            let keeps = |fp32: &Places, forward: usize| repaired(&repairs, fp32, forward);
            let found = explore(&mut Planted::new(&keeps), DEFAULT_TOLERANCE, |all| all.minimal_set(&[])).unwrap();
            let minimal = one_minimal(COUNT, &|fp32| (0..FORWARDS).all(|forward| keeps(fp32, forward)));
            assert!(minimal.contains(&found.set), "{repairs:?}: {:?} is not among {minimal:?}", found.set);
            assert_eq!(found.necessity.len(), found.set.len());
            for (member, breakage) in &found.necessity {
                let without = found.set.iter().copied().filter(|other| other != member).collect();
                assert!(!keeps(&without, breakage.forward), "{breakage}");
            }
            assert_eq!(found.start.is_none(), found.set.is_empty());
        }
    }

    #[test]
    fn failures_that_are_not_monotone_end_in_a_minimal_set_or_in_the_reason_why_not() {
        let mut generator = ChaCha8Rng::seed_from_u64(4);
        let mut unreachable = 0;
        for _ in 0..300 {
            let table: Vec<bool> = (0..FORWARDS << COUNT).map(|_| generator.next_u32() % 4 > 0).collect();
            let keeps = |fp32: &Places, forward: usize| {
                table[forward << COUNT | fp32.iter().map(|place| 1 << place).sum::<usize>()]
            };
            match explore(&mut Planted::new(&keeps), DEFAULT_TOLERANCE, |all| all.minimal_set(&[])) {
                Ok(found) => {
                    let minimal = one_minimal(COUNT, &|fp32| (0..FORWARDS).all(|forward| keeps(fp32, forward)));
                    assert!(minimal.contains(&found.set), "{:?} is not among {minimal:?}", found.set);
                }
                Err(error) => {
                    assert!(error.to_string().starts_with("every operation in FP32 still breaks"), "{error}");
                    assert!((0..FORWARDS).any(|forward| !keeps(&set(u32::MAX), forward)));
                    unreachable += 1;
                }
            }
        }
        assert!((10..290).contains(&unreachable), "both ends occur: {unreachable}");
    }

    #[test]
    fn stopped_ten_times_at_random_it_ends_as_if_it_never_was() {
        let mut generator = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..40 {
            let repairs = random_repairs(&mut generator);
            let keeps = |fp32: &Places, forward: usize| repaired(&repairs, fp32, forward);
            let work = |all: &mut Exploration<'_, Planted<'_>>| {
                let found = all.minimal_set(&[])?;
                let violations = all.violations(&found.set, 4, 9)?;
                Ok((found, violations, all.evaluations()))
            };
            let whole = explore(&mut Planted::new(&keeps), DEFAULT_TOLERANCE, work).unwrap();
            let mut planted = Planted::new(&keeps);
            for _ in 0..10 {
                planted.left = generator.next_u32() as usize % 8;
                let _ = explore(&mut planted, DEFAULT_TOLERANCE, work);
            }
            planted.left = usize::MAX;
            assert_eq!(explore(&mut planted, DEFAULT_TOLERANCE, work).unwrap(), whole);
            assert_eq!(planted.known.len(), whole.2.1, "no forward ran twice");
        }
    }

    /// Four forwards need one place each; the budget of two rows pays for the two of most headroom.
    #[test]
    fn a_budget_of_broken_rows_is_spent_over_all_forwards() {
        let keeps = |fp32: &Places, forward: usize| forward == 4 || fp32.contains(&forward);
        let tolerance = SearchTolerance { max_broken_rows: Some(2), ..SearchTolerance::default() };
        let found = explore(&mut Planted::new(&keeps), tolerance, |all| all.minimal_set(&[])).unwrap();
        assert_eq!(found.set.len(), 2, "{found:?}");
        for (_, breakage) in &found.necessity {
            assert_eq!((breakage.quantity, breakage.value), (LimitedQuantity::BrokenRows, Some(3.0)));
        }
    }

    #[test]
    fn a_superset_that_breaks_what_the_set_keeps_is_reported() {
        // Place 0 repairs the forward, and place 5 breaks it again.
        let keeps = |fp32: &Places, _: usize| fp32.contains(&0) && !fp32.contains(&5);
        let violations = explore(&mut Planted::new(&keeps), DEFAULT_TOLERANCE, |all| {
            let found = all.minimal_set(&[])?;
            assert_eq!(found.set, Places::from([0]));
            all.violations(&found.set, 20, 1)
        });
        let violations = violations.unwrap();
        assert!((2..20).contains(&violations.len()), "{}", violations.len());
        assert!(violations.iter().all(|found| found.set.is_superset(&Places::from([0, 5]))));
    }

    /// An average over few forwards may break a limit that one over all of them keeps: all forwards are asked.
    #[test]
    fn perplexity_is_limited_over_all_forwards() {
        struct Scored;
        impl Evaluate for Scored {
            fn forward(&mut self, fp32: &Places, forward: usize) -> Result<ForwardOutcome, SearchError> {
                let increase = if fp32.contains(&0) || forward != 2 { 0.0 } else { 5.0 };
                let nll_sum = Some(100.0 + increase);
                Ok(ForwardOutcome { nll_sum, nll_tokens: 10, ..ForwardOutcome::default() })
            }
        }
        let found = |limit| {
            let tolerance = SearchTolerance { max_perplexity_ratio: Some(limit), ..SearchTolerance::default() };
            Exploration::new(&mut Scored, tolerance, (COUNT, FORWARDS), &mut |_| {}).minimal_set(&[]).unwrap()
        };
        // exp(5 / 50) = 1.105
        assert_eq!(found(1.11).set, Places::new());
        let needed = found(1.1);
        assert_eq!((needed.set, needed.necessity[0].1.forward), (Places::from([0]), 2));
    }
}
