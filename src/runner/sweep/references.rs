//! The FP32 references of a sweep: computed before the rows that need them, by a worker of their own.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Instant;

use super::{Flow, Lane, REREADS, Sweep, keeps_changing, out_of_step};
use crate::numerics::{Part, ReferenceOutputs};
use crate::plan::Configuration;
use crate::record::{Materials, Outcome};
use crate::runner::child::{Reply, Worker};
use crate::runner::protocol::{References, Request, Response};

impl Sweep<'_> {
    /// Checks the group's FP32 references. Computes those that are absent, damaged or made from other weights. A
    /// separate worker does this, so that the measuring worker's memory and caches stay clean. A failure becomes a
    /// remark in the rows that need the reference.
    pub(super) fn references(&self, lane: &mut Lane, group: &[&Configuration]) -> Flow {
        // An engine that is not executed needs no reference.
        if !lane.executes {
            return Ok(ControlFlow::Continue(()));
        }
        let mut ready: Option<Worker> = None;
        for configuration in group {
            let begun = Instant::now();
            let is_new = self.parts(configuration).all(|part| !self.reference_path(configuration, part).exists());
            for part in self.parts(configuration) {
                if self.reference(lane, configuration, (part, &mut ready))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let path = self.reference_path(configuration, part);
                // Without one part of the forwards the others serve nothing.
                if matches!(part, Part::Forwards(_)) && self.state().references.get(&path).is_some_and(Result::is_err) {
                    break;
                }
            }
            let known = self.references_of(configuration);
            if is_new && known.compared_missing.is_none() && known.forwards_missing.is_none() {
                self.state().pace.referenced(self.plan, configuration, begun.elapsed().as_secs_f64());
            }
        }
        if let Some(worker) = ready {
            worker.finish();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Checks or computes one part, unless this run has done so.
    fn reference(
        &self,
        lane: &mut Lane,
        configuration: &Configuration,
        (part, ready): (Part, &mut Option<Worker>),
    ) -> Flow {
        let path = self.reference_path(configuration, part);
        let start = Instant::now();
        let is_known = || self.state().references.contains_key(&path);
        if is_known() {
            return Ok(ControlFlow::Continue(()));
        }
        let _alone = self.referencing.lock().unwrap_or_else(PoisonError::into_inner);
        if is_known() {
            return Ok(ControlFlow::Continue(()));
        }
        self.working_on(&format!("FP32 reference of {}", configuration.label()));
        let request = Request::Reference {
            settings: self.settings.clone(),
            configuration: Box::new(configuration.clone()),
            part,
            path: path.clone(),
        };
        let mut computed = Err(String::new());
        for _ in 0..=REREADS {
            let mut worker = match ready.take() {
                Some(worker) => worker,
                None => Worker::spawn(lane.share)?,
            };
            computed = match worker.call(&request, self.limit())? {
                Reply::Response(response) => match *response {
                    Response::Replaced(file) => {
                        worker.finish();
                        computed = Err(keeps_changing(&file));
                        continue;
                    }
                    answer => {
                        *ready = Some(worker);
                        match answer {
                            Response::Referenced(result) => result,
                            other => Err(out_of_step(&other).reason),
                        }
                    }
                },
                Reply::Died(failure) => Err(failure.reason),
                Reply::TimedOut if self.is_out_of_time() => return Ok(ControlFlow::Break(())),
                Reply::TimedOut => Err(self.timeout().reason),
                Reply::Interrupted => return Ok(ControlFlow::Break(())),
            };
            break;
        }
        lane.referencing += start.elapsed();
        self.state().references.insert(path, computed.map_err(|reason| format!("no FP32 reference: {reason}")));
        Ok(ControlFlow::Continue(()))
    }

    /// The parts of the reference that a configuration needs.
    pub(super) fn parts(&self, configuration: &Configuration) -> impl Iterator<Item = Part> + use<> {
        let settings = self.plan.numerics;
        let of_forwards = Part::of_forwards(settings, configuration.shape.batch);
        std::iter::once(Part::Compared(settings.compare_sequences)).chain(of_forwards)
    }

    pub(super) fn references_of(&self, configuration: &Configuration) -> References {
        let state = self.state();
        let missing = |part| state.references.get(&self.reference_path(configuration, part))?.clone().err();
        let mut parts = self.parts(configuration);
        References {
            dir: self.reference_dir.clone(),
            compared_missing: parts.next().and_then(missing),
            forwards_missing: parts.find_map(missing),
        }
    }

    pub(super) fn reference_path(&self, configuration: &Configuration, part: Part) -> PathBuf {
        ReferenceOutputs::path(&self.reference_dir, configuration, part)
    }

    /// Whether a file was replaced after the reference of a row was computed and before the row was measured.
    pub(super) fn reference_differs(&self, configuration: &Configuration, outcome: &Outcome) -> bool {
        let part = Part::Compared(self.plan.numerics.compare_sequences);
        let state = self.state();
        let reference = state.references.get(&self.reference_path(configuration, part));
        let Some((Ok(reference), weights)) = reference.zip(outcome.weights()) else { return false };
        let made_from = reference.materials.as_ref().ok().zip(outcome.materials());
        !reference.weights.same_weights(weights)
            || made_from.is_some_and(|(reference, row)| {
                // The reference may have been made for a configuration of another backend.
                let row = Materials { arithmetic_sha256: None, ..row.clone() };
                !reference.changed(&row).is_empty()
            })
    }
}
