//! Forwards back to back, without waiting for each. They show sustained throughput and the energy per forward.

use std::time::{Duration, Instant};

use super::guard::Guard;
use crate::engine::{BackendError, Engine};
use crate::record::telemetry::{Energy, Sustained};

/// Longest time that the energy counter may stand still. An H200's driver updates it every 100 ms (97 to 103,
/// measured).
const STEP_LIMIT: Duration = Duration::from_millis(500);

/// Work in flight during each reading of the counter. A reading takes 4 ms on an H200, and the device must not idle
/// meanwhile. This is also the resolution at which a step is seen.
const CHUNK_S: f64 = 0.010;

/// Lower bound of a forward's time. Without it, a clock that reads 0 would ask for endless forwards.
const SHORTEST_FORWARD_S: f64 = 1e-6;

/// Runs forwards back to back for at least `window_s` seconds, and measures the board's energy per forward.
///
/// The counter's steps are coarse, so energy is measured from one step to another: small chunks of forwards until the
/// counter steps, then the block, then small chunks until the counter steps again. All forwards between the two steps
/// share the energy, and the device is busy throughout. A step is seen at most about 10 ms late at either end, which is
/// half a per cent of two seconds. The energy is that of the whole board; idle power is not subtracted.
///
/// `forward_ms` estimates the time of a forward. It determines how many forwards are enqueued before a wait.
///
/// # Errors
/// The engine's [`BackendError`].
pub fn sustained(
    engine: &mut dyn Engine,
    (window_s, forward_ms): (f64, f64),
    guard: &mut Guard,
) -> Result<Sustained, BackendError> {
    let chunk = (CHUNK_S / (forward_ms / 1e3).max(SHORTEST_FORWARD_S)).ceil().max(1.0) as u64;
    let begin = until_step(engine, chunk, guard)?;
    let start = Instant::now();
    let (mut forwards, mut elapsed_s) = (0, 0.0);
    while elapsed_s < window_s {
        let forward_s = if forwards == 0 { forward_ms / 1e3 } else { elapsed_s / forwards as f64 };
        let more = ((window_s - elapsed_s) / forward_s.max(SHORTEST_FORWARD_S)).ceil().max(1.0) as u64;
        enqueue(engine, more)?;
        if forwards == 0 {
            // The device still has work, so this is the one reading under full load.
            guard.read();
        }
        engine.synchronize()?;
        forwards += more;
        elapsed_s = start.elapsed().as_secs_f64();
    }
    let energy = match begin {
        Ok(begin) => match until_step(engine, chunk, guard)? {
            Ok(end) => difference(begin.energy_mj, end.energy_mj, forwards + end.forwards),
            Err(reason) => Err(reason),
        },
        Err(reason) => Err(reason),
    };
    Ok(Sustained { forwards, elapsed_s, energy })
}

fn enqueue(engine: &mut dyn Engine, forwards: u64) -> Result<(), BackendError> {
    (0..forwards).try_for_each(|_| engine.enqueue())
}

fn difference(begin_mj: u64, end_mj: u64, forwards: u64) -> Result<Energy, String> {
    match end_mj.checked_sub(begin_mj) {
        Some(energy_mj) => Ok(Energy { energy_mj, forwards }),
        None => Err(format!("the energy counter ran backwards, from {begin_mj} to {end_mj} mJ")),
    }
}

/// The counter just after a step, and the number of forwards until it stepped.
struct CounterStep {
    energy_mj: u64,
    forwards: u64,
}

/// Executes chunks of forwards until the energy counter steps. The inner error is the reason why it did not. The
/// counter is read during a chunk, at the same point of each. The rest of the chunk after the step is left out at the
/// beginning of the window and counted at its end, so the two errors cancel.
fn until_step(
    engine: &mut dyn Engine,
    chunk: u64,
    guard: &mut Guard,
) -> Result<Result<CounterStep, String>, BackendError> {
    let start = Instant::now();
    let before = match guard.energy_mj() {
        Ok(before) => before,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut forwards = 0;
    // A chunk of one forward may exceed the limit. The counter is read at least once all the same.
    while forwards == 0 || start.elapsed() < STEP_LIMIT {
        enqueue(engine, chunk)?;
        let now = guard.energy_mj();
        engine.synchronize()?;
        forwards += chunk;
        match now {
            Ok(energy_mj) if energy_mj != before => return Ok(Ok(CounterStep { energy_mj, forwards })),
            Ok(_) => {}
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Err(format!("the energy counter stood still for {} ms", STEP_LIMIT.as_millis())))
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedDevice;
    use super::*;

    /// Forwards of a millisecond and 7 mJ. The counter steps by 100 mJ.
    fn device() -> SimulatedDevice {
        SimulatedDevice { forward_ms: 1.0, forward_mj: 7, energy_step_mj: 100, ..SimulatedDevice::default() }
    }

    #[test]
    fn the_window_is_filled_back_to_back_and_read_under_load() {
        let device = device();
        let mut guard = device.guard();
        let found = sustained(&mut device.engine(), (0.05, 2.0), &mut guard).unwrap();
        assert!(found.elapsed_s >= 0.05 && found.forwards >= 25, "{found:?}");
        // Outside the block, the device is waited for after every 10 ms. Within it, two or three times in all.
        let waits_within = device.waits() - (device.forwards() - found.forwards as usize) / 5;
        assert!(waits_within <= device.forwards() / 4, "{waits_within} waits for {} forwards", found.forwards);
        assert!(device.was_read_during_a_forward());
        assert_eq!(guard.telemetry().readings, 1);
    }

    #[test]
    fn energy_is_taken_between_two_steps_of_the_counter() {
        let device = device();
        let found = sustained(&mut device.engine(), (0.05, 1.0), &mut device.guard()).unwrap();
        let energy = found.energy.unwrap();
        assert!(energy.forwards > found.forwards, "forwards up to the step are counted");
        assert_eq!(energy.energy_mj % 100, 0);
        // Steps of 100 mJ are 14.3 forwards apart. The error is less than a chunk of ten, however long the window.
        let per_forward = energy.energy_mj as f64 / energy.forwards as f64;
        let error = 7.0 * 10.0 / energy.forwards as f64;
        assert!((per_forward - 7.0).abs() <= error, "{per_forward} mJ per forward");
    }

    #[test]
    fn a_counter_that_stands_still_is_a_reason() {
        let device =
            SimulatedDevice { energy_step_mj: 1, forward_mj: 0, forward_ms: 5.0, ..SimulatedDevice::default() };
        let found = sustained(&mut device.engine(), (0.02, 5.0), &mut device.guard()).unwrap();
        assert_eq!(found.energy, Err("the energy counter stood still for 500 ms".to_owned()));
        assert!(found.forwards >= 4, "the block is measured all the same");
    }

    #[test]
    fn a_counter_that_runs_backwards_is_a_reason() {
        let device = SimulatedDevice { forward_ms: 1.0, ..SimulatedDevice::default() };
        // Before and after the first step, then once before and after the second.
        device.shows_energy(&[100, 200, 200, 50]);
        let found = sustained(&mut device.engine(), (0.01, 1.0), &mut device.guard()).unwrap();
        assert_eq!(found.energy, Err("the energy counter ran backwards, from 200 to 50 mJ".to_owned()));
    }

    #[test]
    fn no_counter_is_a_reason_and_the_block_goes_on() {
        let device = SimulatedDevice { forward_ms: 1.0, ..SimulatedDevice::default() };
        let found = sustained(&mut device.engine(), (0.01, 1.0), &mut device.guard()).unwrap();
        assert_eq!(
            (found.energy, device.forwards() as u64),
            (Err("the GPU has no energy counter".to_owned()), found.forwards)
        );
        let without = Guard::new(Err(Some("no NVIDIA driver".to_owned())));
        let found = sustained(&mut device.engine(), (0.01, 1.0), &mut { without }).unwrap();
        assert_eq!(found.energy, Err("no NVIDIA driver".to_owned()));
    }

    #[test]
    fn a_time_of_zero_asks_for_no_endless_block() {
        let device = SimulatedDevice { forward_ms: 0.0, ..SimulatedDevice::default() };
        let found = sustained(&mut device.engine(), (0.001, 0.0), &mut device.guard()).unwrap();
        assert!(found.elapsed_s >= 0.001 && found.forwards >= 1000, "{found:?}");
    }
}
