//! Where the shared libraries of the backends are. What set-up fetches is pinned in `container/wheels.json`, which is
//! compiled in: versions, file names and digests are stated there and nowhere else.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use thiserror::Error;

use crate::digest::sha256_file;

/// Names the ONNX Runtime to use instead of the pinned one: the path of the library file.
pub const ONNX_RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Names the folder of the TensorRT libraries to use instead of the pinned ones.
pub const TENSORRT_VARIABLE: &str = "MIXPREC_TENSORRT_LIBRARY_DIR";

/// What fetches the pinned libraries.
const SET_UP: &str = "container/setup.sh --libraries";

/// Where set-up unpacks them, relative to the repository: `NAME-VERSION/FILE` below it.
const FOLDER: &str = "runs/libraries";

/// Folders the dynamic loader looks in on common Linux systems, after those of `LD_LIBRARY_PATH`.
const LOADER_FOLDERS: [&str; 5] =
    ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// A shared library that a backend loads at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// ONNX Runtime.
    OnnxRuntime,
    /// TensorRT-RTX: builder and runtime.
    TensorRtRtx,
    /// TensorRT-RTX: parser of ONNX files.
    TensorRtRtxParser,
    /// TensorRT for data-centre GPUs: builder and runtime. In no package index, so not pinned.
    TensorRt,
    /// TensorRT for data-centre GPUs: parser of ONNX files.
    TensorRtParser,
}

impl Library {
    /// The libraries that set-up fetches.
    pub const PINNED: [Library; 3] = [Library::OnnxRuntime, Library::TensorRtRtx, Library::TensorRtRtxParser];

    /// The environment variable that says where else it is.
    pub fn variable(self) -> &'static str {
        match self {
            Library::OnnxRuntime => ONNX_RUNTIME_VARIABLE,
            _ => TENSORRT_VARIABLE,
        }
    }

    /// The beginning of its file name, up to and including `.so`.
    fn stem(self) -> &'static str {
        match self {
            Library::OnnxRuntime => "libonnxruntime.so",
            Library::TensorRtRtx => "libtensorrt_rtx.so",
            Library::TensorRtRtxParser => "libtensorrt_onnxparser_rtx.so",
            Library::TensorRt => "libnvinfer.so",
            Library::TensorRtParser => "libnvonnxparser.so",
        }
    }

    /// What is pinned; `None` for a library that is not.
    ///
    /// # Errors
    /// [`LibraryError::Pins`] when the pins compiled in do not name it.
    pub fn pin(self) -> Result<Option<Pin>, LibraryError> {
        let wheel = match self {
            Library::OnnxRuntime => "onnxruntime",
            Library::TensorRtRtx | Library::TensorRtRtxParser => "tensorrt-rtx",
            Library::TensorRt | Library::TensorRtParser => return Ok(None),
        };
        let pins = PINS.as_ref().map_err(|message| LibraryError::Pins(message.clone()))?;
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
        Ok(match self {
            // The major version the bindings are written for.
            Library::TensorRt => "libnvinfer.so.11",
            Library::TensorRtParser => "libnvonnxparser.so.11",
            _ => self.pin()?.map_or(self.stem(), |pin| pin.file),
        })
    }
}

/// A pinned library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Version of the wheel it comes in.
    pub version: &'static str,
    /// File name, which ends in the version of its binary interface.
    pub file: &'static str,
    /// Where it is, relative to the repository.
    pub path: PathBuf,
    /// Size.
    pub bytes: u64,
    /// Digest, hexadecimal.
    pub sha256: &'static str,
}

#[derive(Debug, Deserialize)]
struct Pins {
    wheels: BTreeMap<String, Wheel>,
}

#[derive(Debug, Deserialize)]
struct Wheel {
    version: String,
    unpack: BTreeMap<String, PinnedFile>,
}

#[derive(Debug, Deserialize)]
struct PinnedFile {
    bytes: u64,
    sha256: String,
}

static PINS: LazyLock<Result<Pins, String>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../container/wheels.json")).map_err(|error| error.to_string())
});

/// A library that cannot be used, in one line with the cure.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum LibraryError {
    /// It is nowhere.
    #[error("{file} is not here: run {SET_UP}, or say where it is in {variable}")]
    Missing { file: &'static str, variable: &'static str },
    /// It is nowhere, and set-up does not fetch it.
    #[error("{file} is not here: install TensorRT 11 and name its folder in {variable}")]
    NotInstalled { file: &'static str, variable: &'static str },
    /// The variable that names it is wrong.
    #[error(
        "{variable} leads to {path}, which is no file: correct the variable, or unset it to use the pinned library"
    )]
    Variable { variable: &'static str, path: PathBuf },
    /// The file in the place of a pinned one is another.
    #[error("{path} is not the pinned file ({difference}): run {SET_UP} to replace it")]
    Altered { path: PathBuf, difference: String },
    /// The file cannot be read.
    #[error("{path}: {message}; make it readable, or run {SET_UP}")]
    Unreadable { path: PathBuf, message: String },
    /// The pins compiled into this program are damaged.
    #[error("container/wheels.json, compiled into this program: {0}; correct it and build again")]
    Pins(String),
}

/// How a library was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The environment variable of this name leads to it.
    Variable(&'static str),
    /// Set-up fetched it; it has the pinned size.
    Pinned,
    /// It lies where the dynamic loader looks.
    Loader,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Variable(name) => write!(f, "named by {name}"),
            How::Pinned => f.write_str("pinned"),
            How::Loader => f.write_str("of the system"),
        }
    }
}

/// A library on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub library: Library,
    /// Its file.
    pub path: PathBuf,
    /// How it was found.
    pub how: How,
}

impl Found {
    /// Its path, from the current folder where it lies below that.
    pub fn place(&self) -> String {
        let here = env::current_dir().unwrap_or_default();
        self.path.strip_prefix(here).unwrap_or(&self.path).display().to_string()
    }

    /// What a person does about a file that is no use: it cannot be loaded, or is too old.
    pub fn cure(&self) -> String {
        let variable = self.library.variable();
        match self.how {
            How::Variable(name) if matches!(self.library.pin(), Ok(None)) => format!("correct {name}"),
            How::Variable(name) => format!("correct {name}, or unset it to use the pinned library"),
            How::Pinned => format!("run {SET_UP}"),
            How::Loader => format!("install another, or name its folder in {variable}"),
        }
    }

    /// Compares the file with its pin, byte for byte. A library that a person chose by other means is not judged.
    ///
    /// # Errors
    /// [`LibraryError::Altered`] when it is another file, [`LibraryError::Unreadable`] when it cannot be read.
    pub fn verify(&self) -> Result<(), LibraryError> {
        let (How::Pinned, Some(pin)) = (self.how, self.library.pin()?) else { return Ok(()) };
        let digest = sha256_file(&self.path)
            .map_err(|error| LibraryError::Unreadable { path: self.path.clone(), message: error.to_string() })?;
        if digest == pin.sha256 {
            return Ok(());
        }
        let difference = format!("its sha256 is {digest}, pinned is {}", pin.sha256);
        Err(LibraryError::Altered { path: self.path.clone(), difference })
    }
}

/// Looks for a library: where its variable says; where set-up puts it, in a repository that holds the current folder or
/// this program; for TensorRT, where the dynamic loader looks.
///
/// # Errors
/// [`LibraryError`], one line with the cure.
pub fn find(library: Library) -> Result<Found, LibraryError> {
    Places::of_this_process(library).find(library)
}

/// Where to look.
struct Places {
    variable: Option<OsString>,
    /// Folders that may be the repository.
    roots: Vec<PathBuf>,
    loader: Vec<PathBuf>,
}

impl Places {
    fn of_this_process(library: Library) -> Self {
        let starts = [env::current_dir(), env::current_exe()];
        let roots = starts.iter().flatten().flat_map(|start| start.ancestors()).map(Path::to_owned).collect();
        let named = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let mut loader = Vec::new();
        // An ONNX Runtime of the system is as good as unknown: it must be named to be used.
        if library != Library::OnnxRuntime {
            loader.extend(env::split_paths(&named).filter(|folder| folder.is_absolute()));
            loader.extend(LOADER_FOLDERS.map(PathBuf::from));
        }
        Places { variable: env::var_os(library.variable()).filter(|value| !value.is_empty()), roots, loader }
    }

    fn find(&self, library: Library) -> Result<Found, LibraryError> {
        let (file, variable) = (library.file()?, library.variable());
        if let Some(value) = &self.variable {
            let value = PathBuf::from(value);
            let path = if library == Library::OnnxRuntime { value } else { value.join(file) };
            // The dynamic loader would search its own folders for a name without a slash.
            return match path.canonicalize() {
                Ok(path) if path.is_file() => Ok(Found { library, path, how: How::Variable(variable) }),
                _ => Err(LibraryError::Variable { variable, path }),
            };
        }
        let pin = library.pin()?;
        if let Some(pin) = &pin {
            for path in self.roots.iter().map(|root| root.join(&pin.path)) {
                let Ok(metadata) = path.metadata() else { continue };
                if metadata.len() != pin.bytes {
                    let difference = format!("it has {} bytes, pinned are {}", metadata.len(), pin.bytes);
                    return Err(LibraryError::Altered { path, difference });
                }
                return Ok(Found { library, path, how: How::Pinned });
            }
        }
        match self.loader.iter().map(|folder| folder.join(file)).find(|path| path.is_file()) {
            Some(path) => Ok(Found { library, path, how: How::Loader }),
            None if pin.is_some() => Err(LibraryError::Missing { file, variable }),
            None => Err(LibraryError::NotInstalled { file, variable }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(roots: &[&Path]) -> Places {
        Places { variable: None, roots: roots.iter().map(|&root| root.to_owned()).collect(), loader: Vec::new() }
    }

    /// A sparse file of this size.
    fn put(path: &Path, bytes: u64) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
    }

    #[test]
    fn every_pinned_library_has_a_pin_of_its_own() {
        let pins = Library::PINNED.map(|library| library.pin().unwrap().unwrap());
        assert_eq!(pins[0].path, Path::new("runs/libraries/onnxruntime-1.32.0/libonnxruntime.so.1.32.0"));
        assert_eq!(pins[1].file, "libtensorrt_rtx.so.1");
        assert_eq!(pins[2].file, "libtensorrt_onnxparser_rtx.so.1");
        assert_eq!(pins[1].path.parent(), pins[2].path.parent());
        assert_eq!(Library::TensorRt.pin(), Ok(None));
    }

    #[test]
    fn the_nearest_folder_with_the_pinned_size_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (near, far) = (folder.path().join("near"), folder.path().join("far"));
        let pin = Library::OnnxRuntime.pin().unwrap().unwrap();
        let missing = places(&[&near, &far]).find(Library::OnnxRuntime).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "libonnxruntime.so.1.32.0 is not here: run container/setup.sh --libraries, or say where it is in \
             ORT_DYLIB_PATH"
        );
        put(&far.join(&pin.path), pin.bytes);
        let found = places(&[&near, &far]).find(Library::OnnxRuntime).unwrap();
        assert_eq!((found.path.clone(), found.how), (far.join(&pin.path), How::Pinned));
        let altered = found.verify().unwrap_err().to_string();
        assert!(altered.contains("is not the pinned file (its sha256 is "), "{altered}");
        put(&near.join(&pin.path), 5);
        let short = places(&[&near, &far]).find(Library::OnnxRuntime).unwrap_err().to_string();
        assert!(short.contains("it has 5 bytes, pinned are 34824680): run container/setup.sh --libraries"), "{short}");
    }

    #[test]
    fn the_cure_follows_from_where_the_library_was_found() {
        let cure = |library, how| Found { library, path: PathBuf::new(), how }.cure();
        let named = How::Variable(TENSORRT_VARIABLE);
        assert_eq!(cure(Library::OnnxRuntime, How::Pinned), "run container/setup.sh --libraries");
        assert_eq!(
            cure(Library::TensorRtRtx, named),
            "correct MIXPREC_TENSORRT_LIBRARY_DIR, or unset it to use the pinned library"
        );
        assert_eq!(cure(Library::TensorRt, named), "correct MIXPREC_TENSORRT_LIBRARY_DIR", "there is no pinned one");
        assert!(cure(Library::TensorRt, How::Loader).ends_with("name its folder in MIXPREC_TENSORRT_LIBRARY_DIR"));
    }

    #[test]
    fn a_variable_wins_and_a_wrong_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.so");
        put(&own, 1);
        let named = |value: &Path| Places { variable: Some(value.into()), ..places(&[]) };
        let found = named(&own).find(Library::OnnxRuntime).unwrap();
        assert_eq!(found.how, How::Variable("ORT_DYLIB_PATH"));
        assert_eq!(found.verify(), Ok(()), "a person's own choice has no pin");
        let wrong = named(folder.path()).find(Library::TensorRtRtx).unwrap_err().to_string();
        assert!(wrong.starts_with("MIXPREC_TENSORRT_LIBRARY_DIR leads to "), "{wrong}");
        put(&folder.path().join("libtensorrt_rtx.so.1"), 1);
        assert!(named(folder.path()).find(Library::TensorRtRtx).is_ok());
    }

    #[test]
    fn libraries_of_the_system_come_last_and_data_centre_tensorrt_is_found_there_only() {
        let folder = tempfile::tempdir().unwrap();
        let system = Places { loader: vec![folder.path().to_owned()], ..places(&[]) };
        let error = system.find(Library::TensorRt).unwrap_err().to_string();
        assert!(error.starts_with("libnvinfer.so.11 is not here: install TensorRT 11"), "{error}");
        for file in ["libnvinfer.so.11", "libtensorrt_rtx.so.1"] {
            put(&folder.path().join(file), 1);
        }
        assert_eq!(system.find(Library::TensorRt).unwrap().how, How::Loader);
        assert_eq!(system.find(Library::TensorRtRtx).unwrap().how, How::Loader);
    }
}
