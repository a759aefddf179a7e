//! The inference libraries that this process has loaded, with their versions and digests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::library_sha256;

/// File-name prefixes of the libraries that execute models or drive devices.
const INFERENCE_LIBRARIES: [&str; 12] = [
    "libcublas",
    "libcublasLt",
    "libcuda",
    "libcudart",
    "libcudnn",
    "libnvinfer",
    "libnvidia-ml",
    "libnvonnxparser",
    "libnvrtc",
    "libonnxruntime",
    "libtensorrt_onnxparser_rtx",
    "libtensorrt_rtx",
];

/// The ones among them that belong to the driver. They come with the machine, so they are not pinned.
const DRIVER_LIBRARIES: [&str; 3] = ["libcuda", "libcudadebugger", "libnvidia-ml"];

/// A shared library. Its folder is left out, because a path may contain a person's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedLibrary {
    /// File name as mapped, e.g. `libonnxruntime.so.1.32.0`.
    pub file: String,
    /// Version in the file name, if there is one.
    pub version: Option<String>,
    /// Hexadecimal SHA-256 of the file; `None` when the file is no longer readable.
    pub sha256: Option<String>,
}

/// The inference libraries mapped into this process, by file name. Empty for the reference backend and on systems
/// without `/proc`. Call it in the worker, because the worker loads the libraries.
pub fn loaded() -> Vec<LoadedLibrary> {
    mapped().iter().filter_map(|path| describe(path)).collect()
}

/// All files mapped into this process. The name of a file deleted since then ends in ` (deleted)`. Empty on systems
/// without `/proc`.
pub fn mapped() -> BTreeSet<PathBuf> {
    mapped_files(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default())
}

/// Whether the name of a file is that of an inference library other than the driver's.
pub fn is_inference(path: &Path) -> bool {
    let stem = path.file_name().and_then(|file| file.to_str()?.split_once(".so")).map(|(stem, _)| stem);
    stem.is_some_and(|stem| is_listed(stem) && !DRIVER_LIBRARIES.contains(&stem))
}

/// Kernels of TensorRT's builder are loaded only while it builds, and say nothing of an engine from the cache.
const ONLY_WHILE_BUILDING: &str = "libnvinfer_builder_resource";

fn is_listed(stem: &str) -> bool {
    !stem.starts_with(ONLY_WHILE_BUILDING) && INFERENCE_LIBRARIES.iter().any(|name| stem.starts_with(name))
}

fn mapped_files(maps: &str) -> BTreeSet<PathBuf> {
    maps.lines().filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..]))).collect()
}

fn describe(path: &Path) -> Option<LoadedLibrary> {
    let file = path.file_name()?.to_str()?;
    let (stem, version) = file.split_once(".so")?;
    if !is_listed(stem) {
        return None;
    }
    let version = version.trim_start_matches('.');
    Some(LoadedLibrary {
        file: file.to_owned(),
        version: (!version.is_empty()).then(|| version.to_owned()),
        sha256: library_sha256(path).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inference_libraries_count_and_their_bytes_are_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "abc").unwrap();
        let maps = format!(
            "7f00-7f01 r-xp 00000000 fe:00 1 {0}\n7f01-7f02 r--p 00001000 fe:00 1 {0}\n\
             7f03-7f04 r-xp 00000000 fe:00 2 /usr/lib/libc.so.6\n7f05-7f06 rw-p 00000000 00:00 0 [heap]\n",
            path.display()
        );
        let found: Vec<LoadedLibrary> = mapped_files(&maps).iter().filter_map(|path| describe(path)).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version.as_deref(), Some("1.32.0"));
        // FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found[0].sha256.as_deref(), Some(digest));
    }

    #[test]
    fn a_library_deleted_while_mapped_keeps_its_name_without_a_digest() {
        let library = describe(Path::new("/nowhere/libcudart.so")).unwrap();
        assert_eq!((library.version, library.sha256), (None, None));
    }

    /// Other tests of this program may have loaded some.
    #[test]
    fn this_test_lists_nothing_but_inference_libraries() {
        for library in loaded() {
            assert!(INFERENCE_LIBRARIES.iter().any(|name| library.file.starts_with(name)), "{}", library.file);
        }
    }
}
