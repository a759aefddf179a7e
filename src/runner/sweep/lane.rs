//! One worker after the other, and the rows that they measure.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::feed::Feed;
use super::processes::{GroupWorkers, Sampled};
use super::{Flow, REREADS, RowEnd, Sweep, keeps_changing, out_of_step};
use crate::engine::{BackendKind, BuildProgress, DeviceKind};
use crate::plan::Configuration;
use crate::record::{Failure, FailureKind, Outcome, Record};
use crate::runner::child::{Reply, Worker};
use crate::runner::failure::name_files_as_the_manifest;
use crate::runner::materials::states_files;
use crate::runner::placement::GpuShare;
use crate::runner::protocol::{Request, Response};
use crate::runner::{RunnerError, interrupt};

/// One worker after the other, on one GPU or on whatever the machine has.
pub(super) struct Lane<'a> {
    index: usize,
    pub share: Option<&'a GpuShare>,
    /// Whether the engines of the present group are executed as well as built.
    pub executes: bool,
    /// When the previous row was stored.
    since: Instant,
    /// How much of the time since then references took.
    pub referencing: Duration,
}

impl<'a> Lane<'a> {
    pub fn new(index: usize, share: Option<&'a GpuShare>) -> Self {
        Lane { index, share, executes: false, since: Instant::now(), referencing: Duration::ZERO }
    }
}

impl Sweep<'_> {
    /// Runs what the feed has for a lane, group by group.
    pub(super) fn lane(&self, lane: &mut Lane, feed: &Feed) -> Flow {
        while let Some(group) = feed.group(lane.index).filter(|_| !self.failed.load(Ordering::SeqCst)) {
            if self.group(lane, feed, &group)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Runs the configurations of one backend, model and policy, as far as no other lane takes them.
    fn group(&self, lane: &mut Lane, feed: &Feed, group: &[&Configuration]) -> Flow {
        let Some(first) = group.first() else {
            return Ok(ControlFlow::Continue(()));
        };
        if !group.iter().any(|one| self.is_affordable(one)) {
            group.iter().for_each(|one| {
                feed.take(lane.index, one);
            });
            return Ok(ControlFlow::Continue(()));
        }
        self.working_on(&format!("starting {} {} {}", first.backend, first.model, first.policy.name));
        let mut worker = Worker::spawn(lane.share)?;
        let probe = Request::Probe { settings: self.settings.clone(), backend: first.backend };
        let probed = match worker.call(&probe, self.limit())? {
            Reply::Response(response) => match *response {
                Response::Probed(result) => result,
                other => Err(out_of_step(&other)),
            },
            Reply::Died(failure) => Err(failure),
            Reply::TimedOut if self.is_out_of_time() => return Ok(ControlFlow::Break(())),
            Reply::TimedOut => Err(self.timeout()),
            Reply::Interrupted => return Ok(ControlFlow::Break(())),
        };
        let executes = match probed {
            Ok(probed) => probed.executes,
            Err(failure) => {
                let index = lane.index;
                for configuration in group.iter().filter(|one| feed.take(index, one)) {
                    self.record(lane, configuration, Outcome::Failed(failure.clone()))?;
                }
                return Ok(ControlFlow::Continue(()));
            }
        };
        lane.executes = executes;
        // Under a time limit a reference is computed when its row is begun.
        if self.deadline.is_none() && self.references(lane, group)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.measure_all(lane, feed, (group, GroupWorkers::of(worker)))
    }

    /// Gives the group's configurations to a worker one by one. After a death, a fresh worker takes the rest.
    fn measure_all(
        &self,
        lane: &mut Lane,
        feed: &Feed,
        (group, mut workers): (&[&Configuration], GroupWorkers),
    ) -> Flow {
        for configuration in group {
            let begun = feed.take(lane.index, configuration) && self.is_affordable(configuration);
            if !begun || self.failed.load(Ordering::SeqCst) {
                continue;
            }
            // They are there unless a file was replaced.
            if self.references(lane, &[configuration])?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.working_on(&configuration.label());
            let ControlFlow::Continue(outcome) = self.measure(lane, configuration, &mut workers)? else {
                return Ok(ControlFlow::Break(()));
            };
            self.record(lane, configuration, outcome)?;
        }
        workers.finish();
        Ok(if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Has one configuration measured by the worker that is ready, or by a fresh one, and by further ones where several processes
    /// take turns. Leaves the workers ready that can go on.
    fn measure(
        &self,
        lane: &mut Lane,
        configuration: &Configuration,
        workers: &mut GroupWorkers,
    ) -> Result<ControlFlow<(), Outcome>, RunnerError> {
        let request = Request::Measure {
            settings: self.settings.clone(),
            configuration: Box::new(configuration.clone()),
            references: self.references_of(configuration),
        };
        let mut changing = String::new();
        let began = Instant::now();
        for _ in 0..=REREADS {
            match self.attempt(lane, (configuration, began), &request, workers)? {
                Sampled::Row(outcome) => return Ok(ControlFlow::Continue(outcome)),
                Sampled::Stopped => return Ok(ControlFlow::Break(())),
                Sampled::Replaced(file) => {
                    workers.finish();
                    changing = file;
                    self.state().references.clear();
                    if self.references(lane, &[configuration])?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(Outcome::Failed(Failure::new(FailureKind::Error, &keeps_changing(&changing)))))
    }

    /// The same once, with the files as the workers read them.
    fn attempt(
        &self,
        lane: &Lane,
        (configuration, began): (&Configuration, Instant),
        request: &Request,
        workers: &mut GroupWorkers,
    ) -> Result<Sampled, RunnerError> {
        let mut worker = match workers.first.take() {
            Some(worker) => worker,
            None => Worker::spawn(lane.share)?,
        };
        let watch = |step: &BuildProgress| self.state().progress.building(configuration, step);
        Ok(match worker.call_watched(request, self.limit(), watch)? {
            Reply::Response(response) => match *response {
                Response::Measured(outcome) => {
                    if !poisons_worker(configuration.backend, &outcome) {
                        workers.first = Some(worker);
                    }
                    self.further_samples(lane, (configuration, began), outcome, &mut workers.others)?
                }
                other => {
                    workers.first = Some(worker);
                    match other {
                        Response::Replaced(file) => Sampled::Replaced(file),
                        other => Sampled::Row(Outcome::Failed(out_of_step(&other))),
                    }
                }
            },
            Reply::Died(failure) => Sampled::Row(Outcome::Failed(failure)),
            Reply::TimedOut if self.is_out_of_time() => Sampled::Stopped,
            Reply::TimedOut => Sampled::Row(Outcome::Failed(self.timeout())),
            Reply::Interrupted => Sampled::Stopped,
        })
    }

    /// Writes the row to disk before anything else happens.
    fn record(&self, lane: &mut Lane, configuration: &Configuration, mut outcome: Outcome) -> Result<(), RunnerError> {
        name_files_as_the_manifest(&mut outcome, &self.plan.base_dir);
        if let Outcome::Failed(failure) = &mut outcome {
            failure.libraries = self.libraries_of(configuration.backend);
            if states_files(configuration, failure) {
                failure.files = Some(Box::new(self.files_of(configuration)));
            }
        }
        let took = lane.since.elapsed();
        let record = Record {
            id: configuration.id.clone(),
            environment: self.environment.clone(),
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
            wall_s: Some(took.as_secs_f64()),
            gpu: lane.share.map(|share| share.uuid.clone()),
            outcome,
        };
        let differs = self.reference_differs(configuration, &record.outcome);
        let mut state = self.state();
        state.journal.append(&record)?;
        if matches!(record.outcome, Outcome::Ok(_)) {
            state.pace.finished(self.plan, configuration, took.saturating_sub(lane.referencing).as_secs_f64());
        }
        (lane.since, lane.referencing) = (Instant::now(), Duration::ZERO);
        if differs {
            state.without_reference.insert(record.id.clone());
            state.references.clear();
        }
        state.settled.insert(record.id.clone(), RowEnd::of(&record.outcome, true));
        state.progress.finished(configuration, &record.outcome);
        Ok(())
    }
}

/// Whether the worker must be discarded. A CUDA error persists in the process where it occurred.
fn poisons_worker(backend: BackendKind, outcome: &Outcome) -> bool {
    let failed = match outcome {
        Outcome::Failed(_) => true,
        Outcome::Ok(measured) => matches!(measured.aa_test, Some(Err(_))),
        Outcome::Built(_) => false,
    };
    backend.device() == DeviceKind::Gpu && failed
}
