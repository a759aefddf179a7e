//! Several processes that take turns at the samples of a row on a CPU. Where pages and threads lie is drawn once a process, and
//! moves every pass of it by up to 20 %; no number of passes of one process shows that.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread;
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

/// A row on its way through the further processes.
struct Turns<'a> {
    configuration: &'a Configuration,
    began: Instant,
    processes: usize,
}

impl Sweep<'_> {
    /// Has the further processes take their samples, where the first has taken its own and the manifest asks for several. They
    /// build their engines at once, as no time is taken then, and take samples by turns. A process that fails fails the row.
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
        while others.len() + 1 < processes {
            others.push(Worker::spawn(lane.share)?);
        }
        let mut turns = vec![ProcessSamples {
            samples_ms: std::mem::take(&mut measured.samples_ms),
            telemetry: std::mem::take(&mut measured.telemetry),
        }];
        Ok(match self.take_turns(&Turns { configuration, began, processes }, others, &mut turns)? {
            ControlFlow::Continue(()) => Sampled::Row(Outcome::Ok(Box::new(joined(*measured, turns)))),
            ControlFlow::Break(end) => {
                // Some of them are gone, and others hold an engine that nobody needs.
                others.clear();
                end
            }
        })
    }

    fn take_turns(
        &self,
        of: &Turns<'_>,
        others: &mut [Worker],
        turns: &mut Vec<ProcessSamples>,
    ) -> Result<ControlFlow<Sampled>, RunnerError> {
        let (settings, configuration) = (self.settings.clone(), Box::new(of.configuration.clone()));
        let prepare = Request::Prepare { settings: settings.clone(), configuration: configuration.clone() };
        let left = || self.limit_since(of.began);
        let replies: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> = others.iter_mut().map(|worker| scope.spawn(|| worker.call(&prepare, left()))).collect();
            calls.into_iter().map(|call| call.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        for (turn, reply) in (2..).zip(replies) {
            match self.answer(of, turn, reply?) {
                ControlFlow::Continue(Response::Prepared(Ok(()))) => {}
                ControlFlow::Continue(other) => return Ok(ControlFlow::Break(of.failed(turn, out_of_step(&other)))),
                ControlFlow::Break(end) => return Ok(ControlFlow::Break(end)),
            }
        }
        let sample = Request::Sample { settings, configuration };
        for (turn, worker) in (2..).zip(others) {
            match self.answer(of, turn, worker.call(&sample, left())?) {
                ControlFlow::Continue(Response::Sampled(Ok(samples))) => turns.push(samples),
                ControlFlow::Continue(other) => return Ok(ControlFlow::Break(of.failed(turn, out_of_step(&other)))),
                ControlFlow::Break(end) => return Ok(ControlFlow::Break(end)),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What a process answered, or how it ended the row.
    fn answer(&self, of: &Turns<'_>, turn: usize, reply: Reply) -> ControlFlow<Sampled, Response> {
        ControlFlow::Break(match reply {
            Reply::Response(response) => match *response {
                Response::Prepared(Err(failure)) | Response::Sampled(Err(failure)) => of.failed(turn, failure),
                Response::Replaced(file) => Sampled::Replaced(file),
                other => return ControlFlow::Continue(other),
            },
            Reply::Died(failure) => of.failed(turn, failure),
            Reply::TimedOut if self.is_out_of_time() => Sampled::Stopped,
            Reply::TimedOut => of.failed(turn, self.timeout()),
            Reply::Interrupted => Sampled::Stopped,
        })
    }
}

impl Turns<'_> {
    /// The row of a process that failed, counted from 1.
    fn failed(&self, turn: usize, failure: Failure) -> Sampled {
        let reason = format!("process {turn} of {}: {}", self.processes, failure.reason);
        Sampled::Row(Outcome::Failed(Failure { reason, ..failure }))
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
