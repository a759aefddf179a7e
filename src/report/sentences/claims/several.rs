//! A claim judged by several machines or experiments, in words.

use super::{WordedMachine, WordedVerdict};
use crate::claims::Outcome;
use crate::claims::several::{NamedVerdict, Several};

/// The machine that decides, with every machine's own verdict.
pub(super) fn of_machines(several: &Several) -> WordedVerdict {
    let machine = |one: &NamedVerdict| {
        let words = WordedVerdict::of(&one.verdict);
        WordedMachine {
            machine: one.name.clone(),
            outcome: words.outcome,
            measured: words.measured,
            interval: words.interval,
            explanation: words.explanation,
        }
    };
    let machines: Vec<WordedMachine> = several.all().iter().map(machine).collect();
    let decided_by = &several.deciding().name;
    let words = WordedVerdict::of(&several.deciding().verdict);
    let mut explanation = format!("On {decided_by}: {}", words.explanation);
    for (_, other) in machines.iter().enumerate().filter(|(index, _)| *index != several.position()) {
        explanation = format!("{explanation} On {}: {}.", other.machine, other.summary());
    }
    WordedVerdict {
        measured: words.measured.map(|measured| format!("{measured} on {decided_by}")),
        shown: words.shown.map(|shown| format!("{shown} on {decided_by}")),
        why: format!("On {decided_by}: {}", words.why),
        explanation,
        machines,
        ..words
    }
}

/// The experiment that decides, and what further ones say that answered.
pub(super) fn of_experiments(several: &Several) -> WordedVerdict {
    let name = &several.deciding().name;
    let mut words = WordedVerdict::of(&several.deciding().verdict);
    if several.position() > 0 {
        words.answered_in = Some(name.clone());
        words.why = format!("{} (Experiment {name}.)", words.why);
    }
    for (_, other) in several.all().iter().enumerate().filter(|(index, _)| *index != several.position()) {
        if matches!(other.verdict.outcome, Outcome::Fail | Outcome::Pass | Outcome::Undecided) {
            words.explanation = format!("{} {}", words.explanation, of_other(other));
        }
    }
    words
}

/// `In the experiment downstream: PASS, 542×.`
fn of_other(other: &NamedVerdict) -> String {
    let words = WordedVerdict::of(&other.verdict);
    let value = words.measured.map(|value| format!(", {value}")).unwrap_or_default();
    let left_out = match words.left_out.is_empty() {
        true => String::new(),
        false => format!(" ({})", words.left_out.join("; ")),
    };
    format!("In the experiment {}: {}{value}{left_out}.", other.name, words.outcome.label())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::findings::{CheckFinding, Disturbed};
    use crate::claims::interval::Estimate;
    use crate::claims::several::by_experiment;
    use crate::claims::verdict::{Basis, Checks};
    use crate::claims::{Claims, Verdict};

    #[test]
    fn what_speaks_against_the_answer_of_another_experiment_is_told() {
        let claims = Claims::builtin().unwrap();
        let of = |disturbed: Option<Disturbed>| {
            let finding = CheckFinding { estimate: Some(Estimate::exact(542.0)), disturbed, ..CheckFinding::default() };
            let basis = Basis::Checks(Checks { findings: vec![finding], ..Checks::default() });
            vec![Verdict { claim: claims.claims[0].clone(), outcome: Outcome::Pass, basis, second: None }]
        };
        let experiments = vec![("paper".to_owned(), of(None)), ("downstream".to_owned(), of(Some(Disturbed::All)))];
        let words = WordedVerdict::of(&by_experiment(experiments).remove(0));
        let expected = "In the experiment downstream: PASS, 542× (other processes used the device or the clock ran \
                        wrong in every one of them, so none decides).";
        assert!(words.explanation.ends_with(expected), "{}", words.explanation);
    }
}
