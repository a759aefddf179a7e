//! Verdicts as text and JSON.

use std::fmt::Write;

use super::WordedVerdict;
use crate::claims::verdict::count;
use crate::claims::{Outcome, Verdict};

/// Width the sentences are broken at.
const WIDTH: usize = 96;

/// Characters that several values of a claim may take in the table.
const VALUES: usize = 32;

/// A table for a terminal: a line per claim, second reading and finding, then what stands behind each. The last line
/// counts the claims.
pub fn to_text(verdicts: &[Verdict]) -> String {
    let worded = WordedVerdict::all(verdicts);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:<4} {:<13} {:<22} {:<44} rows", "id", "verdict", "paper", "measured here");
    for verdict in worded.iter().flat_map(WordedVerdict::readings) {
        let measured = verdict.measured.as_deref().map_or_else(|| "-".to_owned(), first_values);
        let limits = verdict.answered.limits();
        let limits = if limits.is_empty() {
            String::new()
        } else {
            format!(" ({})", limits.join(", ").replace(" on the CPU", ""))
        };
        let _ = writeln!(
            out,
            "{:<4} {:<13} {:<22} {:<44} {}",
            verdict.id,
            verdict.outcome.label(),
            verdict.paper_value.as_deref().unwrap_or("-"),
            format!("{measured}{limits}"),
            verdict.rows
        );
    }
    for verdict in &worded {
        let (label, words) = match &verdict.finding {
            Some(finding) => ("finding", finding.clone()),
            None => ("paper", format!("\"{}\"", verdict.words())),
        };
        details(&mut out, verdict, label, &words);
        if let Some(second) = &verdict.second {
            details(&mut out, &second.verdict, "counts", &second.counts);
        }
    }
    let _ = writeln!(out, "\n{}", summary(verdicts));
    out
}

/// As many of the values, which `; ` separates, as have room in the table; the first one always.
fn first_values(measured: &str) -> String {
    let mut parts = measured.split("; ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if text.chars().count() + part.chars().count() > VALUES {
            return format!("{text}; …");
        }
        text = format!("{text}; {part}");
    }
    text
}

/// What stands behind a verdict, under its words.
fn details(out: &mut String, verdict: &WordedVerdict, label: &str, words: &str) {
    let _ = writeln!(out, "\n{} {}", verdict.id, verdict.outcome.label());
    paragraph(out, label, words);
    paragraph(out, "read as", &verdict.reading);
    if let Some(interval) = &verdict.interval {
        paragraph(out, "interval", &format!("{interval}: {}", verdict.method));
    }
    paragraph(out, "found", &verdict.explanation);
}

/// The verdicts as JSON: the claims, each with the verdict on its second reading under `second`, then the findings.
///
/// # Errors
/// None that is known: every field is a string, a number or null.
pub fn to_json(verdicts: &[Verdict]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&WordedVerdict::all(verdicts)).map(|text| text + "\n")
}

/// `2 PASS, 1 FAIL, 7 N/A-HARDWARE`: claims of the paper by their literal reading.
pub fn summary(verdicts: &[Verdict]) -> String {
    let counted = Outcome::ALL.into_iter().filter_map(|outcome| match count(verdicts, outcome) {
        0 => None,
        n => Some(format!("{n} {}", outcome.label())),
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn paragraph(out: &mut String, label: &str, text: &str) {
    let mut line = format!("  {label:<9}");
    let mut length = line.len();
    for word in text.split_whitespace() {
        if length + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(11);
            length = line.len();
        }
        line.push(' ');
        line.push_str(word);
        length += 1 + word.chars().count();
    }
    let _ = writeln!(out, "{line}");
}
