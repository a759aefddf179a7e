//! A run within a time limit: which rows first, what is left out, and which claims that leaves open.

mod contention;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::claims::prospects::{Prospect, ValueRows, prospects};
use crate::claims::{Claims, Outcome, judge};
use crate::engine::{BackendKind, DeviceKind};
use crate::graph::Preset;
use crate::plan::{Configuration, ConfigurationId, Pace, Plan, duration};
use crate::provenance::Environment;
use crate::record::Record;
use crate::results::ResultsError;
use crate::results::data::Data;
use crate::runner::Deadline;
pub use contention::slowdown;
use order::Costs;

/// Share of the limit that the rows of a wave take; within one, rows that share a worker stay together.
const WAVE: f64 = 0.125;
/// Share of the limit within which a claim must be answered by estimate before it is promised. Nominal rates err by less
/// than a factor of 2 on the machines that were measured.
const SURE: f64 = 0.5;

/// A slowdown that a user is told of.
const BUSY: f64 = 1.25;

/// A limit as it is written: `45m`, `90s`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit(pub Duration);

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no time; write hours, minutes and seconds, like 45m, 90s or 1h30m");
        let (mut seconds, mut digits, mut smallest) = (0.0, String::new(), f64::INFINITY);
        for c in text.chars() {
            let unit_s = match c {
                'h' => 3600.0,
                'm' => 60.0,
                's' => 1.0,
                _ => {
                    digits.push(c);
                    continue;
                }
            };
            let is_number = digits.starts_with(|c: char| c.is_ascii_digit());
            let count: f64 = digits.parse().ok().filter(|_| is_number && unit_s < smallest).ok_or_else(wrong)?;
            (seconds, smallest) = (seconds + count * unit_s, unit_s);
            digits.clear();
        }
        let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| *limit >= Duration::from_secs(1));
        limit.filter(|_| digits.is_empty()).map(TimeLimit).ok_or_else(wrong)
    }
}

/// What a run within a limit is made from.
pub struct BudgetRequest<'a> {
    /// The part of the plan that is run.
    pub plan: &'a Plan,
    /// The machine.
    pub environment: &'a Environment,
    /// Backends that execute here.
    pub executing: &'a BTreeSet<BackendKind>,
    /// GPUs that share the rows; 0 where they are not spread.
    pub gpus: usize,
    /// Rows of earlier calls.
    pub earlier: &'a [Record],
    /// The limit.
    pub limit: Duration,
    /// What [`slowdown`] has found.
    pub slowdown: f64,
}

/// Rows in the order in which they decide most per second, and what they decide.
#[derive(Debug)]
pub struct Schedule {
    prospects: Vec<Prospect>,
    pace: Pace,
    done: Vec<bool>,
    /// Rows to run and when they end by estimate, seconds from the start.
    ends: Vec<(usize, f64)>,
    limit: Duration,
    slowdown: f64,
}

impl Schedule {
    /// Orders the rows of a plan that have none yet.
    pub fn new(limits: &BudgetRequest<'_>, claims: &Claims) -> Schedule {
        let BudgetRequest { plan, environment, executing, gpus, earlier, limit, slowdown } = *limits;
        let environments = BTreeMap::from([(environment.id(), environment.clone())]);
        let data = Data { plan: plan.clone(), rows: vec![], environments };
        let measured = |record: &Record| matches!(record.outcome, crate::record::Outcome::Ok(_));
        let failed: BTreeSet<&ConfigurationId> =
            earlier.iter().filter(|record| !measured(record)).map(|record| &record.id).collect();
        let prospects = prospects(&data, claims, |one| executing.contains(&one.backend) && !failed.contains(&one.id));
        let pace = pace(plan, earlier, slowdown);
        let has_row: BTreeSet<&ConfigurationId> = earlier.iter().map(|record| &record.id).collect();
        let done: Vec<bool> = plan.configurations.iter().map(|one| has_row.contains(&one.id)).collect();
        let costs = costs(plan, &pace, (executing, gpus));
        let order = order::order(&prospects, &table_units(plan), &costs, &done);
        let (mut end_s, mut referenced) = (0.0, BTreeSet::new());
        let ends = order.into_iter().map(|row| {
            let (reference, reference_s) = costs.references[row];
            end_s += costs.row_s[row] + if referenced.insert(reference) { reference_s } else { 0.0 };
            (row, end_s)
        });
        Schedule { ends: ends.collect(), prospects, pace, done, limit, slowdown }
    }

    /// The limit as the runner keeps it, counted from `started`. Where everything fits, the plan's own order stays.
    pub fn deadline(&self, plan: &Plan, started: Instant) -> Deadline {
        let limit_s = self.limit.as_secs_f64();
        let wave = |end_s: f64| match self.ends.last() {
            Some((_, last_s)) if *last_s > limit_s => (end_s / (limit_s * WAVE)).floor(),
            _ => 0.0,
        };
        let waves = self.ends.chunk_by(|a, b| wave(a.1) == wave(b.1));
        let id = |(row, _): &(usize, f64)| plan.configurations[*row].id.clone();
        let waves = waves.map(|rows| rows.iter().map(id).collect()).collect();
        Deadline { started, limit: self.limit, waves, pace: self.pace.clone() }
    }

    /// What the limit admits by estimate, and which claims are answered with it.
    pub fn forecast(&self, plan: &Plan) -> String {
        let limit_s = self.limit.as_secs_f64();
        let within = |end_s: f64| self.ends.iter().filter(move |(_, end)| *end <= end_s).map(|(row, _)| *row);
        let admitted: BTreeSet<usize> = within(limit_s).collect();
        let needed_s = self.ends.last().map_or(0.0, |(_, end_s)| *end_s);
        let mut text = format!(
            "{} of {} rows to run fit into {limit_s:.0} s by estimate; all would take {}\n",
            admitted.len(),
            self.ends.len(),
            duration(needed_s)
        );
        if self.slowdown > BUSY {
            let _ = writeln!(
                text,
                "other processes use the processors: what was not timed yet is taken to need {:.1} times as long",
                self.slowdown
            );
        }
        let out = self.ends.iter().filter(|(row, _)| !admitted.contains(row));
        text += &left_out(out.map(|(row, _)| &plan.configurations[*row]));
        let sure: BTreeSet<usize> = within(limit_s * SURE).collect();
        let with = |rows: &BTreeSet<usize>, row: usize| self.done[row] || rows.contains(&row);
        let (answered, open): (Vec<&Prospect>, Vec<&Prospect>) =
            self.prospects.iter().partition(|one| one.is_answered(|row| with(&admitted, row)));
        let (promised, hoped): (Vec<&Prospect>, Vec<&Prospect>) =
            answered.into_iter().partition(|one| one.is_answered(|row| with(&sure, row)));
        for (what, claims) in [("answered for sure", promised), ("answered if the estimate holds", hoped)] {
            let share = |one: &Prospect| {
                let units = one.checks.iter().flatten();
                let has = units.clone().filter(|unit| unit.iter().all(|&row| with(&admitted, row))).count();
                format!("{} (by {has} of {} values)", one.claim, units.count())
            };
            if !claims.is_empty() {
                let _ = writeln!(text, "{what}: {}", claims.into_iter().map(share).collect::<Vec<_>>().join(", "));
            }
        }
        // Claims that wait for the same are told in one line.
        let mut whys: Vec<(&str, Vec<&str>)> = Vec::new();
        for one in open {
            let why = if one.is_answered(|_| true) { "its rows do not fit" } else { one.elsewhere.as_str() };
            match whys.iter_mut().find(|(known, _)| *known == why) {
                Some((_, claims)) => claims.push(&one.claim),
                None => whys.push((why, vec![&one.claim])),
            }
        }
        for (why, claims) in whys {
            let _ = writeln!(text, "stays open: {}: {why}", claims.join(", "));
        }
        text
    }
}

/// What a run of this part of a plan within a limit left out, and which claims are open now.
///
/// # Errors
/// [`ResultsError`] when the folder cannot be read.
pub fn outcome(dir: &Path, part: &Plan, claims: &Claims) -> Result<String, ResultsError> {
    let data = Data::read(dir)?;
    let pending: BTreeSet<&str> = data
        .rows
        .iter()
        .filter(|row| row.status == crate::record::Status::Pending)
        .map(|row| row.id.as_str())
        .collect();
    let mut text = left_out(part.configurations.iter().filter(|one| pending.contains(one.id.0.as_str())));
    let verdicts = judge(&data, claims);
    let open = |outcome: Outcome| matches!(outcome, Outcome::NotRun | Outcome::NoHardware);
    let ids = |is_open: bool| -> Vec<&str> {
        let chosen = verdicts.iter().filter(|verdict| open(verdict.outcome) == is_open);
        chosen.map(|verdict| verdict.claim.id.as_str()).collect()
    };
    for (what, ids) in [("claims answered", ids(false)), ("claims open", ids(true))] {
        if !ids.is_empty() {
            let _ = writeln!(text, "{what}: {}", ids.join(", "));
        }
    }
    Ok(text)
}

/// `left out: 12 of onnxruntime gpt2, ...`, a line; empty of no rows.
fn left_out<'a>(rows: impl Iterator<Item = &'a Configuration>) -> String {
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    rows.for_each(|one| *counts.entry((one.builder(), &one.model)).or_default() += 1);
    let counts: Vec<String> =
        counts.iter().map(|((backend, model), count)| format!("{count} of {backend} {model}")).collect();
    if counts.is_empty() { String::new() } else { format!("left out: {}\n", counts.join(", ")) }
}

/// The pace of the rows of earlier calls. The time of the first row of a model, an input and a length holds its FP32 reference.
fn pace(plan: &Plan, earlier: &[Record], slowdown: f64) -> Pace {
    let (mut pace, mut referenced) = (Pace::slowed(slowdown), BTreeSet::new());
    for record in earlier {
        let one = plan.configurations.iter().find(|one| one.id == record.id);
        let measured = matches!(record.outcome, crate::record::Outcome::Ok(_));
        let Some((one, wall_s)) = one.zip(record.wall_s).filter(|_| measured) else { continue };
        let reference_s = match referenced.insert((&one.model, &one.input, one.shape.sequence)) {
            true => plan.reference_s(one),
            false => 0.0,
        };
        let of_row = plan.estimate(one).total_s / (plan.estimate(one).total_s + reference_s);
        pace.finished(plan, one, wall_s * of_row);
        if reference_s > 0.0 {
            pace.referenced(plan, one, wall_s * (1.0 - of_row));
        }
    }
    pace
}

/// Rows of a GPU take a share of their time where several run at once.
fn costs(plan: &Plan, pace: &Pace, (executing, gpus): (&BTreeSet<BackendKind>, usize)) -> Costs {
    let mut known = Vec::new();
    let mut costs = Costs::default();
    for one in &plan.configurations {
        let runs = executing.contains(&one.backend);
        let key = (&one.model, &one.input, one.shape.sequence, runs);
        let reference = known.iter().position(|other| *other == key).unwrap_or_else(|| {
            known.push(key);
            known.len() - 1
        });
        let seconds = |expected_s: f64| if runs { expected_s } else { 0.0 };
        let at_once = if one.backend.device() == DeviceKind::Gpu { gpus.max(1) as f64 } else { 1.0 };
        costs.row_s.push(seconds(pace.expected_s(plan, one) / at_once));
        costs.references.push((reference, seconds(pace.expected_reference_s(plan, one))));
    }
    costs
}

/// The cells of tables: a row's own values, and its ratio to the FP32 row of its backend.
fn table_units(plan: &Plan) -> Vec<ValueRows> {
    let all = &plan.configurations;
    let base = |one: &Configuration| {
        all.iter().position(|other| {
            other.policy.as_preset() == Some(Preset::Fp32)
                && (other.backend, &other.model, other.shape, &other.input, other.target)
                    == (one.backend, &one.model, one.shape, &one.input, one.target)
        })
    };
    let units = all.iter().enumerate().flat_map(|(row, one)| {
        let ratio = base(one).filter(|base| *base != row).map(|base| vec![row, base]);
        std::iter::once(vec![row]).chain(ratio)
    });
    units.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::Manifest;

    #[test]
    fn limits_are_read_and_nonsense_is_refused() {
        let seconds = |text: &str| text.parse::<TimeLimit>().map(|limit| limit.0.as_secs_f64());
        assert_eq!(seconds("45m"), Ok(2700.0));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds("1.5m"), Ok(90.0));
        for wrong in ["", "45", "m", "0s", "-5m", "5x", "10m1h", "1m1m", "infs", "1e400s"] {
            assert!(seconds(wrong).unwrap_err().contains("45m"), "{wrong}");
        }
    }

    fn schedule(limit_s: u64) -> (Plan, Schedule) {
        let plan = Plan::expand(&Manifest::load("experiments/quick.yaml".as_ref()).unwrap());
        let limits = BudgetRequest {
            plan: &plan,
            environment: &Environment::capture(),
            executing: &BTreeSet::from([BackendKind::Reference]),
            gpus: 0,
            earlier: &[],
            limit: Duration::from_secs(limit_s),
            slowdown: 1.0,
        };
        let schedule = Schedule::new(&limits, &Claims::builtin().unwrap());
        (plan, schedule)
    }

    #[test]
    fn what_can_be_answered_here_is_answered_before_the_rest() {
        let (plan, schedule) = schedule(10);
        let forecast = schedule.forecast(&plan);
        let answered: Vec<&str> = forecast.lines().filter(|line| line.starts_with("answered")).collect();
        assert!(answered.iter().any(|line| line.contains("C5")), "{forecast}");
        assert!(forecast.contains("stays open: C7: "), "{forecast}");
        assert!(forecast.contains("left out: 6 of onnxruntime bert-base, 6 of onnxruntime gpt2"), "{forecast}");
        assert_eq!(schedule.ends.len(), plan.configurations.len());
        assert!(schedule.deadline(&plan, Instant::now()).waves.len() > 1);
    }

    #[test]
    fn where_everything_fits_the_order_is_the_plans() {
        let (plan, schedule) = schedule(36_000);
        assert_eq!(schedule.deadline(&plan, Instant::now()).waves.len(), 1);
        assert!(!schedule.forecast(&plan).contains("left out"));
    }
}
