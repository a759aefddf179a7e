//! A claim judged by each machine of merged results, and what these verdicts come to together.

use serde::Serialize;

use super::Verdict;
use super::verdict::Outcome;
use crate::results::machines::Machine;

/// What one machine says of a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineVerdict {
    /// The machine.
    pub machine: String,
    /// What its rows say.
    pub outcome: Outcome,
    /// The value measured there, in words.
    pub measured: Option<String>,
    /// Its interval, in words.
    pub interval: Option<String>,
    /// What was found, in a sentence or two.
    pub explanation: String,
}

/// One verdict from those of all machines on the same claim, in the order of the machines: the one that weighs most, with
/// every machine's own beside it. `None` for no machine.
pub fn together(machines: &[Machine], verdicts: Vec<Verdict>) -> Option<Verdict> {
    let weights = Outcome::by_weight(verdicts.first()?.up_to);
    let deciding = weights.iter().find_map(|outcome| verdicts.iter().position(|one| one.outcome == *outcome))?;
    let of_machine = |(machine, verdict): (&Machine, &Verdict)| MachineVerdict {
        machine: machine.label.clone(),
        outcome: verdict.outcome,
        measured: verdict.measured.clone(),
        interval: verdict.interval.clone(),
        explanation: verdict.explanation.clone(),
    };
    let all: Vec<MachineVerdict> = machines.iter().zip(&verdicts).map(of_machine).collect();
    let verdict = verdicts.into_iter().nth(deciding)?;
    let decided_by = &all[deciding].machine;
    let mut explanation = format!("On {decided_by}: {}", verdict.explanation);
    for other in all.iter().enumerate().filter(|(index, _)| *index != deciding).map(|(_, other)| other) {
        explanation = format!("{explanation} On {}: {}.", other.machine, other.summary());
    }
    Some(Verdict {
        measured: verdict.measured.map(|measured| format!("{measured} on {decided_by}")),
        shown: verdict.shown.map(|shown| format!("{shown} on {decided_by}")),
        why: format!("On {decided_by}: {}", verdict.why),
        explanation,
        machines: all,
        ..verdict
    })
}

impl MachineVerdict {
    /// `PASS, 42.0× [41.1×, 43.0×]`
    pub fn summary(&self) -> String {
        let value = [&self.measured, &self.interval].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        if value.is_empty() { self.outcome.label().to_owned() } else { format!("{}, {value}", self.outcome.label()) }
    }
}
