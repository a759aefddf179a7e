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
