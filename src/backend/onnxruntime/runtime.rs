//! ONNX Runtime's library: found and loaded once per process, with its errors in this program's terms.

use std::sync::OnceLock;

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::engine::{BackendError, BackendKind};
use crate::libraries::{FoundLibrary, How, Library, find};

/// The loaded library.
#[derive(Debug)]
pub(super) struct Runtime {
    /// The environment of all sessions. One per process, kept until it ends.
    pub environment: Environment,
    /// `ONNX Runtime 1.32.0`.
    pub name: String,
    /// Where it came from.
    pub found: FoundLibrary,
}

/// The library, loaded by the first caller. A failure is final for this process too, since both the dynamic loader and `ort`
/// keep what they have loaded.
///
/// # Errors
/// [`BackendError::Unavailable`] with one line that names the cure.
pub(super) fn runtime() -> Result<&'static Runtime, BackendError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME.get_or_init(load).as_ref().map_err(|reason| unavailable(reason))
}

fn load() -> Result<Runtime, String> {
    let found = find(Library::OnnxRuntime).map_err(|error| error.to_string())?;
    let builder = ort::init_from(&found.path).map_err(|error| refusal(&error, &found))?;
    let environment =
        builder.with_name("mixprec").with_telemetry(false).build().map_err(|error| one_line(error.message()))?;
    // What the library logs as errors comes back as errors too, and those are reported.
    environment.set_log_level(LogLevel::Fatal);
    let name = match version(&found) {
        Some(version) => format!("ONNX Runtime {version}"),
        None => format!("ONNX Runtime of at least 1.{}", ort::MINOR_VERSION),
    };
    Ok(Runtime { environment, name, found })
}

/// Its version: that of the pin, or the one in the name of the file that the path leads to.
fn version(found: &FoundLibrary) -> Option<String> {
    if let (How::Pinned, Ok(Some(pin))) = (found.how, found.library.pin()) {
        return Some(pin.version.to_owned());
    }
    let path = found.path.canonicalize().ok()?;
    let (_, version) = path.file_name()?.to_str()?.split_once(".so.")?;
    // `libonnxruntime.so.1` states a binary interface, no version.
    version.contains('.').then(|| version.to_owned())
}

/// Why the library cannot be used, with the cure.
fn refusal(error: &LoadDynamicError, found: &FoundLibrary) -> String {
    let path = found.path.display();
    let what = match error {
        LoadDynamicError::BadVersion { version_str, .. } => {
            format!("ONNX Runtime {version_str} at {path} is too old: 1.{} or newer is needed", ort::MINOR_VERSION)
        }
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            format!("{path} is no ONNX Runtime library")
        }
        LoadDynamicError::Dlopen { error, .. } => format!("{path} cannot be loaded: {}", one_line(&error.to_string())),
    };
    format!("{what}; {}", found.cure())
}

fn unavailable(reason: &str) -> BackendError {
    BackendError::Unavailable { backend: BackendKind::OnnxRuntime, reason: reason.to_owned() }
}

/// An error of the library while it builds or executes. It has no error code for running out of memory, only words.
pub(super) fn failure(error: ort::Error) -> BackendError {
    const WORDS: [&str; 4] = ["Failed to allocate memory", "bad allocation", "bad_alloc", "out of memory"];
    let (backend, message) = (BackendKind::OnnxRuntime, one_line(error.message()));
    match WORDS.iter().any(|words| message.contains(words)) {
        true => BackendError::OutOfMemory { backend, message },
        false => BackendError::Execution { backend, message },
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, how: How) -> FoundLibrary {
        FoundLibrary { library: Library::OnnxRuntime, path: path.into(), how }
    }

    #[test]
    fn the_version_is_the_pins_or_that_of_the_file_behind_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so.1.25.1");
        std::fs::write(&file, "").unwrap();
        let link = folder.path().join("libonnxruntime.so");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let own = found(link.to_str().unwrap(), How::Variable("ORT_DYLIB_PATH"));
        assert_eq!(version(&own).as_deref(), Some("1.25.1"));
        assert_eq!(version(&found("anything", How::Pinned)).as_deref(), Some("1.32.0"));
        std::fs::rename(&file, folder.path().join("libonnxruntime.so.1")).unwrap();
        assert_eq!(version(&found(folder.path().join("libonnxruntime.so.1").to_str().unwrap(), How::Loader)), None);
    }

    #[test]
    fn an_old_library_is_told_with_both_versions_and_the_cure() {
        let error = LoadDynamicError::BadVersion { version_str: "1.17.0".to_owned(), path: "old.so".into() };
        assert_eq!(
            refusal(&error, &found("old.so", How::Variable("ORT_DYLIB_PATH"))),
            "ONNX Runtime 1.17.0 at old.so is too old: 1.24 or newer is needed; correct ORT_DYLIB_PATH, or unset it to \
             use the pinned library"
        );
        let error = LoadDynamicError::MissingApi { path: "zlib.so".into() };
        let text = refusal(&error, &found("zlib.so", How::Pinned));
        assert_eq!(text, "zlib.so is no ONNX Runtime library; run container/setup.sh --libraries");
    }
}
