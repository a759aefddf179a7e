//! Finds NVRTC and cuBLASLt, loads each once per process, and asks for its version before any other use.
//!
//! cudarc opens both by bare names and panics when it cannot. So this module opens them first, by full path, and keeps
//! them open: the dynamic loader does not search for a name that is loaded already. The same holds for names that these
//! libraries open themselves: NVRTC opens its built-ins, and cuBLASLt opens NVRTC.
#![allow(unsafe_code, reason = "opens libraries and asks them for their versions")]

mod alias;

use std::ffi::{CStr, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

use cudarc::cublaslt::sys as cublaslt_sys;
use cudarc::nvrtc::sys as nvrtc_sys;
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW, Symbol};

use crate::libraries::{FoundLibrary, How, Library, find};

/// The major version of CUDA that this program is written for.
const CUDA_MAJOR: usize = 13;

/// A loaded library of CUDA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) struct LoadedLibrary {
    /// Its file.
    pub path: PathBuf,
    /// Its version, as exactly as it is known: `13.0.88` or `13.0` for NVRTC, `13.1.0` for cuBLASLt. The minor version
    /// of cuBLASLt differs from that of CUDA.
    pub version: String,
    /// How it was found.
    pub how: How,
}

/// NVRTC with its built-ins. It needs neither a GPU nor a driver. The first call loads it, and later calls return the
/// same result.
///
/// # Errors
/// The reason and the cure, in one line.
pub(in crate::backend) fn nvrtc() -> Result<&'static LoadedLibrary, String> {
    static NVRTC: OnceLock<Result<LoadedLibrary, String>> = OnceLock::new();
    NVRTC.get_or_init(load_nvrtc).as_ref().map_err(Clone::clone)
}

/// cuBLASLt. Loading it needs neither a GPU nor a driver; using it needs both. The first call loads it, and later calls
/// return the same result.
///
/// # Errors
/// The reason and the cure, in one line.
pub(in crate::backend) fn cublaslt() -> Result<&'static LoadedLibrary, String> {
    static CUBLASLT: OnceLock<Result<LoadedLibrary, String>> = OnceLock::new();
    CUBLASLT.get_or_init(load_cublaslt).as_ref().map_err(Clone::clone)
}

fn load_nvrtc() -> Result<LoadedLibrary, String> {
    // The built-ins come first, so that they are loaded when NVRTC opens them by name.
    keep_open(&find(Library::NvrtcBuiltins).map_err(|error| error.to_string())?)?;
    let found = open(&CudarcLibrary {
        library: Library::Nvrtc,
        name: c"libnvrtc.so",
        symbol: c"nvrtcVersion",
        is_present: nvrtc_sys::is_culib_present,
        opened: nvrtc_sys::culib,
    })?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is open and has the symbol; both places to write to live until it returns.
    let status = unsafe { nvrtc_sys::nvrtcVersion(&mut major, &mut minor) };
    if status != nvrtc_sys::nvrtcResult::NVRTC_SUCCESS {
        return Err(refusal(&found, "does not say its version"));
    }
    let own = [major, minor].map(|number| usize::try_from(number).unwrap_or_default());
    right_major(&found, "NVRTC", &own)?;
    Ok(LoadedLibrary { version: exact_version(&found, &dotted(&own)), path: found.path, how: found.how })
}

fn load_cublaslt() -> Result<LoadedLibrary, String> {
    // cuBLASLt opens NVRTC by name for some of its kernels. Without NVRTC it still has the others.
    let _ = nvrtc();
    let found = open(&CudarcLibrary {
        library: Library::CublasLt,
        name: c"libcublasLt.so",
        symbol: c"cublasLtGetVersion",
        is_present: cublaslt_sys::is_culib_present,
        opened: cublaslt_sys::culib,
    })?;
    // SAFETY: the library is open and has the symbol, a function without arguments.
    let number = unsafe { cublaslt_sys::cublasLtGetVersion() };
    // CUBLAS_VERSION of cublas_api.h.
    let own = [number / 10_000, number / 100 % 100, number % 100];
    right_major(&found, "cuBLASLt", &own)?;
    Ok(LoadedLibrary { version: dotted(&own), path: found.path, how: found.how })
}

/// A library as cudarc opens it.
struct CudarcLibrary {
    library: Library,
    /// The first name that cudarc asks the dynamic loader for.
    name: &'static CStr,
    /// A function that every version of the library has.
    symbol: &'static CStr,
    is_present: unsafe fn() -> bool,
    opened: unsafe fn() -> &'static libloading::Library,
}

/// Opens a library and checks that cudarc uses this file, not another one of the same name.
fn open(entry: &CudarcLibrary) -> Result<FoundLibrary, String> {
    let found = find(entry.library).map_err(|error| error.to_string())?;
    let file = keep_open(&found)?;
    // SAFETY: only the address is taken; nothing is called through it.
    let own = unsafe { file.get::<*mut c_void>(entry.symbol) }.map(Symbol::as_raw_ptr);
    let Ok(own) = own else { return Err(refusal(&found, "is another library")) };
    alias::bind(entry.name, &found.path);
    // SAFETY: opening a library that is open runs none of its code.
    if !unsafe { (entry.is_present)() } {
        return Err(refusal(&found, "cannot be opened by its name"));
    }
    // SAFETY: it is present, so this does not panic; only the address is taken.
    let bound = unsafe { (entry.opened)().get::<*mut c_void>(entry.symbol) };
    // SAFETY: cudarc keeps its library open until the process ends.
    let bound = bound.ok().map(|symbol| unsafe { symbol.into_raw() }.as_raw_ptr());
    match bound == Some(own) {
        true => Ok(found),
        false => {
            Err(refusal(&found, &format!("is not what {} leads to in this process", entry.name.to_string_lossy())))
        }
    }
}

/// Opens a library until the process ends.
fn keep_open(found: &FoundLibrary) -> Result<&'static Handle, String> {
    // SAFETY: a library of CUDA, whose initialisers touch nothing of this program; it is never closed.
    match unsafe { Handle::open(Some(&found.path), RTLD_NOW | RTLD_LOCAL) } {
        Ok(handle) => Ok(Box::leak(Box::new(handle))),
        Err(error) => Err(refusal(found, &format!("cannot be loaded: {}", cause(&error)))),
    }
}

/// The message of the dynamic loader, in one line.
fn cause(error: &libloading::Error) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), |source| source.to_string());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn right_major(found: &FoundLibrary, name: &str, version: &[usize]) -> Result<(), String> {
    match version.first() == Some(&CUDA_MAJOR) {
        true => Ok(()),
        false => Err(refusal(found, &format!("is {name} {}, and {CUDA_MAJOR} is needed", dotted(version)))),
    }
}

/// The version with its patch level, which the library itself does not report. It comes from the pin, or from the name
/// of the file that the path leads to.
fn exact_version(found: &FoundLibrary, own: &str) -> String {
    let pinned = found.library.pin().ok().flatten().filter(|_| found.how == How::Pinned);
    let named = || {
        let path = found.path.canonicalize().ok()?;
        Some(path.file_name()?.to_str()?.split_once(".so.")?.1.to_owned())
    };
    let exact = pinned.map(|pin| pin.version.to_owned()).or_else(named);
    exact.filter(|exact| exact.starts_with(&format!("{own}."))).unwrap_or_else(|| own.to_owned())
}

fn dotted(version: &[usize]) -> String {
    version.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
}

/// Why a found library cannot be used, and the cure.
fn refusal(found: &FoundLibrary, what: &str) -> String {
    let (path, set_up, variable) = (found.place(), found.library.set_up(), found.library.variable());
    match found.how {
        How::Variable(name) => format!("{path} {what}; correct {name}, or unset it to use another"),
        How::Pinned => format!("{path} {what}; run {set_up}, or name another folder in {variable}"),
        _ => format!("{path}, {}, {what}; run {set_up}, or name another folder in {variable}", found.how),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(library: Library, path: &str, how: How) -> FoundLibrary {
        FoundLibrary { library, path: path.into(), how }
    }

    /// NVRTC compiles: it is open under the name that cudarc uses, and it finds its built-ins.
    #[test]
    fn nvrtc_compiles_for_a_gpu_that_need_not_be_there() {
        if let Err(reason) = find(Library::Nvrtc) {
            crate::skip::skip(reason);
            return;
        }
        let loaded = nvrtc().unwrap();
        assert!(loaded.version.starts_with("13."), "{loaded:?}");
        assert!(std::ptr::eq(loaded, nvrtc().unwrap()), "it is loaded once");
        let options = cudarc::nvrtc::CompileOptions {
            options: vec!["--gpu-architecture=compute_80".to_owned()],
            ..Default::default()
        };
        let source = "extern \"C\" __global__ void half(float *x) { x[threadIdx.x] = 0.5f * erff(x[threadIdx.x]); }";
        let code = cudarc::nvrtc::compile_ptx_with_opts(source, options).unwrap().to_src();
        assert!(code.contains(".entry half"), "{code}");
        let mapped = std::fs::read_to_string("/proc/self/maps").unwrap();
        let folder = loaded.path.canonicalize().unwrap();
        let folder = folder.parent().unwrap();
        for line in mapped.lines().filter(|line| line.contains("/libnvrtc")) {
            assert!(line.contains(folder.to_str().unwrap()), "another copy was opened: {line}");
        }
    }

    #[test]
    fn cublaslt_says_its_version_without_a_gpu() {
        if let Err(reason) = find(Library::CublasLt) {
            crate::skip::skip(reason);
            return;
        }
        let loaded = cublaslt().unwrap();
        assert!(loaded.version.starts_with("13.") && loaded.version.split('.').count() == 3, "{loaded:?}");
        assert!(std::ptr::eq(loaded, cublaslt().unwrap()), "it is loaded once");
    }

    #[test]
    fn a_file_that_is_no_library_of_cuda_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvrtc.so.13");
        std::fs::write(&path, "no library").unwrap();
        let path = path.to_str().unwrap();
        let reason = keep_open(&found(Library::Nvrtc, path, How::Variable("MIXPREC_CUDA_LIBRARY_DIR"))).unwrap_err();
        assert!(reason.starts_with(&format!("{path} cannot be loaded: {path}: ")), "{reason}");
        assert!(reason.ends_with("; correct MIXPREC_CUDA_LIBRARY_DIR, or unset it to use another"), "{reason}");
        assert_eq!(reason.lines().count(), 1);
    }

    #[test]
    fn another_major_version_is_refused() {
        let system = found(Library::CublasLt, "/usr/lib64/libcublasLt.so.13", How::Toolkit);
        assert_eq!(right_major(&system, "cuBLASLt", &[13, 1, 1]), Ok(()));
        let reason = right_major(&system, "cuBLASLt", &[12, 9, 0]).unwrap_err();
        let expected = "/usr/lib64/libcublasLt.so.13, of the CUDA toolkit, is cuBLASLt 12.9.0, and 13 is needed; run \
                        container/setup.sh --cuda, or name another folder in MIXPREC_CUDA_LIBRARY_DIR";
        assert_eq!(reason, expected);
    }

    #[test]
    fn the_patch_level_is_the_pins_or_that_of_the_file_behind_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnvrtc.so.13.0.48");
        std::fs::write(&file, "").unwrap();
        let link = folder.path().join("libnvrtc.so.13");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let toolkit = found(Library::Nvrtc, link.to_str().unwrap(), How::Toolkit);
        assert_eq!(exact_version(&toolkit, "13.0"), "13.0.48");
        assert_eq!(exact_version(&toolkit, "13.1"), "13.1", "what the library says counts");
        assert_eq!(exact_version(&found(Library::Nvrtc, "anything", How::Pinned), "13.0"), "13.0.88");
    }
}
