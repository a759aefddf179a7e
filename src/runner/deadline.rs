//! A run's time limit.

use std::time::{Duration, Instant};

use crate::plan::{ConfigurationId, Pace};

/// How long after the limit a row that was begun in time is stopped, as a share of the limit.
const GRACE: f64 = 0.02;
/// Time that deriving the tables and ending the workers take, seconds.
const ENDING_S: f64 = 0.5;
/// How much longer than expected a row may take without being stopped.
const MARGIN: f64 = 1.2;

/// When a run ends, and what it runs first.
#[derive(Debug, Clone)]
pub struct Deadline {
    /// When the command began.
    pub started: Instant,
    /// The limit.
    pub limit: Duration,
    /// Configurations in the order in which they are run; those of one part are run in the plan's order. What they lack
    /// comes last.
    pub waves: Vec<Vec<ConfigurationId>>,
    /// How long rows took so far.
    pub pace: Pace,
}

impl Deadline {
    /// Whether something that takes so long ends within the limit.
    pub(super) fn admits(&self, expected_s: f64) -> bool {
        self.started.elapsed().as_secs_f64() + expected_s * MARGIN + ENDING_S <= self.limit.as_secs_f64()
    }

    /// The time until a row is stopped.
    pub(super) fn left(&self) -> Duration {
        let end_s = self.limit.as_secs_f64() * (1.0 + GRACE) - ENDING_S;
        Duration::from_secs_f64(end_s.max(0.0)).saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_end_in_time_is_not_begun() {
        let limit = Duration::from_secs(100);
        let deadline = Deadline { started: Instant::now(), limit, waves: vec![], pace: Pace::default() };
        assert!(deadline.admits(80.0) && !deadline.admits(90.0));
        assert!(deadline.left() > Duration::from_secs(100) && deadline.left() < Duration::from_secs(102));
        let Some(started) = Instant::now().checked_sub(Duration::from_secs(60)) else { return };
        let late = Deadline { started, ..deadline };
        assert!(late.admits(30.0) && !late.admits(80.0));
    }
}
