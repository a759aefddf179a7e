//! Several processes that take turns at the samples of a row on a CPU. Where pages and threads lie is drawn once a process, and
//! moves every pass of it by up to 20 %; no number of passes of one process shows that.

use std::time::Instant;

use super::lane::Lane;
use super::{Sweep, out_of_step};
use crate::plan::Configuration;
use crate::record::telemetry::Telemetry;
use crate::record::{EngineMeasurements, Failure, Outcome};
use crate::runner::RunnerError;
use crate::runner::child::{Reply, Worker};
use crate::runner::protocol::{ProcessSamples, Request, Response};

/// The workers of a group of configurations.
pub(super) struct GroupWorkers {
    /// Measures every row; `None` after it died.
    pub first: Option<Worker>,
    /// Take their turns at the samples of each, in this order.
    pub others: Vec<Worker>,
}

impl GroupWorkers {
    pub fn of(first: Worker) -> Self {
        GroupWorkers { first: Some(first), others: Vec::new() }
    }

    /// Lets them all end.
    pub fn finish(&mut self) {
        self.first.take().into_iter().chain(self.others.drain(..)).for_each(Worker::finish);
    }
}

/// How the turns of the further processes ended.
pub(super) enum Sampled {
    /// The row, with the samples of all.
    Row(Outcome),
    /// The user or a time limit stopped the run.
    Stopped,
    /// This file was replaced meanwhile.
    Replaced(String),
}

impl Sweep<'_> {
    /// Has the further processes take their samples, where the first has taken its own and the manifest asks for several. A
    /// process that fails fails the row.
    pub(super) fn further_samples(
        &self,
        lane: &Lane,
        (configuration, began): (&Configuration, Instant),
        outcome: Outcome,
        others: &mut Vec<Worker>,
    ) -> Result<Sampled, RunnerError> {
        let processes = self.plan.measurement.processes(configuration.backend.device());
        let mut measured = match outcome {
            Outcome::Ok(measured) if processes > 1 => measured,
            other => return Ok(Sampled::Row(other)),
        };
        let request =
            Request::Sample { settings: self.settings.clone(), configuration: Box::new(configuration.clone()) };
        let mut turns = vec![ProcessSamples {
            samples_ms: std::mem::take(&mut measured.samples_ms),
            telemetry: std::mem::take(&mut measured.telemetry),
        }];
        let failed = |turn: usize, failure: Failure| {
            let reason = format!("process {} of {processes}: {}", turn + 1, failure.reason);
            Ok(Sampled::Row(Outcome::Failed(Failure { reason, ..failure })))
        };
        for turn in 1..processes {
            if others.len() < turn {
                others.push(Worker::spawn(lane.share)?);
            }
            let limit = self.limit().saturating_sub(began.elapsed());
            let reply = others[turn - 1].call(&request, limit)?;
            if !matches!(reply, Reply::Response(_)) {
                others.truncate(turn - 1);
            }
            match reply {
                Reply::Response(response) => match *response {
                    Response::Sampled(Ok(samples)) => turns.push(samples),
                    Response::Sampled(Err(failure)) => return failed(turn, failure),
                    Response::Replaced(file) => return Ok(Sampled::Replaced(file)),
                    other => return failed(turn, out_of_step(&other)),
                },
                Reply::Died(failure) => return failed(turn, failure),
                Reply::TimedOut if self.is_out_of_time() => return Ok(Sampled::Stopped),
                Reply::TimedOut => return failed(turn, self.timeout()),
                Reply::Interrupted => return Ok(Sampled::Stopped),
            }
        }
        Ok(Sampled::Row(Outcome::Ok(Box::new(joined(*measured, turns)))))
    }
}

/// A row of the samples of several processes.
fn joined(measured: EngineMeasurements, turns: Vec<ProcessSamples>) -> EngineMeasurements {
    EngineMeasurements {
        samples_of_processes: turns.iter().map(|turn| turn.samples_ms.len()).collect(),
        telemetry: worst(turns.iter().map(|turn| &turn.telemetry)),
        samples_ms: turns.into_iter().flat_map(|turn| turn.samples_ms).collect(),
        ..measured
    }
}

/// What a disturbance of any process shows: the largest number of foreign CPUs, and the clock that is farthest from the kernel's.
fn worst<'a>(all: impl Iterator<Item = &'a Telemetry> + Clone) -> Telemetry {
    let farthest = |a: f64, b: f64| if (b - 1.0).abs() > (a - 1.0).abs() { b } else { a };
    Telemetry {
        foreign_cpus: all.clone().filter_map(|one| one.foreign_cpus).reduce(f64::max),
        clock_ratio: all.clone().filter_map(|one| one.clock_ratio).reduce(farthest),
        ..all.last().cloned().unwrap_or_default()
    }
}
