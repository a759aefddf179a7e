//! A verdict in words: why, what was found, and what to run where nothing was.

use super::findings::{self, WordedFinding};
use super::{CheckedValue, WordedSecond, WordedVerdict, several, values};
use crate::claims::evidence::Evidence;
use crate::claims::findings::{CheckFinding, Disturbed, Unfit};
use crate::claims::interval::Met;
use crate::claims::schema::{Check, Claim, Expect, Expression};
use crate::claims::verdict::{Basis, Checks, FailedRows, MissingGpu};
use crate::claims::{Outcome, Verdict};
use crate::numbers;

pub(super) fn worded(verdict: &Verdict) -> WordedVerdict {
    let words = match &verdict.basis {
        Basis::MissingGpu(missing) => without_gpu(verdict, missing),
        Basis::OtherExperiment(name) => of_other_experiment(verdict, name),
        Basis::Checks(checks) => of_checks(verdict, checks),
        Basis::Machines(machines) => several::of_machines(machines),
        Basis::Experiments(experiments) => several::of_experiments(experiments),
    };
    let second = verdict.claim.second.as_ref().zip(verdict.second.as_ref());
    let second = second
        .map(|(reading, verdict)| Box::new(WordedSecond { counts: reading.counts.clone(), verdict: worded(verdict) }));
    WordedVerdict { second, ..words }
}

/// What the sentences about a verdict call it.
fn noun(claim: &Claim) -> &'static str {
    if claim.is_finding() { "finding" } else { "claim" }
}

/// The claim as it was read, and nothing found.
fn without_findings(verdict: &Verdict) -> WordedVerdict {
    let claim = &verdict.claim;
    WordedVerdict {
        id: claim.id.clone(),
        sentence: claim.sentence.clone(),
        finding: claim.finding.clone(),
        reading: claim.reading.clone(),
        paper_value: claim.paper_value.clone(),
        outcome: verdict.outcome,
        measured: None,
        interval: None,
        shown: None,
        values: vec![],
        method: String::new(),
        rows: 0,
        answered: Evidence::default(),
        why: String::new(),
        explanation: String::new(),
        left_out: vec![],
        experiment: claim.experiment.clone(),
        command: claim.command.clone(),
        hardware: claim.hardware.clone(),
        answered_in: None,
        same_gpu: claim.same_gpu().map(str::to_owned),
        machines: vec![],
        second: None,
    }
}

fn without_gpu(verdict: &Verdict, missing: &MissingGpu) -> WordedVerdict {
    let lacking = match missing {
        MissingGpu::Any => "No environment of this run lists a GPU".to_owned(),
        MissingGpu::Named(name) => format!("No environment of this run lists a GPU named like `{name}`"),
    };
    WordedVerdict {
        why: format!("{lacking}; the {} needs {}.", noun(&verdict.claim), verdict.claim.hardware),
        explanation: format!("{lacking}. {}", to_obtain(&verdict.claim)),
        ..without_findings(verdict)
    }
}

fn of_other_experiment(verdict: &Verdict, name: &str) -> WordedVerdict {
    let own = &verdict.claim.experiment;
    WordedVerdict {
        why: format!("The {} is about the experiment `{own}`, and this is a run of `{name}`.", noun(&verdict.claim)),
        explanation: format!("This is a run of `{name}`. {}", to_obtain(&verdict.claim)),
        ..without_findings(verdict)
    }
}

fn of_checks(verdict: &Verdict, checks: &Checks) -> WordedVerdict {
    let claim = &verdict.claim;
    let pairs = || claim.checks.iter().zip(&checks.findings);
    let findings: Vec<WordedFinding> = pairs().map(|(check, finding)| WordedFinding::of(check, finding)).collect();
    let words = |of: fn(&WordedFinding) -> Option<String>| {
        let found: Vec<String> = findings.iter().filter_map(of).collect();
        (!found.is_empty()).then(|| found.join("; "))
    };
    let mut methods: Vec<&str> =
        findings.iter().map(|finding| finding.method).filter(|text| !text.is_empty()).collect();
    methods.dedup();
    WordedVerdict {
        measured: words(|finding| finding.measured.clone()),
        interval: words(|finding| finding.interval.clone()),
        shown: words(|finding| finding.measured.as_ref().map(|measured| finding.shown(measured))),
        values: pairs().map(|(check, finding)| checked_value(check, finding)).collect(),
        method: methods.join("; "),
        rows: verdict.rows(),
        answered: verdict.evidence(),
        why: why(verdict, checks, &findings),
        explanation: explanation(verdict, checks, &findings),
        left_out: findings.iter().filter_map(|finding| finding.left_out.clone()).collect(),
        ..without_findings(verdict)
    }
}

fn checked_value(check: &Check, finding: &CheckFinding) -> CheckedValue {
    let ends = finding.estimate.and_then(|found| found.interval);
    CheckedValue {
        name: check.value.clone(),
        expected: values::expectation(&check.expression, &check.expect),
        value: finding.estimate.map(|found| found.value),
        low: ends.map(|ends| ends.0),
        high: ends.map(|ends| ends.1),
    }
}

impl WordedFinding {
    /// The name of a value where it has one, the value, and its interval.
    fn shown(&self, value: &str) -> String {
        let value = self.with_interval(value);
        self.name.as_ref().map_or_else(|| value.clone(), |name| format!("{name}: {value}"))
    }

    /// A value and, where there is one, the interval.
    fn with_interval(&self, value: &str) -> String {
        self.interval.as_ref().map_or_else(|| value.to_owned(), |ends| format!("{value} {ends}"))
    }
}

/// What each check found and what was left out of it; then whose rows these are, or how to obtain some.
fn explanation(verdict: &Verdict, checks: &Checks, findings: &[WordedFinding]) -> String {
    let left_out = |finding: &WordedFinding| finding.left_out.as_ref().map(|text| format!("{text}."));
    let of = |finding: &WordedFinding| [Some(finding.explanation.clone()), left_out(finding)];
    let mut sentences: Vec<String> = findings.iter().flat_map(of).flatten().filter(|text| !text.is_empty()).collect();
    sentences.extend(checks.failed.as_ref().map(failed));
    sentences.extend(unfit(&checks.unfit));
    if verdict.outcome == Outcome::NotRun {
        let noun = noun(&verdict.claim);
        sentences.push(format!("No row of this run can answer the {noun}. {}", to_obtain(&verdict.claim)));
    } else {
        let evidence = verdict.evidence();
        sentences.push(evidence.sentence());
        sentences.extend(evidence.emulation().map(|what| format!("Formats are {what}.")));
    }
    sentences.iter().map(|text| capitalised(text)).collect::<Vec<_>>().join(" ")
}

/// What each check found, its value, and the limit that this meets or misses: one sentence.
fn why(verdict: &Verdict, checks: &Checks, findings: &[WordedFinding]) -> String {
    let claim = &verdict.claim;
    if verdict.outcome == Outcome::NotRun {
        return checks.failed.as_ref().map(failed).or_else(|| unfit(&checks.unfit)).unwrap_or_else(|| {
            let noun = noun(claim);
            format!("No row of these results can answer the {noun}; rows of the experiment `{}` can.", claim.experiment)
        });
    }
    let each = claim.checks.iter().zip(&checks.findings).zip(findings);
    let parts: Vec<String> = each
        .map(|((check, finding), words)| why_of_check(check, finding, words))
        .filter(|part| !part.is_empty())
        .collect();
    format!("{}.", capitalised(&parts.join("; ")))
}

fn why_of_check(check: &Check, finding: &CheckFinding, words: &WordedFinding) -> String {
    let found = words.explanation.trim_end_matches('.');
    let limit = values::expectation(&check.expression, &check.expect);
    // A share names its counts, and an undefined value cannot be compared with a limit.
    let Some(estimate) = finding.estimate.filter(|_| !matches!(check.expression, Expression::Share(_))) else {
        return found.to_owned();
    };
    let meets = match finding.met {
        // Wherever its interval lies, such a value is not compared with the limit.
        _ if finding.disturbed == Some(Disturbed::All) => String::new(),
        Some(Met::Yes) if !Expect { tolerance: None, ..check.expect }.admits(estimate.value) => {
            format!(", which meets {limit} only with that tolerance")
        }
        Some(Met::Yes) => format!(", which meets {limit}"),
        Some(Met::No) => format!(", which misses {limit}"),
        _ => format!(", on both sides of {limit}"),
    };
    if matches!(check.expression, Expression::Count(_)) {
        return format!("{found}{meets}");
    }
    let left_out = words.left_out.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
    // Where each value counts, the whole range is what was measured.
    let value = words.measured.clone().unwrap_or_else(|| values::value(&check.expression, estimate.value));
    format!("{found}: {}{meets}{left_out}", words.with_interval(&value))
}

/// How many rows that could have answered failed, and why.
fn failed(failed: &FailedRows) -> String {
    let mut reasons = failed.reasons.iter().map(|reason| reason.as_deref().unwrap_or("no reason was recorded"));
    let first = reasons.next().unwrap_or_default();
    let others = match reasons.count() {
        0 => String::new(),
        n => format!(" (and {})", numbers::plural(n, "other reason")),
    };
    let rows = numbers::plural(failed.rows, "matching row");
    format!("{rows} failed: {}{others}.", first.trim_end_matches('.'))
}

/// Unfit rows that a sentence names.
const UNFIT_SHOWN: usize = 4;

/// `Not counted: the file of input cola is another.`; `None` where every row that could answer does.
fn unfit(rows: &[Unfit]) -> Option<String> {
    let words = |one: &Unfit| match one {
        Unfit::Model(model) => format!("{model} is none of the models in question"),
        Unfit::Input(input) => format!("the file of input {input} is not the one in question"),
        Unfit::AtChance { row, accuracy, share } => format!(
            "the accuracy of {} is {}, not surely above the {} of the largest class",
            findings::label(row),
            numbers::percent(*accuracy),
            numbers::percent(*share)
        ),
        Unfit::Quantity(row) => format!("{} has no value to compare", findings::label(row)),
    };
    let mut named: Vec<String> = rows.iter().take(UNFIT_SHOWN).map(words).collect();
    if rows.len() > UNFIT_SHOWN {
        named.push(format!("and {} more", numbers::count((rows.len() - UNFIT_SHOWN) as u64)));
    }
    (!named.is_empty()).then(|| format!("Not counted: {}.", named.join("; ")))
}

/// What to run, on what, and which of the backends that answer are not in this program.
fn to_obtain(claim: &Claim) -> String {
    let lacking: Vec<&str> = claim.backends.iter().filter(|kind| !kind.is_built_in()).map(|kind| kind.name()).collect();
    let software = match lacking.as_slice() {
        [] => String::new(),
        [rest @ .., last] => {
            let first = if rest.is_empty() { String::new() } else { format!("{} or ", rest.join(", ")) };
            format!(" This version of mixprec contains no {first}{last} backend.")
        }
    };
    format!("To obtain the rows: {}. Needs: {}.{software}", claim.command, claim.hardware)
}

fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;
    use crate::claims::interval::Estimate;

    #[test]
    fn a_value_of_disturbed_pairs_alone_is_not_compared_with_the_limit() {
        let claims = Claims::builtin().unwrap();
        let check = &claims.claims[0].checks[0];
        let why = |disturbed| {
            let estimate = Some(Estimate { value: 542.0, interval: Some((310.0, 577.0)) });
            let finding = CheckFinding { met: Some(Met::Straddles), estimate, disturbed, ..CheckFinding::default() };
            why_of_check(check, &finding, &WordedFinding::of(check, &finding))
        };
        let limit = values::expectation(&check.expression, &check.expect);
        assert_eq!(why(None), format!(": 542× [310×, 577×], on both sides of {limit}"));
        let disturbed = why(Some(Disturbed::All));
        assert!(disturbed.starts_with(": 542× [310×, 577×]; other processes used the device"), "{disturbed}");
        assert!(!disturbed.contains(&limit), "{disturbed}");
    }

    #[test]
    fn the_first_reason_of_failed_rows_is_named_and_the_others_are_counted() {
        let of = |rows, reasons: &[Option<&str>]| {
            failed(&FailedRows { rows, reasons: reasons.iter().map(|reason| reason.map(str::to_owned)).collect() })
        };
        assert_eq!(of(1, &[Some("out of memory.")]), "1 matching row failed: out of memory.");
        assert_eq!(of(3, &[None, Some("a")]), "3 matching rows failed: no reason was recorded (and 1 other reason).");
        assert_eq!(of(9, &[Some("a"), Some("b"), Some("c")]), "9 matching rows failed: a (and 2 other reasons).");
    }
}
