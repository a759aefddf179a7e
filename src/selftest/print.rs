//! Verdicts as lines for people and JSON for programs.

use serde_json::json;

use super::{Outcome, Verdict};

/// A line per mutation, and the count.
pub fn text(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for Verdict { name, injected, outcome } in verdicts {
        let line = match outcome {
            Outcome::Caught(said) => format!("caught: {name}: {injected}: {said}"),
            Outcome::Missed => format!("MISSED: {name}: {injected}: nothing noticed it"),
            Outcome::FalseAlarm(said) => format!("FALSE ALARM: {name}: without {injected}: {said}"),
            Outcome::NotTried(why) => format!("NOT TRIED: {name}: {injected}: {why}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    let caught = verdicts.iter().filter(|verdict| verdict.is_caught()).count();
    text.push_str(&format!("{caught} of {} injected faults caught\n", verdicts.len()));
    text
}

/// `{"mutations": [{"name", "injected", "outcome", "said"}, ...], "caught", "total"}`, indented.
pub fn json(verdicts: &[Verdict]) -> String {
    let one = |Verdict { name, injected, outcome }: &Verdict| {
        let (outcome, said) = match outcome {
            Outcome::Caught(said) => ("caught", Some(said)),
            Outcome::Missed => ("missed", None),
            Outcome::FalseAlarm(said) => ("false_alarm", Some(said)),
            Outcome::NotTried(why) => ("not_tried", Some(why)),
        };
        json!({ "name": name, "injected": injected, "outcome": outcome, "said": said })
    };
    let caught = verdicts.iter().filter(|verdict| verdict.is_caught()).count();
    let mutations: Vec<_> = verdicts.iter().map(one).collect();
    format!("{:#}\n", json!({ "mutations": mutations, "caught": caught, "total": verdicts.len() }))
}
