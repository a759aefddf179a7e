//! Wall time end to end, from token ids in host memory to outputs in host memory.

use std::time::Instant;

use crate::engine::{BackendError, Engine};
use crate::input::Batch;

/// Most samples of the series.
const MAX_SAMPLES: usize = 30;

/// Largest share of the main series' time that this series may take.
const SHARE: f64 = 0.2;

/// Repeatedly binds the batch, executes it and copies the outputs to the host. Returns the wall time of each repetition
/// in milliseconds. Takes at least one sample, at most the main series' `samples`, and at most about a fifth of its
/// `elapsed_s`.
///
/// # Errors
/// The engine's [`BackendError`].
pub fn series(
    engine: &mut dyn Engine,
    batch: &Batch,
    (samples, elapsed_s): (usize, f64),
) -> Result<Vec<f64>, BackendError> {
    let limit = MAX_SAMPLES.min(samples).max(1);
    let mut samples_ms = Vec::with_capacity(limit);
    let begin = Instant::now();
    while samples_ms.is_empty() || (samples_ms.len() < limit && begin.elapsed().as_secs_f64() < SHARE * elapsed_s) {
        let start = Instant::now();
        engine.bind(batch)?;
        engine.enqueue()?;
        engine.synchronize()?;
        let output = std::hint::black_box(engine.outputs()?);
        samples_ms.push(start.elapsed().as_secs_f64() * 1e3);
        drop(output);
    }
    Ok(samples_ms)
}
