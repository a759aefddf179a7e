//! The shared libraries of the backends. `container/wheels.json` pins those that set-up fetches, and is compiled in
//! (`pins`). Versions, file names and digests are stated only there.

mod file_digest;
pub mod loaded;
pub mod pins;
mod search;
pub mod tensorrt;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::engine::BackendKind;

pub use file_digest::library_sha256;
pub use search::{find, was_set_up};

/// SHA-256 of each library that engines of a backend execute with by its name, as far as they are found here. Reads all of
/// their bytes.
pub fn digests(kind: BackendKind) -> BTreeMap<String, String> {
    let pinned =
        Library::of(kind).iter().filter_map(|&library| Some((library.stem().to_owned(), find(library).ok()?.path)));
    let installed = (kind == BackendKind::TensorRt).then(tensorrt::installation).and_then(Result::ok);
    let installed = installed.into_iter().flat_map(|found| [found.builder, found.parser]);
    let name = |path: PathBuf| Some((path.file_name()?.to_string_lossy().into_owned(), path));
    let all = pinned.chain(installed.filter_map(name));
    all.filter_map(|(name, path)| Some((name, library_sha256(&path).ok()?))).collect()
}

/// Variable with the path of an ONNX Runtime library to use instead of the pinned one.
pub const ONNX_RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Variable with the folder of TensorRT-RTX libraries to use instead of the pinned ones.
pub const TENSORRT_VARIABLE: &str = "MIXPREC_TENSORRT_LIBRARY_DIR";

/// Variable with the folder of NVRTC and cuBLASLt to use instead of any others.
pub const CUDA_VARIABLE: &str = "MIXPREC_CUDA_LIBRARY_DIR";

/// Every variable with the path of a library.
pub const VARIABLES: [&str; 5] = [
    ONNX_RUNTIME_VARIABLE,
    TENSORRT_VARIABLE,
    CUDA_VARIABLE,
    tensorrt::TENSORRT_FOLDER_VARIABLE,
    tensorrt::SHIM_VARIABLE,
];

/// Folder into which set-up unpacks libraries, relative to the repository. Each lies at `NAME-VERSION/FILE` below it.
const FOLDER: &str = "runs/libraries";

/// A shared library that a backend loads at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// ONNX Runtime.
    OnnxRuntime,
    /// TensorRT-RTX: builder and runtime.
    TensorRtRtx,
    /// TensorRT-RTX: parser of ONNX files.
    TensorRtRtxParser,
    /// NVRTC, the run-time compiler of CUDA code. It also compiles on a host without a GPU.
    Nvrtc,
    /// The built-in definitions that NVRTC compiles into every program. It always comes from NVRTC's folder, because it
    /// only fits one version of NVRTC.
    NvrtcBuiltins,
    /// cuBLASLt, matrix products.
    CublasLt,
}

impl Library {
    /// The pinned libraries, which set-up fetches.
    pub const PINNED: [Library; 6] = [
        Library::OnnxRuntime,
        Library::TensorRtRtx,
        Library::TensorRtRtxParser,
        Library::Nvrtc,
        Library::NvrtcBuiltins,
        Library::CublasLt,
    ];

    /// The libraries that engines of a backend execute with.
    pub fn of(kind: BackendKind) -> &'static [Library] {
        match kind {
            BackendKind::Reference | BackendKind::Mock => &[],
            BackendKind::OnnxRuntime => &[Library::OnnxRuntime],
            BackendKind::Cuda => &[Library::Nvrtc, Library::NvrtcBuiltins, Library::CublasLt],
            BackendKind::TensorRt => &[Library::TensorRtRtx, Library::TensorRtRtxParser],
        }
    }

    /// The environment variable that overrides its location.
    pub fn variable(self) -> &'static str {
        match self {
            Library::OnnxRuntime => ONNX_RUNTIME_VARIABLE,
            Library::Nvrtc | Library::NvrtcBuiltins | Library::CublasLt => CUDA_VARIABLE,
            _ => TENSORRT_VARIABLE,
        }
    }

    /// The command that fetches it.
    pub fn set_up(self) -> &'static str {
        match self {
            // It is too large to fetch where no GPU can use it.
            Library::CublasLt => "container/setup.sh --cuda",
            _ => "container/setup.sh --libraries",
        }
    }

    /// Whether it is useless without a GPU. TensorRT builds and NVRTC compiles without one.
    pub fn needs_gpu(self) -> bool {
        self == Library::CublasLt
    }

    /// Whether it is part of the CUDA toolkit, so that an installed toolkit or Python package may contain it.
    fn is_of_toolkit(self) -> bool {
        matches!(self, Library::Nvrtc | Library::NvrtcBuiltins | Library::CublasLt)
    }

    /// Its file name up to and including `.so`.
    fn stem(self) -> &'static str {
        match self {
            Library::OnnxRuntime => "libonnxruntime.so",
            Library::TensorRtRtx => "libtensorrt_rtx.so",
            Library::TensorRtRtxParser => "libtensorrt_onnxparser_rtx.so",
            Library::Nvrtc => "libnvrtc.so",
            Library::NvrtcBuiltins => "libnvrtc-builtins.so",
            Library::CublasLt => "libcublasLt.so",
        }
    }

    /// Its pin; `None` for a library that is not pinned.
    ///
    /// # Errors
    /// [`LibraryError::Pins`] when the compiled-in pins lack it.
    pub fn pin(self) -> Result<Option<Pin>, LibraryError> {
        let wheel = match self {
            Library::OnnxRuntime => "onnxruntime",
            Library::TensorRtRtx | Library::TensorRtRtxParser => "tensorrt-rtx",
            Library::Nvrtc | Library::NvrtcBuiltins => "cuda-nvrtc",
            Library::CublasLt => "cublas",
        };
        let pins = pins::compiled_in().map_err(LibraryError::Pins)?;
        let pin = pins.wheels.get(wheel).and_then(|pinned| {
            let (file, pin) = pinned.unpack.iter().find(|(file, _)| file.starts_with(self.stem()))?;
            Some(Pin {
                version: &pinned.version,
                path: Path::new(FOLDER).join(format!("{wheel}-{}", pinned.version)).join(file),
                file,
                bytes: pin.bytes,
                sha256: &pin.sha256,
            })
        });
        pin.map(Some).ok_or_else(|| LibraryError::Pins(format!("no {} in the wheel `{wheel}`", self.stem())))
    }

    /// The name of the file to look for.
    fn file(self) -> Result<&'static str, LibraryError> {
        Ok(self.pin()?.map_or(self.stem(), |pin| pin.file))
    }
}

/// A pinned library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Version of its wheel.
    pub version: &'static str,
    /// File name. It ends in the version of the binary interface.
    pub file: &'static str,
    /// Its path, relative to the repository.
    pub path: PathBuf,
    /// Size.
    pub bytes: u64,
    /// Digest, hexadecimal.
    pub sha256: &'static str,
}

/// Why a library cannot be used, on one line with the cure.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum LibraryError {
    /// The library was not found.
    #[error("{file} is not here: run {}, or say where it is in {}", .library.set_up(), .library.variable())]
    Missing { library: Library, file: &'static str },
    /// The library was not found, but one of another major version was.
    #[error("{file} is not here, only {other}, another major version: run {}, or say where {file} is in {}",
        .library.set_up(), .library.variable())]
    OtherMajor { library: Library, file: &'static str, other: PathBuf },
    /// The library must lie next to another one and does not.
    #[error("no {file} beside {beside}, so that installation is incomplete: run {}, or name a complete one in {}",
        .library.set_up(), .library.variable())]
    NotBeside { library: Library, file: &'static str, beside: PathBuf },
    /// The environment variable that names it is wrong.
    #[error(
        "{variable} leads to `{path}`, which is no file: correct the variable, or unset it to use the pinned library"
    )]
    Variable { variable: &'static str, path: PathBuf },
    /// The file at a pinned path is not the pinned file.
    #[error("{path} is not the pinned file ({difference}): run {} to replace it", .library.set_up())]
    Altered { library: Library, path: PathBuf, difference: String },
    /// The file cannot be read.
    #[error("{path}: {message}; make it readable, or run {}", .library.set_up())]
    Unreadable { library: Library, path: PathBuf, message: String },
    /// The pins compiled into this program are damaged.
    #[error("container/wheels.json, compiled into this program: {0}; correct it and build again")]
    Pins(String),
}

/// How a library was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Through the environment variable of this name.
    Variable(&'static str),
    /// Set-up fetched it, and it has the pinned size.
    Pinned,
    /// Set-up fetched it, and compared its digest then.
    SetUp,
    /// In a folder of the dynamic loader.
    Loader,
    /// In an installed CUDA toolkit.
    Toolkit,
    /// In a Python package for CUDA.
    PythonPackage,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Variable(name) => write!(f, "named by {name}"),
            How::Pinned => f.write_str("pinned"),
            How::SetUp => f.write_str("fetched by set-up"),
            How::Loader => f.write_str("of the system"),
            How::Toolkit => f.write_str("of the CUDA toolkit"),
            How::PythonPackage => f.write_str("of a Python package"),
        }
    }
}

/// A library on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLibrary {
    /// The library.
    pub library: Library,
    /// Its file.
    pub path: PathBuf,
    /// How it was found.
    pub how: How,
}

impl FoundLibrary {
    /// Its path, relative to the current folder if it lies below that.
    pub fn place(&self) -> String {
        let here = env::current_dir().unwrap_or_default();
        self.path.strip_prefix(here).unwrap_or(&self.path).display().to_string()
    }

    /// The cure for a file that cannot be loaded or is too old.
    pub fn cure(&self) -> String {
        let variable = self.library.variable();
        match self.how {
            How::Variable(name) => format!("correct {name}, or unset it to use the pinned library"),
            How::Pinned | How::SetUp => format!("run {}", self.library.set_up()),
            How::Loader | How::Toolkit | How::PythonPackage => {
                format!("install another, or say where one is in {variable}")
            }
        }
    }

    /// Compares the file's digest with its pin. A library that was found by other means is not checked.
    ///
    /// # Errors
    /// [`LibraryError::Altered`] when the file differs, [`LibraryError::Unreadable`] when it cannot be read.
    pub fn verify(&self) -> Result<(), LibraryError> {
        let (How::Pinned, Some(pin)) = (self.how, self.library.pin()?) else { return Ok(()) };
        let (library, path) = (self.library, self.path.clone());
        let digest = match library_sha256(&path) {
            Ok(digest) => digest,
            Err(error) => return Err(LibraryError::Unreadable { library, path, message: error.to_string() }),
        };
        if digest == pin.sha256 {
            return Ok(());
        }
        let difference = format!("its sha256 is {digest}, pinned is {}", pin.sha256);
        Err(LibraryError::Altered { library, path, difference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_library_has_a_pin_of_its_own() {
        let pins = Library::PINNED.map(|library| library.pin().unwrap().unwrap());
        assert_eq!(pins[0].path, Path::new("runs/libraries/onnxruntime-1.32.0/libonnxruntime.so.1.32.0"));
        let files = pins.each_ref().map(|pin| pin.file);
        assert_eq!(files[1..3], ["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"]);
        assert_eq!(files[3..], ["libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "libcublasLt.so.13"]);
        assert_eq!(pins[1].path.parent(), pins[2].path.parent());
        assert_eq!(pins[3].path.parent(), pins[4].path.parent());
    }

    /// Every error names the cure of its own library.
    #[test]
    fn what_only_a_gpu_needs_is_fetched_by_its_own_step() {
        let missing = |library| LibraryError::Missing { library, file: "FILE" }.to_string();
        let cublas = missing(Library::CublasLt);
        let cure = "run container/setup.sh --cuda, or say where it is in MIXPREC_CUDA_LIBRARY_DIR";
        assert_eq!(cublas, format!("FILE is not here: {cure}"));
        assert!(missing(Library::Nvrtc).contains("container/setup.sh --libraries, or say"));
    }

    #[test]
    fn the_cure_follows_from_where_the_library_was_found() {
        let cure = |library, how| FoundLibrary { library, path: PathBuf::new(), how }.cure();
        let named = How::Variable(TENSORRT_VARIABLE);
        assert_eq!(cure(Library::OnnxRuntime, How::Pinned), "run container/setup.sh --libraries");
        assert_eq!(
            cure(Library::TensorRtRtx, named),
            "correct MIXPREC_TENSORRT_LIBRARY_DIR, or unset it to use the pinned library"
        );
        assert!(cure(Library::TensorRtRtx, How::Loader).ends_with("say where one is in MIXPREC_TENSORRT_LIBRARY_DIR"));
    }
}
