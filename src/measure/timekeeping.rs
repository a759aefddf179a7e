//! Checks the runner's clock against a second clock. A clock that is wrong by a factor makes every latency wrong by
//! that factor, and nothing in the samples shows it.
//!
//! The second clock is the kernel's uptime, read from a file. It does not pass through the C library, where programs
//! that fake the time intercept calls. It is not adjusted by steps, and it keeps counting while the machine is
//! suspended.

use std::time::Instant;

/// Shorter periods cannot be judged, because uptime is counted in hundredths of a second.
const LEAST_S: f64 = 1.0;

/// Largest difference of the two clocks as a share of the period. It allows for two of uptime's 10 ms steps in a
/// second.
pub const TOLERANCE: f64 = 0.03;

/// A clock that counts seconds from an arbitrary start.
pub type SecondsCounter = fn() -> Option<f64>;

/// A period timed by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Timekeeping {
    clock: SecondsCounter,
    other: SecondsCounter,
    start: Option<(f64, f64)>,
}

impl Timekeeping {
    /// Starts a period on the runner's clock and the kernel's uptime.
    pub fn begin() -> Self {
        Timekeeping::of(runner_s, uptime_s)
    }

    /// Starts a period on two other clocks.
    pub fn of(clock: SecondsCounter, other: SecondsCounter) -> Self {
        Timekeeping { clock, other, start: clock().zip(other()) }
    }

    /// Elapsed time by the clock over elapsed time by the other one. `None` for a period that either clock finds too
    /// short, and where the kernel does not report uptime.
    pub fn ratio(&self) -> Option<f64> {
        let (clock, other) = self.start?;
        let (clock, other) = ((self.clock)()? - clock, (self.other)()? - other);
        (clock.max(other) >= LEAST_S && other > 0.0).then_some(clock / other)
    }
}

/// Whether a clock with this ratio can be trusted.
pub fn agrees(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE
}

/// Seconds on the clock that times every forward, since its first use.
pub fn runner_s() -> Option<f64> {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    Some(FIRST.get_or_init(Instant::now).elapsed().as_secs_f64())
}

/// Seconds since the kernel booted (proc(5)).
pub fn uptime_s() -> Option<f64> {
    std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_agrees_with_the_kernel_and_a_short_period_is_not_judged() {
        let period = Timekeeping::begin();
        assert_eq!(period.ratio(), None);
        std::thread::sleep(Duration::from_millis(1100));
        if uptime_s().is_none() {
            crate::skip::skip("no /proc/uptime here");
            return;
        }
        assert!(agrees(period.ratio().unwrap()), "{period:?} {:?}", period.ratio());
    }

    #[test]
    fn a_clock_that_runs_slow_or_has_stopped_is_told_by_its_ratio() {
        let slow = Timekeeping::of(|| Some(runner_s()? * 0.9), runner_s);
        let stopped = Timekeeping::of(|| Some(7.0), runner_s);
        std::thread::sleep(Duration::from_millis(1100));
        let ratio = slow.ratio().unwrap();
        assert!((ratio - 0.9).abs() < 0.01 && !agrees(ratio), "{ratio}");
        assert_eq!(stopped.ratio(), Some(0.0));
    }
}
