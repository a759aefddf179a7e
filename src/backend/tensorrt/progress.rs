//! Reports the builder's progress, and can stop a build.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{BuildProgress, ProgressSink};

/// Least time between two reports. A build has thousands of steps, each report crosses a pipe, and a person reads only a few
/// per second.
const INTERVAL: Duration = Duration::from_millis(100);

/// Stops a build from another thread, at the builder's next step.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the build to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the build has been asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Reports the builder's steps, at most one per [`INTERVAL`].
#[derive(Debug)]
pub(super) struct Monitor {
    sink: ProgressSink,
    cancel: Cancel,
    interval: Duration,
    state: Mutex<PhaseState>,
}

#[derive(Debug, Default)]
struct PhaseState {
    /// Open phases, which nest, and their number of steps.
    phases: Vec<(String, u64)>,
    reported: Option<Instant>,
}

impl Monitor {
    /// Reports to `sink` until `cancel` is set.
    pub fn new(sink: ProgressSink, cancel: Cancel) -> Self {
        Monitor { sink, cancel, interval: INTERVAL, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, PhaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, mut state: MutexGuard<'_, PhaseState>, progress: BuildProgress) {
        if state.reported.is_some_and(|last| last.elapsed() < self.interval) {
            return;
        }
        state.reported = Some(Instant::now());
        drop(state);
        self.sink.report(progress);
    }
}

/// The steps as a builder tells them. Phases nest.
impl Monitor {
    /// A phase of `steps` steps begins.
    pub fn begin(&self, phase_name: &str, steps: i32) {
        let total = u64::try_from(steps).unwrap_or(0);
        let mut state = self.state();
        state.phases.push((phase_name.to_owned(), total));
        self.report(state, BuildProgress { phase: phase_name.to_owned(), done: 0, total });
    }

    /// A step, counted from 0, is done. Whether the build goes on.
    #[must_use]
    pub fn step(&self, phase_name: &str, step: i32) -> bool {
        let state = self.state();
        let total = state.phases.iter().rev().find(|(name, _)| name == phase_name).map_or(0, |(_, steps)| *steps);
        let done = u64::try_from(step).map_or(0, |step| step + 1);
        self.report(state, BuildProgress { phase: phase_name.to_owned(), done, total });
        !self.cancel.is_cancelled()
    }

    /// A phase is done.
    pub fn end(&self, phase_name: &str) {
        let phases = &mut self.state().phases;
        if let Some(position) = phases.iter().rposition(|(name, _)| name == phase_name) {
            phases.remove(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Steps = Arc<Mutex<Vec<(String, u64, u64)>>>;

    fn listener() -> (ProgressSink, Steps) {
        let seen = Steps::default();
        let steps = Arc::clone(&seen);
        let sink = ProgressSink::new(move |step: BuildProgress| {
            steps.lock().unwrap().push((step.phase, step.done, step.total));
        });
        (sink, seen)
    }

    #[test]
    fn steps_are_reported_with_their_phases_total_and_a_cancelled_build_stops() {
        let (sink, seen) = listener();
        let cancel = Cancel::default();
        let monitor = Monitor { interval: Duration::ZERO, ..Monitor::new(sink, cancel.clone()) };
        monitor.begin("outer", 2);
        monitor.begin("inner", 3);
        assert!(monitor.step("inner", 0));
        monitor.end("inner");
        cancel.cancel();
        assert!(!monitor.step("outer", 0));
        let steps = [("outer", 0, 2), ("inner", 0, 3), ("inner", 1, 3), ("outer", 1, 2)];
        assert_eq!(*seen.lock().unwrap(), steps.map(|(phase, done, total)| (phase.to_owned(), done, total)));
        assert_eq!(monitor.state().phases, [("outer".to_owned(), 2)]);
    }

    #[test]
    fn a_flood_of_steps_is_thinned_out_and_still_stopped() {
        let (sink, seen) = listener();
        let cancel = Cancel::default();
        let monitor = Monitor { interval: Duration::from_secs(3600), ..Monitor::new(sink, cancel.clone()) };
        (0..1000).for_each(|step| assert!(monitor.step("steps", step)));
        assert_eq!(seen.lock().unwrap().len(), 1);
        cancel.cancel();
        assert!(!monitor.step("steps", 1000));
    }
}
