//! An installed TensorRT of any generation from 8.6 on, and the shim that binds it.
//!
//! No package index has all of TensorRT, so that it is not pinned like the other libraries: users have it from NVIDIA's
//! archives, Debian packages, containers or Python packages.

use std::env;
use std::path::{Path, PathBuf};

use super::search::{LOADER_FOLDERS, entries, named_folders, packages_of, repositories};
use super::{FOLDER, How};
use crate::digest::sha256;

/// Variable with the folder of a TensorRT: that of its libraries, or one with `lib` below it.
pub const TENSORRT_FOLDER_VARIABLE: &str = "MIXPREC_TENSORRT_DIR";

/// Variable with the path of a compiled shim, to use instead of that of set-up.
pub const SHIM_VARIABLE: &str = "MIXPREC_TENSORRT_SHIM";

/// File name of the compiled shim.
pub const SHIM_FILE: &str = "libmixprec_tensorrt.so";

/// The command that compiles the shim.
const SET_UP: &str = "container/setup.sh --tensorrt";

/// Major versions that the shim binds, newest first.
const MAJORS: [u32; 3] = [11, 10, 8];

/// Where libraries lie below the folder of an archive.
const BELOW: [&str; 4] = ["", "lib", "lib64", "targets/x86_64-linux-gnu/lib"];

/// Where a Python package has them.
const PACKAGE: &str = "tensorrt_libs";

/// The sources of the shim, in the order of their digest; set-up has the same list.
const SHIM_SOURCES: [&str; 3] = [
    include_str!("../backend/tensorrt/shim/shim.h"),
    include_str!("../backend/tensorrt/shim/shim.cpp"),
    include_str!("../backend/tensorrt/shim/cuda/cuda_runtime_api.h"),
];

/// SHA-256 of the files of TensorRT 8.6.1 that set-up fetches.
const FETCHED: [(&str, &str); 2] = [
    ("libnvinfer.so.8", "4cdeab99b116e0edb8a9e7c10821ea336ce47b240941e655938abae2b9a14922"),
    ("libnvonnxparser.so.8", "a8c36000d40692a39481bc1d59fc6fb55af3b2757dbb831136165c03ba48b0d8"),
];

/// The digest that a file of TensorRT has where set-up has fetched it; `None` for files that are pinned nowhere.
pub fn fetched_digest(file: &str) -> Option<&'static str> {
    FETCHED.iter().find(|(name, _)| *name == file).map(|(_, digest)| *digest)
}

/// Whether a file's name is that of TensorRT's builder and runtime or of its parser. Its plugins are in no engine of ours.
pub fn is_engine_file(file: &str) -> bool {
    file.starts_with("libnvinfer.so") || file.starts_with("libnvonnxparser.so")
}

/// A TensorRT on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Major version, as the files are named.
    pub major: u32,
    /// Builder and runtime.
    pub builder: PathBuf,
    /// Parser of ONNX files.
    pub parser: PathBuf,
    /// Plugins, which the parser depends on, where they lie beside it.
    pub plugins: Option<PathBuf>,
    /// How it was found.
    pub how: How,
}

impl Installation {
    /// How it was found, and its folder, relative to the current one if it lies below that.
    pub fn describe(&self) -> String {
        let here = env::current_dir().unwrap_or_default();
        format!("{}: {}", self.how, self.builder.strip_prefix(here).unwrap_or(&self.builder).display())
    }

    /// The cure for files that cannot be loaded.
    pub fn cure(&self) -> String {
        match self.how {
            How::Variable(name) => format!("correct {name}"),
            _ => format!("install another, or name its folder in {TENSORRT_FOLDER_VARIABLE}"),
        }
    }

    /// The installation in a folder: its newest version.
    fn at(folder: &Path, how: How) -> Option<Installation> {
        MAJORS.into_iter().find_map(|major| {
            let file = |stem: &str| Some(folder.join(format!("{stem}.so.{major}"))).filter(|path| path.is_file());
            let (builder, parser) = (file("libnvinfer")?, file("libnvonnxparser")?);
            Some(Installation { major, builder, parser, plugins: file("libnvinfer_plugin"), how })
        })
    }
}

/// Finds TensorRT: in the folder that [`TENSORRT_FOLDER_VARIABLE`] names, else in what set-up has unpacked, in the folders of
/// the dynamic loader, or in a Python package.
///
/// # Errors
/// The reason, with the cure.
pub fn installation() -> Result<Installation, String> {
    let named = env::var_os(TENSORRT_FOLDER_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named {
        let how = How::Variable(TENSORRT_FOLDER_VARIABLE);
        let below = BELOW.iter().map(|below| folder.join(below));
        return below.into_iter().find_map(|folder| Installation::at(&folder, how)).ok_or_else(|| {
            format!(
                "{TENSORRT_FOLDER_VARIABLE} leads to `{}`, which has no libnvinfer.so and libnvonnxparser.so of version 8, 10 \
                 or 11: correct the variable, or unset it",
                folder.display()
            )
        });
    }
    places().into_iter().find_map(|(folder, how)| Installation::at(&folder, how)).ok_or_else(|| {
        format!(
            "no TensorRT is here (libnvinfer.so.11, .10 or .8, with libnvonnxparser.so): install one and name its folder in \
             {TENSORRT_FOLDER_VARIABLE}, or fetch 8.6.1 with {SET_UP}-8.6; then compile its shim with {SET_UP}"
        )
    })
}

fn places() -> Vec<(PathBuf, How)> {
    let set_up = below_libraries("tensorrt-").into_iter().map(|folder| (folder, How::SetUp));
    let loader = named_folders("LD_LIBRARY_PATH").into_iter().chain(LOADER_FOLDERS.map(PathBuf::from));
    let packages = packages_of(&[PACKAGE]).into_iter().map(|folder| (folder, How::PythonPackage));
    set_up.chain(loader.map(|folder| (folder, How::Loader))).chain(packages).collect()
}

/// Folders that set-up has made and whose names begin like this, newest version first.
fn below_libraries(beginning: &str) -> Vec<PathBuf> {
    let of_root = |root: PathBuf| {
        let folder = root.join(FOLDER);
        let names = entries(&folder).filter_map(|name| name.into_string().ok());
        let names = newest_first(names.collect(), beginning);
        names.into_iter().map(move |name| folder.join(name)).collect::<Vec<_>>()
    };
    repositories().into_iter().flat_map(of_root).collect()
}

/// The names with this beginning, by the version behind it: 10.1 is newer than 8.6.1.
fn newest_first(mut names: Vec<String>, beginning: &str) -> Vec<String> {
    let version = |name: &String| -> Vec<u64> {
        let rest = name.get(beginning.len()..).unwrap_or_default();
        rest.split('-').next().unwrap_or_default().split('.').map_while(|part| part.parse().ok()).collect()
    };
    names.retain(|name| name.starts_with(beginning));
    names.sort_by(|a, b| version(b).cmp(&version(a)).then_with(|| b.cmp(a)));
    names
}

/// Finds the compiled shim of an installation: the one that [`SHIM_VARIABLE`] names, else one beside the library, else the
/// one that set-up has compiled from these sources for this major version.
///
/// # Errors
/// The reason, with the cure.
pub fn shim_for(installation: &Installation) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(SHIM_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from) {
        return match path.is_file() {
            true => Ok(path),
            false => {
                Err(format!("{SHIM_VARIABLE} leads to `{}`, which is no file: correct the variable", path.display()))
            }
        };
    }
    let beside = installation.builder.with_file_name(SHIM_FILE);
    let major = installation.major;
    let compiled = below_libraries(&format!("tensorrt-shim-{major}."));
    let of_these_sources = format!("-{}", shim_digest());
    let compiled = compiled.into_iter().filter(|folder| folder.to_string_lossy().ends_with(&of_these_sources));
    let mut places = std::iter::once(beside).chain(compiled.map(|folder| folder.join(SHIM_FILE)));
    places.find(|path| path.is_file()).ok_or_else(|| {
        format!(
            "TensorRT {major} is here ({}), but its shim is not compiled: run {SET_UP}, which needs a C++ compiler and the \
             headers of this version (beside the library, in TENSORRT_INCLUDE_DIR, or in /usr/include)",
            installation.builder.display()
        )
    })
}

/// Digest of the shim's sources, 16 hexadecimal digits.
pub fn shim_digest() -> String {
    sha256(SHIM_SOURCES.concat().as_bytes())[..16].to_owned()
}

/// The TensorRT in a folder, for a test that puts one there.
#[cfg(test)]
pub(crate) fn at(folder: &Path) -> Option<Installation> {
    Installation::at(folder, How::Loader)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put(folder: &Path, files: &[&str]) {
        files.iter().for_each(|file| fs::write(folder.join(file), "").unwrap());
    }

    #[test]
    fn the_newest_version_with_its_parser_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &["libnvinfer.so.8", "libnvonnxparser.so.8", "libnvinfer.so.10"]);
        let found = at(folder.path()).unwrap();
        assert_eq!((found.major, found.plugins.is_some()), (8, false), "10 has no parser");
        put(folder.path(), &["libnvonnxparser.so.10", "libnvinfer_plugin.so.10"]);
        let found = at(folder.path()).unwrap();
        assert_eq!((found.major, found.plugins.is_some()), (10, true));
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let there =
            ["tensorrt-8.6.1", "tensorrt-rtx-1.7.1", "tensorrt-10.15.1", "onnxruntime-1.32.0", "tensorrt-10.4.0"];
        let expected = ["tensorrt-10.15.1", "tensorrt-10.4.0", "tensorrt-8.6.1", "tensorrt-rtx-1.7.1"];
        assert_eq!(newest_first(names(&there), "tensorrt-"), expected);
        let shims = ["tensorrt-shim-10.9.0-aa", "tensorrt-shim-10.15.1-bb", "tensorrt-shim-8.6.1-cc"];
        assert_eq!(newest_first(names(&shims), "tensorrt-shim-10."), ["tensorrt-shim-10.15.1-bb", shims[0]]);
    }

    #[test]
    fn a_shim_beside_the_library_is_found_and_none_is_an_error_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &["libnvinfer.so.8", "libnvonnxparser.so.8"]);
        let found = Installation { major: 7, ..at(folder.path()).unwrap() };
        let reason = shim_for(&found).unwrap_err();
        assert!(reason.contains("not compiled: run container/setup.sh --tensorrt"), "{reason}");
        put(folder.path(), &[SHIM_FILE]);
        assert!(shim_for(&found).unwrap().ends_with(SHIM_FILE));
    }
}
