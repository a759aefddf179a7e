//! Memory of the device: a pass takes none, and what does not fit is refused.

use std::sync::{Arc, PoisonError};

use super::reference::number;
use super::{DEVICE, get, gpu, model, put};
use crate::backend::cuda::CudaBackend;
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::memory::{DeviceMemory, spans_taken};
use crate::engine::{Backend, BackendError, BuildRequest};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::input::Batch;
use crate::model::Architecture;

#[test]
fn a_pass_takes_no_memory() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    if gpu().is_none() {
        return;
    }
    let model = Arc::new(model(Architecture::BertTiny));
    let shape = Shape { batch: 2, sequence: 16 };
    let request = BuildRequest::new(model, PrecisionPolicy::preset(Preset::Hybrid), shape, 1);
    let mut engine = CudaBackend::default().build(&request).unwrap().engine.unwrap();
    let batch = Batch::new(shape, (0..32).collect(), vec![16, 3]);
    let taken = spans_taken();
    for _ in 0..20 {
        engine.bind(&batch).unwrap();
        engine.enqueue().unwrap();
        assert!(engine.outputs().unwrap().values.iter().all(|x| x.is_finite()));
    }
    assert_eq!(spans_taken(), taken);
}

#[test]
fn more_memory_than_there_is_is_refused_and_the_device_works_on() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gpu) = gpu() else { return };
    let context = &gpu.device.context;
    match DeviceMemory::take(context, 1 << 45, "a test") {
        Err(BackendError::OutOfMemory { message, .. }) => assert!(message.contains("MiB for a test"), "{message}"),
        other => panic!("{other:?}"),
    }
    let memory = DeviceMemory::take(context, 1000, "a test").unwrap();
    put(&memory, 0, ElementType::F32, 250, |index| number(1, index));
    assert_eq!(get(&memory, 0, ElementType::F32, 250)[249], number(1, 249));
}
