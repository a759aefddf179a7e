//! Ahead of time: a model, a policy and a target in, a serialised engine out. Needs no GPU with TensorRT-RTX.

use std::fmt;
use std::ops::Deref;
use std::time::Instant;

use tempfile::TempDir;
use trtx::host_memory::HostMemory;

use super::compile::{BuildOptions, Compiled, Job, compile};
use super::library::{Library, execution, unavailable};
use super::network::Source;
use super::progress::Cancel;
use super::{device, target};
use crate::backend::{BackendError, BuildReport, ProgressSink, Target};
use crate::digest::sha256;
use crate::graph::PrecisionPolicy;
use crate::model::Model;
use crate::onnx::{Export, ExportError, Extent};

/// What to build.
#[derive(Debug, Clone)]
pub struct AheadRequest<'a> {
    /// Graph and weights.
    pub model: &'a Model,
    /// Precision policy.
    pub policy: &'a PrecisionPolicy,
    /// One shape, or a range of them in one engine.
    pub extent: Extent,
    /// GPU generation.
    pub target: Target,
    /// What else the builder is told.
    pub options: BuildOptions,
    /// Who wants to know how far it has come.
    pub progress: ProgressSink,
    /// Stops it.
    pub cancel: Cancel,
}

/// A serialised engine. Deserialising one runs what is in it: do so with bytes whose origin is known.
pub struct SerialisedEngine(Bytes);

enum Bytes {
    /// As the builder left them.
    Library(HostMemory<'static>),
    /// As they were read.
    Own(Vec<u8>),
}

impl From<Vec<u8>> for SerialisedEngine {
    fn from(bytes: Vec<u8>) -> Self {
        SerialisedEngine(Bytes::Own(bytes))
    }
}

impl Deref for SerialisedEngine {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Library(memory) => memory,
            Bytes::Own(bytes) => bytes,
        }
    }
}

impl fmt::Debug for SerialisedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialisedEngine({} bytes)", self.len())
    }
}

/// Exports, parses, audits and builds.
///
/// # Errors
/// [`BackendError::Unavailable`] without the library or for a target that cannot be built for here,
/// [`BackendError::Execution`] with the audit's finding or the library's own words.
pub fn build_ahead(request: &AheadRequest<'_>) -> Result<(SerialisedEngine, BuildReport), BackendError> {
    let library = Library::get()?;
    target::buildable(request.target, device::capability()).map_err(unavailable)?;
    let start = Instant::now();
    let export = Export::new(request.model, request.policy, request.extent).map_err(export_failed)?;
    // A file above protobuf's limit is read by the parser as long as it lives.
    let (source, _folder) = source(&export)?;
    let export_s = start.elapsed().as_secs_f64();
    let job = Job {
        graph: &request.model.graph,
        policy: request.policy,
        extent: request.extent,
        output: export.output_name(),
        target: request.target,
        options: request.options,
        progress: request.progress.clone(),
        cancel: request.cancel.clone(),
    };
    let Compiled { engine, audit, parse_s, compile_s } = compile(library, source, &job)?;
    let report = BuildReport {
        builder: Some(library.version.clone()),
        target: Some(request.target),
        export_s: Some(export_s),
        parse_s: Some(parse_s),
        compile_s: Some(compile_s),
        engine_bytes: Some(engine.len() as u64),
        engine_sha256: Some(sha256(&engine)),
        engine_cached: Some(false),
        flops_by_format: audit.flops_by_format,
        ..BuildReport::default()
    };
    Ok((SerialisedEngine(Bytes::Library(engine)), report))
}

/// The export in memory, or in a temporary folder where it is too large for one message.
fn source(export: &Export<'_>) -> Result<(Source, Option<TempDir>), BackendError> {
    match export.bytes() {
        Ok(bytes) => Ok((Source::Bytes(bytes), None)),
        Err(ExportError::TooLarge { .. }) => {
            let failed = |error: std::io::Error| execution(format!("temporary folder for the ONNX model: {error}"));
            let folder = tempfile::tempdir().map_err(failed)?;
            let path = folder.path().join("model.onnx");
            export.write(&path).map_err(export_failed)?;
            Ok((Source::File(path), Some(folder)))
        }
        Err(error) => Err(export_failed(error)),
    }
}

fn export_failed(error: ExportError) -> BackendError {
    match error {
        ExportError::Policy(error) => error.into(),
        ExportError::Model(error) => error.into(),
        error => execution(error.to_string()),
    }
}
