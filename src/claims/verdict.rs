//! The verdict on a claim: the outcome and the facts that it rests on. The report words it.

use serde::Serialize;

use super::evaluate::Results;
use super::evidence::Evidence;
use super::findings::{CheckFinding, Unfit};
use super::interval::Met;
use super::query::Admitted;
use super::schema::{Check, Claim, Expect, Kind, Scope, SecondReading};
use super::several::{NamedVerdict, Several};
use crate::results::data::Data;

/// The result of judging a claim.
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
    /// Every outcome, in the order of a summary.
    pub const ALL: [Outcome; 5] =
        [Outcome::Pass, Outcome::Fail, Outcome::Undecided, Outcome::NotRun, Outcome::NoHardware];

    /// The order in which one of several verdicts on one claim decides, by experiments or by machines. A pass decides
    /// first where one value anywhere makes the claim true (`up to 64.4x`); a failure decides first for every other
    /// claim. An open verdict never overrides a decided one.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The claim, as it was read.
    pub claim: Claim,
    /// What the results say.
    pub outcome: Outcome,
    /// What the outcome rests on.
    pub basis: Basis,
    /// The verdict on the claim's second reading, where it has one.
    pub second: Option<Box<Verdict>>,
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq)]
pub enum Basis {
    /// No environment lists a GPU that could answer.
    MissingGpu(MissingGpu),
    /// The claim is about its own experiment only, and the results are of this one.
    OtherExperiment(String),
    /// The checks of the claim over the rows.
    Checks(Checks),
    /// The verdicts of several machines.
    Machines(Several),
    /// The verdicts of one or more experiments, the main one first.
    Experiments(Several),
}

/// The GPU that no environment lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingGpu {
    /// Any GPU.
    Any,
    /// A GPU whose name holds this text.
    Named(String),
}

/// What the checks of a claim found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checks {
    /// One per check.
    pub findings: Vec<CheckFinding>,
    /// Rows that could have answered and failed.
    pub failed: Option<FailedRows>,
    /// Why measured rows that could have answered do not.
    pub unfit: Vec<Unfit>,
}

/// Rows that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRows {
    /// Their number.
    pub rows: usize,
    /// Different reasons, in the order of the rows; `None` where none was recorded.
    pub reasons: Vec<Option<String>>,
}

impl Verdict {
    /// Whether a claim of the paper does not hold here by its literal reading. A finding is no claim of the paper.
    pub fn is_failure(&self) -> bool {
        self.outcome == Outcome::Fail && !self.claim.is_finding()
    }

    /// The verdict, and behind it that on the second reading.
    pub fn readings(&self) -> impl Iterator<Item = &Verdict> {
        std::iter::once(self).chain(self.second.as_deref())
    }

    /// The experiment whose rows answered, where it is not the report's main one.
    pub fn other_experiment(&self) -> Option<&str> {
        match &self.basis {
            Basis::Experiments(several) if several.position() > 0 => Some(&several.deciding().name),
            _ => None,
        }
    }

    /// What each machine says, where there are several; of several experiments, those of the one that decides.
    pub fn machines(&self) -> &[NamedVerdict] {
        match &self.basis {
            Basis::Machines(several) => several.all(),
            Basis::Experiments(several) => several.deciding().verdict.machines(),
            Basis::MissingGpu(_) | Basis::OtherExperiment(_) | Basis::Checks(_) => &[],
        }
    }

    /// What the checks found on the machine and in the experiment that decide; `None` where no check was made.
    pub fn checks(&self) -> Option<&Checks> {
        match &self.basis {
            Basis::Checks(checks) => Some(checks),
            Basis::Machines(several) | Basis::Experiments(several) => several.deciding().verdict.checks(),
            Basis::MissingGpu(_) | Basis::OtherExperiment(_) => None,
        }
    }

    /// How far the value of the check that decides lies within its limit, in the value's unit; negative beyond it. `None`
    /// where there is no value, or a limit on both sides.
    pub fn margin(&self) -> Option<f64> {
        let findings = &self.checks()?.findings;
        let decides = findings.iter().position(|finding| finding.met == Some(Met::No)).unwrap_or(0);
        let (check, value) = (self.claim.checks.get(decides)?, findings.get(decides)?.estimate?.value);
        let Expect { at_least, more_than, at_most, less_than, .. } = &check.expect;
        match (at_least.or(*more_than), at_most.or(*less_than)) {
            (Some(lower), None) => Some(value - lower),
            (None, Some(upper)) => Some(upper - value),
            _ => None,
        }
    }

    /// Models and inputs of the rows that decide.
    pub fn evidence(&self) -> Evidence {
        let findings = self.checks().into_iter().flat_map(|checks| &checks.findings);
        findings.fold(Evidence::default(), |all, finding| all.and(&finding.evidence))
    }

    /// Rows or pairs of rows looked at; of several checks the largest number.
    pub fn rows(&self) -> usize {
        let findings = self.checks().into_iter().flat_map(|checks| &checks.findings);
        findings.map(|finding| finding.rows).max().unwrap_or(0)
    }
}

impl Claim {
    /// The paper's words, or ours.
    pub fn words(&self) -> &str {
        self.sentence.as_ref().or(self.finding.as_ref()).map_or("", String::as_str)
    }

    /// Whether it is a finding of our own, and no claim of the paper.
    pub fn is_finding(&self) -> bool {
        self.finding.is_some()
    }

    /// The claim in its second reading, as `C5*`.
    pub fn second_reading(&self) -> Option<Claim> {
        let SecondReading { reading, checks, .. } = self.second.clone()?;
        Some(Claim { id: format!("{}*", self.id), reading, checks, second: None, ..self.clone() })
    }

    /// Whether every check of it asks whether some value is reached anywhere; see [`Check::is_up_to`].
    pub fn is_up_to(&self) -> bool {
        self.checks.iter().all(Check::is_up_to)
    }

    /// The GPU whose rows alone answer it, as part of its name.
    pub fn same_gpu(&self) -> Option<&str> {
        match &self.scope {
            Scope::SameGpu(name) => Some(name),
            Scope::AnyDevice | Scope::AnyGpu => None,
        }
    }
}

/// The verdicts on claims of the paper, without those on findings of our own.
pub fn of_paper(verdicts: &[Verdict]) -> impl Iterator<Item = &Verdict> {
    verdicts.iter().filter(|verdict| !verdict.claim.is_finding())
}

/// Claims of the paper with this outcome by their literal reading.
pub fn count(verdicts: &[Verdict], outcome: Outcome) -> usize {
    of_paper(verdicts).filter(|verdict| verdict.outcome == outcome).count()
}

/// Judges one claim in both readings.
pub fn judge(results: &Results, claim: &Claim) -> Verdict {
    let second = claim.second_reading().map(|second| Box::new(judge(results, &second)));
    let verdict = |outcome, basis| Verdict { claim: claim.clone(), outcome, basis, second: second.clone() };
    let environments = match usable_environments(results.data, &claim.scope) {
        Ok(environments) => environments,
        Err(missing) => return verdict(Outcome::NoHardware, Basis::MissingGpu(missing)),
    };
    let name = &results.data.plan.name;
    if claim.requires_experiment && *name != claim.experiment {
        return verdict(Outcome::NotRun, Basis::OtherExperiment(name.clone()));
    }
    let emulated = claim.kind.admits_emulation() || claim.kind == Kind::Count;
    let admitted = Admitted::of(results.data, emulated, environments);
    let findings: Vec<CheckFinding> = claim.checks.iter().map(|check| results.evaluate(check, &admitted)).collect();
    let outcome = outcome(&findings);
    let (failed, mut unfit) = (results.failed(claim, &admitted), results.unfit(claim, &admitted));
    // Where others answer, many rows may lack a quantity, and say nothing by it.
    unfit.retain(|unfit| outcome == Outcome::NotRun || !matches!(unfit, Unfit::Quantity(_)));
    verdict(outcome, Basis::Checks(Checks { findings, failed, unfit }))
}

/// Environments whose rows may answer: `None` for all.
fn usable_environments(data: &Data, scope: &Scope) -> Result<Option<Vec<String>>, MissingGpu> {
    let with = |wanted: &str| -> Vec<String> {
        let named = |name: &str| name.to_lowercase().contains(&wanted.to_lowercase());
        let listed = data.environments.iter().filter(|(_, found)| found.gpus.iter().any(|gpu| named(&gpu.name)));
        listed.map(|(id, _)| id.clone()).collect()
    };
    match scope {
        Scope::AnyDevice => Ok(None),
        Scope::AnyGpu if with("").is_empty() => Err(MissingGpu::Any),
        Scope::AnyGpu => Ok(None),
        Scope::SameGpu(name) => match with(name) {
            found if found.is_empty() => Err(MissingGpu::Named(name.clone())),
            found => Ok(Some(found)),
        },
    }
}

/// Every check must hold; one that fails decides, even where others have no rows.
fn outcome(findings: &[CheckFinding]) -> Outcome {
    let worst = findings.iter().filter_map(|finding| finding.met).max();
    let all_judged = findings.iter().all(|finding| finding.met.is_some());
    match worst {
        Some(Met::No) => Outcome::Fail,
        Some(Met::Straddles) if all_judged => Outcome::Undecided,
        Some(Met::Yes) if all_judged => Outcome::Pass,
        _ => Outcome::NotRun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_decides_and_one_without_rows_leaves_the_claim_open() {
        use Met::{No, Straddles, Yes};
        let of = |mets: &[Option<Met>]| {
            let finding = |&met: &Option<Met>| CheckFinding { met, ..CheckFinding::default() };
            outcome(&mets.iter().map(finding).collect::<Vec<_>>())
        };
        assert_eq!(of(&[Some(Yes), Some(Yes)]), Outcome::Pass);
        assert_eq!(of(&[Some(Yes), Some(Straddles)]), Outcome::Undecided);
        assert_eq!(of(&[Some(Straddles), Some(No)]), Outcome::Fail);
        assert_eq!(of(&[None, Some(No)]), Outcome::Fail);
        assert_eq!(of(&[None, Some(Straddles)]), Outcome::NotRun);
        assert_eq!(of(&[Some(Yes), None]), Outcome::NotRun);
    }
}
