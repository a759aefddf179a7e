//! Every backend against float64 outputs, against the emulation and against each other; exported models in the hands of other
//! programs; the cache of built engines. A test whose library, checkpoint or device is absent skips itself and says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench_onnxruntime;
mod cache;
mod cuda;
mod device;
mod export;
mod families;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod golden;
mod layouts;
mod onnxruntime;
mod shim;
#[cfg(feature = "tensorrt")]
mod tensorrt;
mod tiny;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device for one test alone, until the guard is dropped.
fn device_alone() -> MutexGuard<'static, ()> {
    static DEVICE: Mutex<()> = Mutex::new(());
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}
