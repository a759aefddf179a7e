//! Prints results as lines for people and as JSON for programs.

use serde_json::json;

use super::{Detection, MutationResult};

/// One line per mutation, then the count.
pub fn text(results: &[MutationResult]) -> String {
    let mut text = String::new();
    for MutationResult { name, injected, outcome } in results {
        let line = match outcome {
            Detection::Caught(said) => format!("caught: {name}: {injected}: {said}"),
            Detection::Missed => format!("MISSED: {name}: {injected}: nothing noticed it"),
            Detection::FalseAlarm(said) => format!("FALSE ALARM: {name}: without {injected}: {said}"),
            Detection::NotTried(why) => format!("NOT TRIED: {name}: {injected}: {why}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    let caught = results.iter().filter(|result| result.is_caught()).count();
    text.push_str(&format!("{caught} of {} injected faults caught\n", results.len()));
    text
}

/// `{"mutations": [{"name", "injected", "outcome", "said"}, ...], "caught", "total"}`, indented.
pub fn json(results: &[MutationResult]) -> String {
    let one = |MutationResult { name, injected, outcome }: &MutationResult| {
        let (outcome, said) = match outcome {
            Detection::Caught(said) => ("caught", Some(said)),
            Detection::Missed => ("missed", None),
            Detection::FalseAlarm(said) => ("false_alarm", Some(said)),
            Detection::NotTried(why) => ("not_tried", Some(why)),
        };
        json!({ "name": name, "injected": injected, "outcome": outcome, "said": said })
    };
    let caught = results.iter().filter(|result| result.is_caught()).count();
    let mutations: Vec<_> = results.iter().map(one).collect();
    format!("{:#}\n", json!({ "mutations": mutations, "caught": caught, "total": results.len() }))
}
