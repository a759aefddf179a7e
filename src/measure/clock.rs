//! The one clock: wall time on the host around enqueue and synchronize, for every backend alike.

use std::time::Instant;

use crate::backend::{BackendError, Engine};

/// Executes the bound batch once and returns how long it took, milliseconds.
///
/// # Errors
/// The engine's [`BackendError`].
pub fn sample(engine: &mut dyn Engine) -> Result<f64, BackendError> {
    let start = Instant::now();
    engine.enqueue()?;
    engine.synchronize()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
