//! A claim judged by several machines or experiments, each by its own rows, and which of these verdicts decides.

use super::verdict::{Basis, Outcome, Verdict};
use crate::results::machines::Machine;

/// A verdict by the rows of one machine or one experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedVerdict {
    /// The machine or the experiment.
    pub name: String,
    /// What its rows say.
    pub verdict: Verdict,
}

/// Verdicts on one claim, in the order of the machines or experiments.
#[derive(Debug, Clone, PartialEq)]
pub struct Several {
    all: Vec<NamedVerdict>,
    /// Position of the one that decides.
    deciding: usize,
}

impl Several {
    /// `None` of no verdict.
    fn new(all: Vec<NamedVerdict>) -> Option<Self> {
        let first = all.first()?;
        let by_weight = Outcome::by_weight(first.verdict.claim.is_up_to());
        let deciding = by_weight.iter().find_map(|outcome| all.iter().position(|one| one.verdict.outcome == *outcome));
        Some(Several { deciding: deciding?, all })
    }

    /// Every verdict.
    pub fn all(&self) -> &[NamedVerdict] {
        &self.all
    }

    /// The verdict that weighs most.
    pub fn deciding(&self) -> &NamedVerdict {
        &self.all[self.deciding]
    }

    /// Its position among all.
    pub fn position(&self) -> usize {
        self.deciding
    }

    /// One verdict from verdicts on the same claim, and one from those on its second reading; `None` of no verdict.
    fn verdict(all: Vec<NamedVerdict>, basis: fn(Several) -> Basis) -> Option<Verdict> {
        let second = |one: &NamedVerdict| {
            let verdict = one.verdict.second.as_deref()?.clone();
            Some(NamedVerdict { name: one.name.clone(), verdict })
        };
        let several = Several::new(all)?;
        let second = Several::verdict(several.all.iter().filter_map(second).collect(), basis).map(Box::new);
        let Verdict { claim, outcome, .. } = several.deciding().verdict.clone();
        Some(Verdict { claim, outcome, basis: basis(several), second })
    }
}

/// One verdict from those of all machines on the same claim, in the order of the machines; `None` for no machine.
pub fn by_machine(machines: &[Machine], verdicts: Vec<Verdict>) -> Option<Verdict> {
    let named = machines.iter().zip(verdicts);
    let all = named.map(|(machine, verdict)| NamedVerdict { name: machine.label.clone(), verdict }).collect();
    Several::verdict(all, Basis::Machines)
}

/// One list of verdicts from those of every experiment on the same claims, the main one first.
pub fn by_experiment(experiments: Vec<(String, Vec<Verdict>)>) -> Vec<Verdict> {
    let claims = experiments.iter().map(|(_, verdicts)| verdicts.len()).min().unwrap_or(0);
    let of_claim = |index: usize| {
        let named = experiments.iter().filter_map(|(name, verdicts)| {
            Some(NamedVerdict { name: name.clone(), verdict: verdicts.get(index)?.clone() })
        });
        Several::verdict(named.collect(), Basis::Experiments)
    };
    (0..claims).filter_map(of_claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::verdict::Checks;
    use crate::claims::{Claims, ClaimsError};

    /// The joint outcome of experiments with these outcomes, and the one that decides.
    fn outcome(id: &str, outcomes: &[Outcome]) -> Result<(Outcome, Option<String>), ClaimsError> {
        let claims = Claims::builtin()?;
        let claim = claims.claims.iter().find(|claim| claim.id == id).unwrap();
        let experiments = outcomes.iter().enumerate().map(|(index, &outcome)| {
            let basis = Basis::Checks(Checks::default());
            let verdict = Verdict { claim: claim.clone(), outcome, basis, second: None };
            (format!("experiment-{index}"), vec![verdict])
        });
        let verdict = by_experiment(experiments.collect()).remove(0);
        Ok((verdict.outcome, verdict.other_experiment().map(str::to_owned)))
    }

    #[test]
    fn a_value_reached_once_is_reached_and_a_rule_broken_once_is_broken() {
        use Outcome::{Fail, NotRun, Pass, Undecided};
        // "a 63 percent reduction": the largest counts.
        assert_eq!(outcome("C3", &[Pass, Fail]).unwrap(), (Pass, None));
        assert_eq!(outcome("C3", &[Fail, Pass]).unwrap(), (Pass, Some("experiment-1".to_owned())));
        // "cosine similarity >= 0.9998": every one counts.
        assert_eq!(outcome("C4", &[Pass, Fail]).unwrap(), (Fail, Some("experiment-1".to_owned())));
        for id in ["C3", "C4"] {
            assert_eq!(outcome(id, &[NotRun, Undecided]).unwrap(), (Undecided, Some("experiment-1".to_owned())));
            assert_eq!(outcome(id, &[Undecided, Fail]).unwrap(), (Fail, Some("experiment-1".to_owned())));
        }
    }
}
