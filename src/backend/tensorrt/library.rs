//! The two TensorRT libraries: found, loaded once per process, and called one call at a time.
#![allow(unsafe_code, reason = "asks the loaded library for its version")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use trtx::Logger;

use super::messages::Messages;
use crate::engine::{BackendError, BackendKind};
use crate::libraries::{FoundLibrary, find};

#[cfg(not(feature = "tensorrt-enterprise"))]
mod product {
    use crate::libraries::Library;

    /// As tables print it.
    pub const NAME: &str = "TensorRT-RTX";
    pub const BUILDER: Library = Library::TensorRtRtx;
    pub const PARSER: Library = Library::TensorRtRtxParser;
}

#[cfg(feature = "tensorrt-enterprise")]
mod product {
    use crate::libraries::Library;

    /// As tables print it.
    pub const NAME: &str = "TensorRT";
    pub const BUILDER: Library = Library::TensorRt;
    pub const PARSER: Library = Library::TensorRtParser;
}

/// TensorRT, loaded.
#[derive(Debug)]
pub(super) struct TensorRtLibrary {
    logger: Logger,
    messages: Messages,
    /// Name and version as tables print it, e.g. `TensorRT-RTX 1.7.1`; the version is the library's own answer.
    pub version: String,
    /// The engine builder's file.
    builder: FoundLibrary,
    /// One call at a time: the library's log does not say which call a message belongs to.
    calls: Mutex<()>,
}

impl TensorRtLibrary {
    /// The libraries of this process. The first caller loads them, and the result, even a failure, is final.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] with the cure.
    pub fn get() -> Result<&'static TensorRtLibrary, BackendError> {
        static LIBRARY: OnceLock<Result<TensorRtLibrary, String>> = OnceLock::new();
        LIBRARY.get_or_init(TensorRtLibrary::load).as_ref().map_err(|reason| unavailable(reason.clone()))
    }

    /// Name and version, and where the library was found.
    pub fn describe(&self) -> String {
        format!("{}, {}: {}", self.version, self.builder.how, self.builder.place())
    }

    /// The one logger of the process: TensorRT requires the same for every object that it creates.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Calls into the library; a failure has the library's own words.
    ///
    /// # Errors
    /// [`BackendError`] of the kind that the library's message indicates.
    pub fn call<T>(&self, call: impl FnOnce() -> trtx::Result<T>) -> Result<T, BackendError> {
        let _guard = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        self.messages.clear();
        call().map_err(|error| self.failure(&error))
    }

    /// The failure that `error` stands for.
    pub fn failure(&self, error: &trtx::Error) -> BackendError {
        classify(self.messages.reason().unwrap_or_else(|| error.to_string()))
    }

    fn load() -> Result<TensorRtLibrary, String> {
        let places = [find(product::BUILDER), find(product::PARSER)];
        let [builder, parser] = places.map(|found| found.map_err(|error| error.to_string()));
        let (builder, parser) = (builder?, parser?);
        trtx::dynamically_load_tensorrt(Some(&builder.path)).map_err(|error| broken(&builder, &error))?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&parser.path)).map_err(|error| broken(&parser, &error))?;
        let (path, cure) = (builder.path.display(), builder.cure());
        let version = version(&builder.path).ok_or_else(|| format!("{path} reports no version; {cure}"))?;
        let required = headers();
        if (version[0], version[1]) != required {
            let (name, found) = (product::NAME, dotted(version));
            return Err(format!("{path} is {name} {found}, this program needs {}.{}; {cure}", required.0, required.1));
        }
        let messages = Messages::default();
        let logger = Logger::new(messages.clone()).map_err(|error| error.to_string())?;
        let version = format!("{} {}", product::NAME, dotted(version));
        Ok(TensorRtLibrary { logger, messages, version, builder, calls: Mutex::new(()) })
    }
}

/// Why the dynamic loader refuses a library, in one line.
fn broken(found: &FoundLibrary, error: &trtx::Error) -> String {
    let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{} cannot be loaded: {error}; {}", found.path.display(), found.cure())
}

/// Major and minor version of the headers that the bindings were generated from.
fn headers() -> (u32, u32) {
    use trtx::trtx_sys::{get_tensorrt_major_version, get_tensorrt_minor_version};
    // SAFETY: plain functions compiled into this program that return constants.
    unsafe { (get_tensorrt_major_version(), get_tensorrt_minor_version()) }
}

/// `tensorrt is not available: ...`
pub(super) fn unavailable(reason: String) -> BackendError {
    BackendError::Unavailable { backend: BackendKind::TensorRt, reason }
}

/// `tensorrt failed: ...`
pub(super) fn execution(message: String) -> BackendError {
    BackendError::Execution { backend: BackendKind::TensorRt, message }
}

/// `tensorrt ran out of memory: ...`
pub(super) fn out_of_memory(message: String) -> BackendError {
    BackendError::OutOfMemory { backend: BackendKind::TensorRt, message }
}

/// Words of the library about a GPU that it does not support, when it builds for it or loads an engine on it.
const REFUSALS: [&str; 5] = [
    "supported compute capabilities",
    "compute capability is invalid or not supported",
    "cannot run on this gpu",
    "does not support this compute capability",
    "is not supported by this tensorrt release",
];

/// The kind of failure that a message of the library indicates.
fn classify(message: String) -> BackendError {
    let lower = message.to_lowercase();
    if lower.contains("out of memory") || lower.contains("outofmemory") || lower.contains("memory allocation failed") {
        out_of_memory(message)
    } else if REFUSALS.iter().any(|words| lower.contains(words)) {
        unavailable(message)
    } else {
        execution(message)
    }
}

fn dotted(version: [u32; 3]) -> String {
    version.map(|part| part.to_string()).join(".")
}

// Functions of the C library, which the standard library links already.
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

/// `RTLD_NOW` of dlfcn.h.
const RTLD_NOW: c_int = 2;

/// Major, minor and patch version of the loaded library, whose file name has the major number only.
fn version(library: &Path) -> Option<[u32; 3]> {
    let path = CString::new(library.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: the file has been loaded before, so no initialiser runs; the handle stays open with the library.
    let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    if handle.is_null() {
        return None;
    }
    let ask = |name: &CStr| {
        // SAFETY: `handle` is open and `name` ends in a zero.
        let symbol = unsafe { dlsym(handle, name.as_ptr()) };
        if symbol.is_null() {
            return None;
        }
        // SAFETY: NvInferRuntime.h declares all three as `extern "C" int32_t NAME() noexcept`.
        let function = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> i32>(symbol) };
        u32::try_from(function()).ok()
    };
    Some([ask(c"getInferLibMajorVersion")?, ask(c"getInferLibMinorVersion")?, ask(c"getInferLibPatchVersion")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_failures_of_their_kind() {
        let refused =
            "TensorRT-RTX does not support this GPU. Supported compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0";
        assert!(matches!(classify(refused.to_owned()), BackendError::Unavailable { .. }));
        let not_built_for = "Target GPU SM 90 is not supported by this TensorRT release";
        assert!(matches!(classify(not_built_for.to_owned()), BackendError::Unavailable { .. }));
        assert!(matches!(
            classify("Requested size failed: out of memory".to_owned()),
            BackendError::OutOfMemory { .. }
        ));
        let error = classify("no node".to_owned());
        assert_eq!(error.to_string(), "tensorrt failed: no node");
    }

    #[test]
    fn a_file_that_is_no_library_has_no_version() {
        assert_eq!(version(Path::new("/proc/self/status")), None);
    }
}
