//! Reports the builder's progress, and can stop a build.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trtx::interfaces::MonitorProgress;

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

impl MonitorProgress for Monitor {
    fn phase_start(&self, phase_name: &str, _parent_phase: Option<&str>, num_steps: i32) {
        let total = u64::try_from(num_steps).unwrap_or(0);
        let mut state = self.state();
        state.phases.push((phase_name.to_owned(), total));
        self.report(state, BuildProgress { phase: phase_name.to_owned(), done: 0, total });
    }

    fn step_complete(&self, phase_name: &str, step: i32) -> ControlFlow<()> {
        let state = self.state();
        let total = state.phases.iter().rev().find(|(name, _)| name == phase_name).map_or(0, |(_, steps)| *steps);
        // Steps are counted from 0.
        let done = u64::try_from(step).map_or(0, |step| step + 1);
        self.report(state, BuildProgress { phase: phase_name.to_owned(), done, total });
        if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn phase_finish(&self, phase_name: &str) {
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
        monitor.phase_start("outer", None, 2);
        monitor.phase_start("inner", Some("outer"), 3);
        assert!(monitor.step_complete("inner", 0).is_continue());
        monitor.phase_finish("inner");
        cancel.cancel();
        assert!(monitor.step_complete("outer", 0).is_break());
        let steps = [("outer", 0, 2), ("inner", 0, 3), ("inner", 1, 3), ("outer", 1, 2)];
        assert_eq!(*seen.lock().unwrap(), steps.map(|(phase, done, total)| (phase.to_owned(), done, total)));
        assert_eq!(monitor.state().phases, [("outer".to_owned(), 2)]);
    }

    #[test]
    fn a_flood_of_steps_is_thinned_out_and_still_stopped() {
        let (sink, seen) = listener();
        let cancel = Cancel::default();
        let monitor = Monitor { interval: Duration::from_secs(3600), ..Monitor::new(sink, cancel.clone()) };
        (0..1000).for_each(|step| assert!(monitor.step_complete("steps", step).is_continue()));
        assert_eq!(seen.lock().unwrap().len(), 1);
        cancel.cancel();
        assert!(monitor.step_complete("steps", 1000).is_break());
    }
}
