//! TensorRT as a backend.

use super::build::{EngineRequest, build_engine};
use super::engine_cache::CacheEntry;
use super::execute::LoadedEngine;
use super::io::Interface;
use super::library::{TensorRtLibrary, unavailable};
use crate::backend::cuda::device::Device;
use crate::engine::{
    Availability, Backend, BackendError, BackendKind, Build, BuildReport, BuildRequest, Engine, Target,
};
use crate::onnx::Extent;

/// Builds with TensorRT, and executes if there is a device that the library supports.
#[derive(Debug, Default)]
pub struct TensorRtBackend;

/// TensorRT, which this build contains.
///
/// # Errors
/// None. Without the feature `tensorrt` this function is an error.
pub fn backend() -> Result<Box<dyn Backend>, BackendError> {
    Ok(Box::new(TensorRtBackend))
}

impl Backend for TensorRtBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::TensorRt
    }

    fn availability(&self) -> Result<Availability, BackendError> {
        let library = TensorRtLibrary::get()?;
        let found = library.describe();
        Ok(match Device::first() {
            Ok(device) => Availability {
                found: format!("{found}, {}", device.describe()),
                builds_only: library.executes(&device).err(),
            },
            Err(reason) => Availability { found, builds_only: Some(reason) },
        })
    }

    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError> {
        let engine_request = EngineRequest {
            padded: request.padded,
            token_types: request.token_types,
            progress: request.progress.clone(),
            ..EngineRequest::new(&request.model, &request.policy, Extent::Static(request.shape), request.target)
        };
        let library = TensorRtLibrary::get()?;
        match executing_device(library, request.target) {
            Ok(device) => build_and_load(library, device, &engine_request, request),
            Err(reason) => {
                // The build is measured and the engine dropped: it cannot be executed here.
                let (_, report) = build_engine(&engine_request)?;
                Ok(Build { report, engine: Err(unavailable(reason)) })
            }
        }
    }
}

/// The device that an engine for `target` is executed on.
///
/// # Errors
/// The reason why there is none: no device, a device that the library refuses (in its own words), or a device that is not
/// the target.
fn executing_device(library: &'static TensorRtLibrary, target: Target) -> Result<Device, String> {
    let device = Device::first()?;
    library.executes(&device)?;
    match target.is_for(device.capability) {
        true => Ok(device),
        false => Err(format!("this machine's GPU, {}, is not of the target {target}", device.describe())),
    }
}

/// The report with what the engine's inspector says. An inspector that cannot be read costs its own words only.
fn inspected(engine: &LoadedEngine, report: BuildReport, request: &BuildRequest) -> Result<BuildReport, BackendError> {
    Ok(match engine.inspect() {
        Ok(inspection) => {
            engine.keep_layers(&inspection);
            let engine_findings = inspection.findings(&request.model.graph, &request.policy)?;
            BuildReport { inspected_layers: Some(inspection.layers), engine_findings, ..report }
        }
        Err(error) => BuildReport { engine_findings: vec![format!("not inspected: {error}")], ..report },
    })
}

fn build_and_load(
    library: &'static TensorRtLibrary,
    device: Device,
    engine_request: &EngineRequest<'_>,
    request: &BuildRequest,
) -> Result<Build, BackendError> {
    let export = engine_request.export(library)?;
    let (bytes, report, cache_entry) = CacheEntry::obtain(library, &device, engine_request, &export)?;
    let interface = Interface::of(&request.model.graph, request.shape, &export);
    match LoadedEngine::load(library, device, &bytes, interface, cache_entry) {
        Ok(engine) => {
            drop(bytes);
            let report = inspected(&engine, report, request)?;
            let engine: Box<dyn Engine> = Box::new(engine);
            Ok(Build { report, engine: Ok(engine) })
        }
        // The library refuses this device: the engine is for another.
        Err(error @ BackendError::Unavailable { .. }) => Ok(Build { report, engine: Err(error) }),
        Err(error) => Err(error),
    }
}
