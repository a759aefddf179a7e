//! Builds a serialised engine ahead of time from a model, a policy and a target. TensorRT-RTX needs no GPU for it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::time::Instant;

use tempfile::TempDir;

use super::binding::OnnxModel;
use super::compile::{BuildOptions, Compiled, Job, compile};
use super::library::{TensorRtLibrary, execution, unavailable};
use super::progress::Cancel;
use crate::backend::cuda::device;
use crate::digest::sha256;
use crate::engine::checks::export_failed;
use crate::engine::{BackendError, BackendKind, BuildReport, ProgressSink, Target};
use crate::graph::PrecisionPolicy;
use crate::model::Model;
use crate::onnx::{Dialect, Export, ExportError, Extent};

/// The engine to build.
#[derive(Debug, Clone)]
pub struct EngineRequest<'a> {
    /// Graph and weights.
    pub model: &'a Model,
    /// Precision policy.
    pub policy: &'a PrecisionPolicy,
    /// One shape, or a range of them in one engine.
    pub extent: Extent,
    /// GPU generation.
    pub target: Target,
    /// Whether rows may be padded: if not, the network has no attention mask.
    pub padded: bool,
    /// Whether the types of tokens are an input.
    pub token_types: bool,
    /// Further options of the builder.
    pub options: BuildOptions,
    /// Receives the progress of the build.
    pub progress: ProgressSink,
    /// Stops the build.
    pub cancel: Cancel,
}

/// A serialised engine. Deserialising it runs the code in it, so do so only with bytes of known origin.
pub struct SerialisedEngine(Bytes);

enum Bytes {
    /// Memory of the builder.
    Library(Box<dyn AsRef<[u8]>>),
    /// Memory of this program.
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
            Bytes::Library(memory) => (**memory).as_ref(),
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
/// [`BackendError::Unavailable`] without the library, or if this machine cannot build for the target;
/// [`BackendError::Inputs`] for an extent that does not fit the model; [`BackendError::Execution`] with the audit's finding
/// or the library's own words.
pub fn build_engine(request: &EngineRequest<'_>) -> Result<(SerialisedEngine, BuildReport), BackendError> {
    let library = TensorRtLibrary::get()?;
    build_export(library, request, &request.export(library)?)
}

impl<'a> EngineRequest<'a> {
    /// A request for padded rows with the library's own limits, whose progress is not reported and which is not stopped.
    pub fn new(model: &'a Model, policy: &'a PrecisionPolicy, extent: Extent, target: Target) -> Self {
        let (options, progress, cancel) = Default::default();
        EngineRequest { model, policy, extent, target, padded: true, token_types: false, options, progress, cancel }
    }

    /// All settings that decide what is built besides the model, the policy and the shape.
    pub(super) fn settings(&self, library: &TensorRtLibrary) -> BTreeMap<String, String> {
        let mut settings = library.options(&self.options, self.policy);
        settings.insert("attention_mask".to_owned(), self.padded.to_string());
        // Left out where they are none: engines of earlier versions were built without them.
        if self.token_types {
            settings.insert("token_types".to_owned(), true.to_string());
        }
        settings
    }

    /// The graph as the parser will read it.
    ///
    /// # Errors
    /// [`BackendError`] when policy, extent and model do not fit together.
    pub(super) fn export(&self, library: &TensorRtLibrary) -> Result<Export<'a>, BackendError> {
        let missing = self.policy.formats().into_iter().find(|format| !library.binding.has(*format));
        if let Some(format) = missing {
            return Err(BackendError::UnsupportedPolicy {
                backend: BackendKind::TensorRt,
                policy: self.policy.name.clone(),
                reason: format!("{} has no {}", library.version, format.name().to_uppercase()),
            });
        }
        let (attention_mask, token_types) = (self.padded, self.token_types);
        let dialect = Dialect { attention_mask, token_types, ..library.binding.dialect() };
        Export::in_dialect(self.model, self.policy, self.extent, dialect).map_err(failed)
    }
}

/// Parses, audits and builds an export for a target that this machine can build for. The audit compares the network with
/// `request`, not with the export.
///
/// # Errors
/// Those of [`build_engine`].
pub(super) fn build_export(
    library: &'static TensorRtLibrary,
    request: &EngineRequest<'_>,
    export: &Export<'_>,
) -> Result<(SerialisedEngine, BuildReport), BackendError> {
    library.binding.buildable(request.target, device::capability()).map_err(unavailable)?;
    let start = Instant::now();
    // The parser reads a file above protobuf's limit as long as it lives.
    let (source, _folder) = source(export)?;
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
    let Compiled { engine: built, audit, parse_s, compile_s } = compile(library, source, &job)?;
    let engine = (*built).as_ref();
    let report = BuildReport {
        builder: Some(library.version.clone()),
        target: Some(request.target),
        export_s: Some(export_s),
        parse_s: Some(parse_s),
        compile_s: Some(compile_s),
        engine_bytes: Some(engine.len() as u64),
        engine_sha256: Some(sha256(engine)),
        engine_cached: Some(false),
        flops_by_format: audit.flops_by_format,
        permitted_flops: audit.permitted_flops,
        library_sha256: library.digests().clone(),
        options: request.settings(library),
        ..BuildReport::default()
    };
    Ok((SerialisedEngine(Bytes::Library(built)), report))
}

/// The export in memory, or in a temporary folder if it is too large for one message.
fn source(export: &Export<'_>) -> Result<(OnnxModel, Option<TempDir>), BackendError> {
    match export.bytes() {
        Ok(bytes) => Ok((OnnxModel::Bytes(bytes), None)),
        Err(ExportError::TooLarge { .. }) => {
            let refused = |error: std::io::Error| execution(format!("temporary folder for the ONNX model: {error}"));
            let folder = tempfile::tempdir().map_err(refused)?;
            let path = folder.path().join("model.onnx");
            export.write(&path).map_err(failed)?;
            Ok((OnnxModel::File(path), Some(folder)))
        }
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: ExportError) -> BackendError {
    export_failed(BackendKind::TensorRt, error)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::graph::{Preset, Shape};
    use crate::model::Head;
    use crate::model::{Architecture, ModelSource};

    /// The audit judges what the parser reads, and not what the export should be.
    #[test]
    fn an_export_under_another_policy_fails_the_audit_and_is_not_built() {
        let Some(library) = TensorRtLibrary::rtx_or_skip() else { return };
        let extent = Extent::Static(Shape { batch: 1, sequence: 8 });
        for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
            let source = ModelSource::Random { seed: 3, architecture };
            let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
            for (written, asked) in Preset::ALL.into_iter().flat_map(|a| Preset::ALL.map(|b| (a, b))) {
                // FP32 and TF32 are the same graph: the difference is the builder's flag, which follows what is asked.
                let same = |preset| if preset == Preset::Tf32 { Preset::Fp32 } else { preset };
                if same(written) == same(asked) {
                    continue;
                }
                let (written, asked) = (PrecisionPolicy::preset(written), PrecisionPolicy::preset(asked));
                let export = EngineRequest::new(&model, &written, extent, Target::Sm80).export(library).unwrap();
                let request = EngineRequest::new(&model, &asked, extent, Target::Sm80);
                let error = build_export(library, &request, &export).unwrap_err().to_string();
                let expected = format!("precision audit: asked `{}`, got ", asked.name);
                assert!(error.contains(&expected), "{} as {}: {error}", written.name, asked.name);
            }
        }
    }

    #[test]
    fn a_cancelled_build_stops_at_the_next_step_and_says_so() {
        let Some(library) = TensorRtLibrary::rtx_or_skip() else { return };
        let source = ModelSource::Random { seed: 3, architecture: Architecture::BertTiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let policy = PrecisionPolicy::preset(Preset::Hybrid);
        let extent = Extent::Static(Shape { batch: 1, sequence: 8 });
        let request = EngineRequest::new(&model, &policy, extent, Target::Sm80);
        request.cancel.cancel();
        let error = build_export(library, &request, &request.export(library).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "tensorrt failed: the build was stopped");
    }
}
