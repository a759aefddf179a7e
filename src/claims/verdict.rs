//! The verdict on a claim.

use serde::Serialize;

use super::describe;
use super::evaluate::{Finding, Results};
use super::evidence::Answered;
use super::headline::wrong_with;
use super::interval::Met;
use super::machines::MachineVerdict;
use super::query::Admitted;
use super::read::ClaimsError;
use super::schema::{CLAIMS_VERSION, Check, Claim, Claims, Expect, Expression, Scope, Slack};
use crate::results::data::Data;

/// What the results say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// It holds here.
    #[serde(rename = "PASS")]
    Pass,
    /// It does not hold here.
    #[serde(rename = "FAIL")]
    Fail,
    /// The interval lies on both sides of the limit, or the value is undefined.
    #[serde(rename = "UNDECIDED")]
    Undecided,
    /// No rows that could answer it.
    #[serde(rename = "NOT RUN")]
    NotRun,
    /// No machine of this run could answer it.
    #[serde(rename = "N/A-HARDWARE")]
    NoHardware,
}

impl Outcome {
    /// What decides first of several verdicts on one claim, by other experiments or other machines: a pass, where one value
    /// anywhere makes the claim true (`up to 64.4x`), and a failure of every other claim. Whoever could not decide takes nothing
    /// back from one who could.
    pub fn by_weight(up_to: bool) -> [Outcome; 5] {
        let (first, second) = if up_to { (Outcome::Pass, Outcome::Fail) } else { (Outcome::Fail, Outcome::Pass) };
        [first, second, Outcome::Undecided, Outcome::NotRun, Outcome::NoHardware]
    }

    /// As printed.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Pass => "PASS",
            Outcome::Fail => "FAIL",
            Outcome::Undecided => "UNDECIDED",
            Outcome::NotRun => "NOT RUN",
            Outcome::NoHardware => "N/A-HARDWARE",
        }
    }
}

/// A claim, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// `C1`
    pub id: String,
    /// The paper's words.
    pub sentence: String,
    /// How the words were turned into an expression.
    pub reading: String,
    /// The paper's figure.
    pub paper_value: String,
    /// What the results say.
    pub outcome: Outcome,
    /// The value measured here, in words.
    pub measured: Option<String>,
    /// Its interval, in words.
    pub interval: Option<String>,
    /// Each value with its own interval.
    #[serde(skip)]
    pub shown: Option<String>,
    /// The deciding value per check.
    pub values: Vec<CheckedValue>,
    /// How the interval came about.
    pub method: String,
    /// Rows or pairs of rows looked at.
    pub rows: usize,
    /// Whose rows answered: models, inputs, and whether formats are emulated or weights random.
    pub answered: Answered,
    /// Why the verdict is what it is, in one sentence: what was found, and the limit it meets or misses.
    pub why: String,
    /// What was found, in a sentence or two.
    pub explanation: String,
    /// What was left out, and why, or what speaks against all of it; part of `explanation`, too.
    #[serde(skip)]
    pub left_out: Vec<String>,
    /// Manifest whose rows answer the claim.
    pub experiment: String,
    /// What to run for them.
    pub command: String,
    /// What that takes.
    pub hardware: String,
    /// The experiment whose rows answered, where it is not the report's main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_in: Option<String>,
    /// The GPU whose rows alone answer it, as part of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_gpu: Option<String>,
    /// Every check of it asks whether some value is reached anywhere; see [`Check::is_up_to`].
    #[serde(skip)]
    pub up_to: bool,
    /// What each machine says, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineVerdict>,
}

impl Verdict {
    /// Whether the claim does not hold here.
    pub fn is_failure(&self) -> bool {
        self.outcome == Outcome::Fail
    }
}

/// The number behind one check, for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedValue {
    /// What was expected, in words.
    pub expected: String,
    /// The value; in the store's units.
    pub value: Option<f64>,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// Judges one claim.
pub fn judge(results: &Results, claim: &Claim) -> Verdict {
    let verdict = blank(claim);
    let environments = match usable_environments(results.data, &claim.scope) {
        Ok(environments) => environments,
        Err(lacking) => {
            return Verdict {
                outcome: Outcome::NoHardware,
                why: format!("{lacking}, so nothing here can answer it: it needs {}.", claim.hardware),
                explanation: format!("{lacking}. {}", to_obtain(claim)),
                ..verdict
            };
        }
    };
    if claim.requires_experiment && results.data.plan.name != claim.experiment {
        let explanation = format!("This run is of `{}`. {}", results.data.plan.name, to_obtain(claim));
        let name = &results.data.plan.name;
        let why = format!("It is about the experiment `{}`, and this is one of `{name}`.", claim.experiment);
        return Verdict { why, explanation, ..verdict };
    }
    let admitted =
        Admitted { emulated: claim.kind.admits_emulation() || claim.kind == super::schema::Kind::Count, environments };
    let findings: Vec<Finding> = claim.checks.iter().map(|check| results.evaluate(check, &admitted)).collect();
    let failed = results.failed(claim, &admitted);
    combine(verdict, claim, &findings, failed)
}

pub(super) fn blank(claim: &Claim) -> Verdict {
    Verdict {
        id: claim.id.clone(),
        sentence: claim.sentence.clone(),
        reading: claim.reading.clone(),
        paper_value: claim.paper_value.clone(),
        outcome: Outcome::NotRun,
        measured: None,
        interval: None,
        shown: None,
        values: vec![],
        method: String::new(),
        rows: 0,
        answered: Answered::default(),
        why: String::new(),
        explanation: String::new(),
        left_out: vec![],
        experiment: claim.experiment.clone(),
        command: claim.command.clone(),
        hardware: claim.hardware.clone(),
        answered_in: None,
        up_to: claim.checks.iter().all(Check::is_up_to),
        same_gpu: match &claim.scope {
            Scope::SameGpu(name) => Some(name.clone()),
            Scope::AnyDevice | Scope::AnyGpu => None,
        },
        machines: vec![],
    }
}

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

/// Environments whose rows may answer: `None` for all; an error says what is lacking.
fn usable_environments(data: &Data, scope: &Scope) -> Result<Option<Vec<String>>, String> {
    let with = |wanted: &str| -> Vec<String> {
        let named = |name: &str| name.to_lowercase().contains(&wanted.to_lowercase());
        let listed = data.environments.iter().filter(|(_, found)| found.gpus.iter().any(|gpu| named(&gpu.name)));
        listed.map(|(id, _)| id.clone()).collect()
    };
    match scope {
        Scope::AnyDevice => Ok(None),
        Scope::AnyGpu if with("").is_empty() => Err("No environment of this run lists a GPU".to_owned()),
        Scope::AnyGpu => Ok(None),
        Scope::SameGpu(name) => match with(name) {
            found if found.is_empty() => Err(format!("No environment of this run lists a GPU named like `{name}`")),
            found => Ok(Some(found)),
        },
    }
}

fn combine(verdict: Verdict, claim: &Claim, findings: &[Finding], failed: Option<String>) -> Verdict {
    let met: Option<Vec<Met>> = findings.iter().map(|finding| finding.met).collect();
    let worst = findings.iter().filter_map(|finding| finding.met).max();
    let outcome = match (worst, met) {
        (Some(Met::No), _) => Outcome::Fail,
        (_, None) => Outcome::NotRun,
        (Some(Met::Straddles), _) => Outcome::Undecided,
        (Some(Met::Yes), _) => Outcome::Pass,
        (None, _) => Outcome::NotRun,
    };
    let words = |of: fn(&Finding) -> Option<String>| {
        let found: Vec<String> = findings.iter().filter_map(of).collect();
        (!found.is_empty()).then(|| found.join("; "))
    };
    let mut sentences = found(findings);
    let answered = findings.iter().fold(Answered::default(), |all, finding| all.and(&finding.answered));
    let why = match outcome {
        Outcome::NotRun => failed.clone().unwrap_or_else(|| {
            format!("No row of these results can answer it; those of the experiment `{}` do.", claim.experiment)
        }),
        _ => why(claim, findings),
    };
    sentences.extend(failed);
    if outcome == Outcome::NotRun {
        sentences.push(format!("No rows of this run can answer it. {}", to_obtain(claim)));
    } else {
        sentences.push(answered.sentence());
        sentences.extend(answered.emulation().map(|what| format!("Formats are {what}.")));
    }
    let mut methods: Vec<&str> =
        findings.iter().map(|finding| finding.method).filter(|text| !text.is_empty()).collect();
    methods.dedup();
    Verdict {
        outcome,
        measured: words(|finding| finding.measured.clone()),
        interval: words(|finding| finding.interval.clone()),
        shown: words(|finding| {
            let ends = finding.interval.as_ref().map(|ends| format!(" {ends}")).unwrap_or_default();
            finding.measured.as_ref().map(|measured| format!("{measured}{ends}"))
        }),
        values: claim
            .checks
            .iter()
            .zip(findings)
            .map(|(check, finding)| CheckedValue {
                expected: describe::expectation(&check.expression, &check.expect),
                value: finding.estimate.map(|found| found.value),
                low: finding.estimate.and_then(|found| found.interval).map(|ends| ends.0),
                high: finding.estimate.and_then(|found| found.interval).map(|ends| ends.1),
            })
            .collect(),
        method: methods.join("; "),
        rows: findings.iter().map(|finding| finding.rows).max().unwrap_or(0),
        answered,
        why,
        left_out: findings.iter().filter_map(|finding| finding.left_out.clone()).collect(),
        explanation: sentences.iter().map(|text| capitalised(text)).collect::<Vec<_>>().join(" "),
        ..verdict
    }
}

/// What each check found, and what was left out of it, in sentences.
fn found(findings: &[Finding]) -> Vec<String> {
    let left_out = |finding: &Finding| finding.left_out.as_ref().map(|text| format!("{text}."));
    let of = |finding: &Finding| [Some(finding.explanation.clone()), left_out(finding)];
    findings.iter().flat_map(of).flatten().filter(|text| !text.is_empty()).collect()
}

/// What each check found, its value, and the limit that this meets or misses: one sentence.
fn why(claim: &Claim, findings: &[Finding]) -> String {
    let parts = claim.checks.iter().zip(findings).map(|(check, finding)| {
        let found = finding.explanation.trim_end_matches('.');
        let limit = describe::expectation(&check.expression, &check.expect);
        // A share names its counts, and a value that is undefined has no limit to be set against.
        let Some(estimate) = finding.estimate.filter(|_| !matches!(check.expression, Expression::Share(_))) else {
            return found.to_owned();
        };
        let value = describe::value(&check.expression, estimate.value);
        let interval = finding.interval.as_ref().map(|ends| format!(" {ends}")).unwrap_or_default();
        let meets = match finding.met {
            Some(Met::Yes) if !Expect { tolerance: None, ..check.expect }.admits(estimate.value) => {
                format!("which meets {limit} by that tolerance alone")
            }
            Some(Met::Yes) => format!("which meets {limit}"),
            Some(Met::No) => format!("which misses {limit}"),
            _ => format!("on both sides of {limit}"),
        };
        let left_out = finding.left_out.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
        match (&check.expression, &finding.measured) {
            (Expression::Count(_), _) => format!("{found}, {meets}"),
            // Where each value counts, the whole range is what was measured.
            (_, Some(measured)) if *measured != value => format!("{found}: {measured}{interval}, {meets}{left_out}"),
            _ => format!("{found}: {value}{interval}, {meets}{left_out}"),
        }
    });
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    format!("{}.", capitalised(&parts.join("; ")))
}

fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Rules a well-formed claims file can still break.
pub(super) fn check_sense(claims: &Claims, file: &str) -> Result<(), ClaimsError> {
    let wrong = |claim: &str, message: String| {
        Err(ClaimsError::Claim { file: file.to_owned(), claim: claim.to_owned(), message })
    };
    if claims.schema != CLAIMS_VERSION {
        return wrong("", format!("schema {} is not the version this program reads, {CLAIMS_VERSION}", claims.schema));
    }
    for (index, claim) in claims.claims.iter().enumerate() {
        if claim.id.is_empty() || claims.claims[..index].iter().any(|other| other.id == claim.id) {
            return wrong(&claim.id, "its id is empty or taken; give every claim its own".to_owned());
        }
        if claim.checks.is_empty() {
            return wrong(&claim.id, "it has no checks; a claim without one cannot be judged".to_owned());
        }
        for check in &claim.checks {
            let expect = check.expect;
            let limits = [expect.at_least, expect.at_most, expect.more_than, expect.less_than];
            let slack = expect.tolerance.map(|(Slack::Relative(amount) | Slack::Absolute(amount))| amount);
            if limits.iter().all(Option::is_none) {
                return wrong(
                    &claim.id,
                    "`expect` has no limit; give at_least, at_most, more_than or less_than".to_owned(),
                );
            }
            if limits.iter().flatten().chain(&slack).any(|limit| !limit.is_finite())
                || slack.is_some_and(|amount| amount < 0.0)
            {
                return wrong(&claim.id, "a limit is not a finite number, or the tolerance is negative".to_owned());
            }
            let pairing = match &check.expression {
                Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                    pairing
                }
                _ => continue,
            };
            if pairing.joined_by.is_empty() {
                return wrong(&claim.id, "`joined_by` is empty; name the columns in which a pair agrees".to_owned());
            }
        }
    }
    for (index, spec) in claims.headlines.iter().enumerate() {
        let taken = claims.headlines[..index].iter().any(|other| other.key == spec.key);
        let message = if taken { Some("another headline has its key".to_owned()) } else { wrong_with(claims, spec) };
        if let Some(message) = message {
            return Err(ClaimsError::Headline { file: file.to_owned(), headline: spec.key.clone(), message });
        }
    }
    Ok(())
}
