//! A claim judged by several experiments, each by its own rows, and what these verdicts come to together.

use super::Verdict;
use super::verdict::Outcome;

/// One list of verdicts from those of every experiment on the same claims, the main one first: for each claim the verdict
/// that weighs most, with the name of the experiment where it is another, and what further ones say that answered.
pub fn together(experiments: Vec<(String, Vec<Verdict>)>) -> Vec<Verdict> {
    let claims = experiments.iter().map(|(_, verdicts)| verdicts.len()).min().unwrap_or(0);
    (0..claims).filter_map(|index| of_claim(&experiments, index)).collect()
}

fn of_claim(experiments: &[(String, Vec<Verdict>)], index: usize) -> Option<Verdict> {
    let verdicts: Vec<(&str, &Verdict)> =
        experiments.iter().filter_map(|(name, verdicts)| Some((name.as_str(), verdicts.get(index)?))).collect();
    let decides = |outcome: &Outcome| verdicts.iter().position(|(_, verdict)| verdict.outcome == *outcome);
    let (_, first) = verdicts.first()?;
    let deciding = Outcome::by_weight(first.up_to).iter().find_map(decides)?;
    let (name, decided) = verdicts[deciding];
    let mut verdict = decided.clone();
    if deciding != 0 {
        verdict.answered_in = Some(name.to_owned());
        verdict.why = format!("{} (Experiment {name}.)", verdict.why);
    }
    for (other, found) in verdicts.iter().enumerate().filter(|(other, _)| *other != deciding).map(|(_, found)| found) {
        if matches!(found.outcome, Outcome::Fail | Outcome::Pass | Outcome::Undecided) {
            let value = found.measured.as_ref().map(|value| format!(", {value}")).unwrap_or_default();
            let left_out = match found.left_out.is_empty() {
                true => String::new(),
                false => format!(" ({})", found.left_out.join("; ")),
            };
            verdict.explanation = format!(
                "{} In the experiment {other}: {}{value}{left_out}.",
                verdict.explanation,
                found.outcome.label()
            );
        }
    }
    Some(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::verdict::blank;
    use crate::claims::{Claims, ClaimsError};

    /// What experiments that say this come to together, and which of them decides.
    fn outcome(id: &str, outcomes: &[Outcome]) -> Result<(Outcome, Option<String>), ClaimsError> {
        let claims = Claims::builtin()?;
        let claim = claims.claims.iter().find(|claim| claim.id == id).unwrap();
        let experiments = outcomes.iter().enumerate().map(|(index, &outcome)| {
            let verdict = Verdict { outcome, ..blank(claim) };
            (format!("experiment-{index}"), vec![verdict])
        });
        let verdict = together(experiments.collect()).remove(0);
        Ok((verdict.outcome, verdict.answered_in))
    }

    #[test]
    fn what_speaks_against_the_answer_of_another_experiment_is_told() {
        let claims = Claims::builtin().unwrap();
        let of = |left_out: Vec<String>| {
            let measured = Some("542×".to_owned());
            vec![Verdict { outcome: Outcome::Pass, measured, left_out, ..blank(&claims.claims[0]) }]
        };
        let disturbed = vec!["others used the device in every one of them".to_owned()];
        let verdict =
            together(vec![("paper".to_owned(), of(vec![])), ("downstream".to_owned(), of(disturbed))]).remove(0);
        let expected = "In the experiment downstream: PASS, 542× (others used the device in every one of them).";
        assert!(verdict.explanation.ends_with(expected), "{}", verdict.explanation);
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
