//! How busy the processors are, before anything is measured.

use std::time::{Duration, Instant};

/// Time that it takes to find out.
const WATCHED: Duration = Duration::from_millis(300);

/// How many times as long as on idle processors a computation on all of them takes now; 1 where the kernel does not say.
pub fn slowdown() -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shares: Vec<f64> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    // What waits for the slowest thread waits for all.
    shares.into_iter().reduce(f64::min).map_or(1.0, |share| 1.0 / share.clamp(0.01, 1.0))
}

/// The share of the time that this thread computes, where it could compute all the time.
fn share() -> Option<f64> {
    let (start, before) = (Instant::now(), computing_s()?);
    while start.elapsed() < WATCHED {
        std::hint::spin_loop();
    }
    Some((computing_s()? - before) / start.elapsed().as_secs_f64())
}

/// Seconds that this thread has computed.
fn computing_s() -> Option<f64> {
    let stated = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = stated.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_half_of_the_time_has_half_a_share() {
        let Some(before) = computing_s() else { return };
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let computed_s = computing_s().unwrap() - before;
        std::thread::sleep(Duration::from_millis(50));
        let slept_s = computing_s().unwrap() - before - computed_s;
        assert!(computed_s > 0.0 && computed_s < 0.2 && slept_s < 0.02, "{computed_s} {slept_s}");
        assert!(slowdown() >= 1.0);
    }
}
