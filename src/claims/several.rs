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
        let up_to = all.first()?.verdict.claim.is_up_to();
        let of = |outcome: &Outcome| {
            let alike = all.iter().enumerate().filter(|(_, one)| one.verdict.outcome == *outcome);
            // A claim about the largest or smallest value is answered by the largest or smallest of all.
            alike.map(|(position, _)| position).reduce(|first, later| {
                let margins = [first, later].map(|position| all[position].verdict.margin());
                let [Some(of_first), Some(of_later)] = margins else { return first };
                let decides = if up_to { of_later > of_first } else { of_later < of_first };
                if decides { later } else { first }
            })
        };
        let deciding = Outcome::by_weight(up_to).iter().find_map(of)?;
        Some(Several { deciding, all })
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
    use crate::claims::findings::CheckFinding;
    use crate::claims::interval::{Estimate, Met};
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
    /// Which of two experiments decides, both with this outcome and these values.
    fn deciding(id: &str, met: Met, values: [f64; 2]) -> Option<String> {
        let claim = Claims::builtin().unwrap().claims.into_iter().find(|claim| claim.id == id).unwrap();
        let experiments = values.into_iter().enumerate().map(|(index, value)| {
            let estimate = Some(Estimate { value, interval: None });
            let finding = CheckFinding { met: Some(met), estimate, ..CheckFinding::default() };
            let basis = Basis::Checks(Checks { findings: vec![finding], ..Checks::default() });
            let outcome = if met == Met::No { Outcome::Fail } else { Outcome::Pass };
            (format!("experiment-{index}"), vec![Verdict { claim: claim.clone(), outcome, basis, second: None }])
        });
        by_experiment(experiments.collect()).remove(0).other_experiment().map(str::to_owned)
    }

    #[test]
    fn of_equal_outcomes_the_smallest_or_largest_value_decides() {
        let later = Some("experiment-1".to_owned());
        // The smallest cosine, the largest latency, whether they pass or fail.
        for met in [Met::Yes, Met::No] {
            assert_eq!(deciding("C4", met, [0.99931, 0.99822]), later);
            assert_eq!(deciding("C4", met, [0.99822, 0.99931]), None);
            assert_eq!(deciding("C2", met, [1.2, 1.3]), later);
        }
        // The largest speed-up.
        assert_eq!(deciding("C1", Met::Yes, [70.0, 80.0]), later);
        assert_eq!(deciding("C1", Met::No, [20.0, 10.0]), None);
        // The same value: the first.
        assert_eq!(deciding("C4", Met::No, [0.9, 0.9]), None);
    }
}
