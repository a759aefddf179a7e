//! A folder of engines built ahead of time. Its file `build.json` says what each is made of, by file name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::build::{EngineRequest, SerialisedEngine};
use super::library::TensorRtLibrary;
use crate::engine::BuildReport;
use crate::files::{FileError, JsonError, read_json, replace};
use crate::graph::PrecisionPolicy;
use crate::lock::{self, Lock, LockError, Sharing};
use crate::provenance::BuildInfo;

/// The list of a folder's engines.
const BUILD_FILE: &str = "build.json";
/// The lock file of a folder.
const LOCK_FILE: &str = ".lock";

/// The entry of one engine in `build.json`: what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltEngine {
    /// Name of the model.
    pub model: String,
    /// How the model was obtained.
    pub model_provenance: String,
    /// Full identity of its weights.
    pub weights: String,
    /// Every format of the policy.
    pub policy: PrecisionPolicy,
    /// Batch sizes: `8`, or `1..32`.
    pub batch: String,
    /// Sequence lengths, tokens.
    pub sequence: String,
    /// Further options of the builder.
    pub options: BTreeMap<String, String>,
    /// Library, target, times, size, digest and audited operations by format.
    pub report: BuildReport,
    /// This program.
    pub program: BuildInfo,
}

/// A folder that cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum FolderError {
    /// The file system refuses.
    #[error("{path}: {source}; make room or restore access, or choose another folder")]
    Io { path: PathBuf, source: io::Error },
    /// The folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `build.json` is no list of engines.
    #[error("{path} is not an account of built engines ({message}); choose another folder or move it away")]
    NoEngineList { path: PathBuf, message: String },
}

/// A folder of engines.
#[derive(Debug, Clone)]
pub struct EngineFolder {
    path: PathBuf,
}

impl EngineFolder {
    /// Opens the folder, which is created if it does not exist, and tries to write to it before any build starts.
    ///
    /// # Errors
    /// [`FolderError`] when it cannot be created or written to, or holds a `build.json` of something else.
    pub fn open(path: &Path) -> Result<EngineFolder, FolderError> {
        fs::create_dir_all(path)
            .and_then(|()| tempfile::tempfile_in(path))
            .map_err(|source| FolderError::Io { path: path.to_owned(), source })?;
        let folder = EngineFolder { path: path.to_owned() };
        folder.entries()?;
        Ok(folder)
    }

    /// Locks the folder while its files are replaced, so that of two builds one waits for the other.
    fn lock(&self) -> Result<Lock, LockError> {
        lock::wait(&self.path.join(LOCK_FILE), Sharing::Exclusive, || ())
    }

    /// Writes an engine and its entry, each in one step; an earlier engine of the same name is replaced.
    ///
    /// # Errors
    /// [`FolderError::Io`] when the file system refuses, a full disk included.
    pub fn add(
        &self,
        request: &EngineRequest<'_>,
        engine: &SerialisedEngine,
        report: &BuildReport,
    ) -> Result<PathBuf, FolderError> {
        let _lock = self.lock()?;
        let name = file_name(request);
        let path = self.path.join(&name);
        replace(&path, engine).map_err(|source| FolderError::Io { path: path.clone(), source })?;
        let mut entries = self.entries()?;
        entries.insert(name, entry(request, report));
        self.write(&entries)?;
        Ok(path)
    }

    /// Writes `NAME.layers.json`, the layers of the engine of `request`, next to it.
    ///
    /// # Errors
    /// [`FolderError::Io`] when the file system refuses.
    pub fn add_layers(&self, request: &EngineRequest<'_>, json: &str) -> Result<PathBuf, FolderError> {
        let _lock = self.lock()?;
        let path = self.path.join(file_name(request)).with_extension("layers.json");
        replace(&path, json.as_bytes()).map_err(|source| FolderError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    fn entries(&self) -> Result<BTreeMap<String, BuiltEngine>, FolderError> {
        let path = self.path.join(BUILD_FILE);
        match read_json(&path) {
            Err(error) if error.is_absent() => Ok(BTreeMap::new()),
            Err(JsonError::File(FileError { path, source })) => Err(FolderError::Io { path, source }),
            Err(JsonError::Document(error)) => Err(FolderError::NoEngineList { path, message: error.to_string() }),
            Ok(entries) => Ok(entries),
        }
    }

    fn write(&self, entries: &BTreeMap<String, BuiltEngine>) -> Result<(), FolderError> {
        let path = self.path.join(BUILD_FILE);
        let written = serde_json::to_string_pretty(entries)
            .map_err(io::Error::from)
            .and_then(|text| replace(&path, (text + "\n").as_bytes()));
        written.map_err(|source| FolderError::Io { path, source })
    }
}

/// `bert-base-hybrid-1x128-sm89.engine`; ranges as `1-32x32-512`.
fn file_name(request: &EngineRequest<'_>) -> String {
    let (batch, sequence) = (request.extent.batch(), request.extent.sequence());
    let shape = format!("{batch}x{sequence}").replace("..", "-");
    format!("{}-{}-{shape}-{}.engine", request.model.name, request.policy.name, request.target)
}

fn entry(request: &EngineRequest<'_>, report: &BuildReport) -> BuiltEngine {
    BuiltEngine {
        model: request.model.name.clone(),
        model_provenance: request.model.provenance.to_string(),
        weights: request.model.weights_identity(),
        policy: request.policy.clone(),
        batch: request.extent.batch().to_string(),
        sequence: request.extent.sequence().to_string(),
        options: match TensorRtLibrary::get() {
            Ok(library) => request.settings(library),
            Err(_) => request.options.describe(request.policy, None),
        },
        report: report.clone(),
        program: BuildInfo::current(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Target;
    use crate::graph::{Preset, Shape};
    use crate::model::{Architecture, ModelSource};
    use crate::model::{Head, Model};
    use crate::onnx::Extent;

    #[test]
    fn engines_of_several_builds_are_told_apart_and_accounted_for_together() {
        let root = tempfile::tempdir().unwrap();
        let folder = EngineFolder::open(&root.path().join("engines")).unwrap();
        let source = ModelSource::Random { seed: 3, architecture: Architecture::BertTiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let range =
            Extent::Dynamic { smallest: Shape { batch: 1, sequence: 8 }, largest: Shape { batch: 4, sequence: 16 } };
        let report = BuildReport { engine_bytes: Some(3), ..BuildReport::default() };
        let engine = SerialisedEngine::from(vec![1, 2, 3]);
        for preset in [Preset::Fp16, Preset::Hybrid, Preset::Fp16] {
            let policy = PrecisionPolicy::preset(preset);
            let request = EngineRequest::new(&model, &policy, range, Target::Sm89);
            let path = folder.add(&request, &engine, &report).unwrap();
            assert_eq!(fs::read(path).unwrap(), [1, 2, 3]);
        }
        let entries = folder.entries().unwrap();
        let names: Vec<&str> = entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["tiny-fp16-1-4x8-16-sm89.engine", "tiny-hybrid-1-4x8-16-sm89.engine"]);
        let hybrid = &entries[names[1]];
        assert_eq!((hybrid.batch.as_str(), hybrid.weights.as_str()), ("1..4", "random seed 3"));
        assert_eq!((&hybrid.policy, &hybrid.report), (&PrecisionPolicy::preset(Preset::Hybrid), &report));
    }

    /// `build.json` is read, extended and written again: without a lock, one build would overwrite the entries of another.
    #[test]
    fn builds_into_one_folder_at_the_same_time_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let source = ModelSource::Random { seed: 3, architecture: Architecture::BertTiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        std::thread::scope(|scope| {
            for preset in Preset::ALL {
                let (path, model) = (root.path(), &model);
                scope.spawn(move || {
                    let (folder, policy) = (EngineFolder::open(path).unwrap(), PrecisionPolicy::preset(preset));
                    let engine = SerialisedEngine::from(vec![0; 100_000]);
                    for batch in 1..=8 {
                        let extent = Extent::Static(Shape { batch, sequence: 8 });
                        let request = EngineRequest::new(model, &policy, extent, Target::Sm80);
                        folder.add(&request, &engine, &BuildReport::default()).unwrap();
                    }
                });
            }
        });
        let entries = EngineFolder::open(root.path()).unwrap().entries().unwrap();
        assert_eq!(entries.len(), 8 * Preset::ALL.len());
        assert!(entries.keys().all(|name| root.path().join(name).is_file()));
    }

    #[test]
    fn a_foreign_account_is_refused_before_anything_is_built() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(BUILD_FILE), r#"{"scripts": 1}"#).unwrap();
        let error = EngineFolder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("build.json is not an account") && error.contains("choose another folder"), "{error}");
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(EngineFolder::open(&file), Err(FolderError::Io { .. })));
    }
}
