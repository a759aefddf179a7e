//! A claim judged by several experiments, each by its own rows, and what these verdicts come to together.

use super::Verdict;
use super::verdict::Outcome;

/// What decides first. An experiment that could not decide takes nothing back from one that could.
const BY_WEIGHT: [Outcome; 5] =
    [Outcome::Fail, Outcome::Pass, Outcome::Undecided, Outcome::NotRun, Outcome::NoHardware];

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
    let deciding = BY_WEIGHT.iter().find_map(decides)?;
    let (name, decided) = verdicts[deciding];
    let mut verdict = decided.clone();
    if deciding != 0 {
        verdict.answered_in = Some(name.to_owned());
        verdict.why = format!("{} (Experiment {name}.)", verdict.why);
    }
    for (other, found) in verdicts.iter().enumerate().filter(|(other, _)| *other != deciding).map(|(_, found)| found) {
        if matches!(found.outcome, Outcome::Fail | Outcome::Pass | Outcome::Undecided) {
            let value = found.measured.as_ref().map(|value| format!(", {value}")).unwrap_or_default();
            verdict.explanation =
                format!("{} In the experiment {other}: {}{value}.", verdict.explanation, found.outcome.label());
        }
    }
    Some(verdict)
}
