//! TensorRT in a build without the feature `tensorrt`: an error instead of a backend.

use crate::engine::{Backend, BackendError, BackendKind};

/// The error that says why this build has no TensorRT.
///
/// # Errors
/// [`BackendError::Unavailable`], always.
pub fn backend() -> Result<Box<dyn Backend>, BackendError> {
    let reason =
        "this mixprec was built without it; build with `cargo build --release`, without `--no-default-features`";
    Err(BackendError::Unavailable { backend: BackendKind::TensorRt, reason: reason.to_owned() })
}
