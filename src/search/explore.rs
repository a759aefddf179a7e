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
use super::tolerance::{Breakage, ForwardOutcome, RunningSums, SearchTolerance};

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
