//! The search for libraries: places and their order. The search runs and loads nothing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{FoundLibrary, How, Library, LibraryError, Pin};

/// Folders of the dynamic loader on common Linux systems, after those of `LD_LIBRARY_PATH`.
pub(super) const LOADER_FOLDERS: [&str; 5] =
    ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// Variables that name an installed CUDA toolkit.
const TOOLKIT_VARIABLES: [&str; 2] = ["CUDA_HOME", "CUDA_PATH"];

/// Default folder of a toolkit.
const TOOLKIT: &str = "/usr/local/cuda";

/// Folders of libraries inside a toolkit.
const IN_TOOLKIT: [&str; 3] = ["lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"];

/// Folders of libraries inside an interpreter's packages: the wheels of CUDA 13 and of some earlier versions.
const IN_PACKAGES: [&str; 3] = ["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cublas/lib"];

/// Finds a library. The search begins with the library's environment variable. It continues with the set-up folder of a
/// repository that contains the current folder or this program. The folders of the dynamic loader follow, except for
/// ONNX Runtime. CUDA libraries are also searched in an installed toolkit and in the packages of Python interpreters on
/// the PATH.
///
/// # Errors
/// [`LibraryError`] with the cure, on one line.
pub fn find(library: Library) -> Result<FoundLibrary, LibraryError> {
    SearchPaths::of_this_process(library).find(library)
}

/// Whether set-up has created the folder of a pinned library. If so, an absent file was removed later.
pub fn was_set_up(library: Library) -> bool {
    let Ok(Some(pin)) = library.pin() else { return false };
    let folder = pin.path.parent().unwrap_or(Path::new(""));
    SearchPaths::of_this_process(library).roots.iter().any(|root| root.join(folder).is_dir())
}

/// Folders that may be a repository: those above the current folder and above this program.
pub(super) fn repositories() -> Vec<PathBuf> {
    let starts = [env::current_dir(), env::current_exe()];
    starts.iter().flatten().flat_map(|start| start.ancestors()).map(Path::to_owned).collect()
}

/// Existing folders of these names in the packages of Python interpreters on the PATH.
pub(super) fn packages_of(names: &[&str]) -> Vec<PathBuf> {
    python_folders(&python_prefixes(&named_folders("VIRTUAL_ENV"), &named_folders("PATH")), names)
}

/// The places to search for one library.
struct SearchPaths {
    variable: Option<OsString>,
    /// Folders that may be a repository.
    roots: Vec<PathBuf>,
    /// Folders that set-up did not create. The first one with the library wins.
    system: Vec<(PathBuf, How)>,
}

impl SearchPaths {
    fn of_this_process(library: Library) -> Self {
        let roots = repositories();
        let mut system = Vec::new();
        // The version of a system's ONNX Runtime is unknown, so it is only used when it is named.
        if library != Library::OnnxRuntime {
            let loader = named_folders("LD_LIBRARY_PATH").into_iter().chain(LOADER_FOLDERS.map(PathBuf::from));
            system.extend(loader.map(|folder| (folder, How::Loader)));
        }
        if library.is_of_toolkit() {
            let named = TOOLKIT_VARIABLES.into_iter().flat_map(named_folders);
            let toolkits = named.chain([PathBuf::from(TOOLKIT)]).flat_map(|toolkit| below(&toolkit, &IN_TOOLKIT));
            system.extend(toolkits.map(|folder| (folder, How::Toolkit)));
            system.extend(packages_of(&IN_PACKAGES).into_iter().map(|folder| (folder, How::PythonPackage)));
        }
        SearchPaths { variable: env::var_os(library.variable()).filter(|value| !value.is_empty()), roots, system }
    }

    fn find(&self, library: Library) -> Result<FoundLibrary, LibraryError> {
        if library == Library::NvrtcBuiltins {
            return beside(library, &self.find(Library::Nvrtc)?);
        }
        let (file, variable) = (library.file()?, library.variable());
        if let Some(value) = &self.variable {
            let value = PathBuf::from(value);
            let path = if library == Library::OnnxRuntime { value } else { value.join(file) };
            // For a name without a slash, the dynamic loader would search its own folders.
            return match path.canonicalize() {
                Ok(path) if path.is_file() => Ok(FoundLibrary { library, path, how: How::Variable(variable) }),
                _ => Err(LibraryError::Variable { variable, path }),
            };
        }
        let pin = library.pin()?;
        if let Some(pin) = &pin {
            let paths = self.roots.iter().map(|root| root.join(&pin.path));
            if let Some(found) = paths.into_iter().find_map(|path| pinned(library, pin, path)) {
                return found;
            }
        }
        let mut places = self.system.iter().map(|(folder, how)| (folder.join(file), *how));
        match places.find(|(path, _)| path.is_file()) {
            Some((path, how)) => Ok(FoundLibrary { library, path, how }),
            None => Err(match self.other_major(library) {
                Some(other) => LibraryError::OtherMajor { library, file, other },
                None => LibraryError::Missing { library, file },
            }),
        }
    }

    /// The same CUDA library in another major version, such as `libnvrtc.so.12` for `libnvrtc.so.13`.
    fn other_major(&self, library: Library) -> Option<PathBuf> {
        let is_major = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let beginning = format!("{}.", library.stem());
        let folders = self.system.iter().map(|(folder, _)| folder).filter(|_| library.is_of_toolkit());
        folders.flat_map(|folder| files(folder, &beginning)).find(|path| {
            let rest = path.file_name().and_then(|name| name.to_str()?.strip_prefix(&beginning));
            rest.is_some_and(is_major)
        })
    }
}

/// The library at a pinned path. `None` when there is no file, an error when its size differs.
fn pinned(library: Library, pin: &Pin, path: PathBuf) -> Option<Result<FoundLibrary, LibraryError>> {
    let bytes = path.metadata().ok()?.len();
    if bytes == pin.bytes {
        return Some(Ok(FoundLibrary { library, path, how: How::Pinned }));
    }
    let difference = format!("it has {bytes} bytes, pinned are {}", pin.bytes);
    Some(Err(LibraryError::Altered { library, path, difference }))
}

/// A library that belongs to another one. It must lie in the same folder and may have any minor version.
fn beside(library: Library, other: &FoundLibrary) -> Result<FoundLibrary, LibraryError> {
    let missing = |file| LibraryError::NotBeside { library, file, beside: other.path.clone() };
    let file = library.file()?;
    let folder = other.path.parent().unwrap_or(Path::new("/"));
    if other.how == How::Pinned {
        let pin = library.pin()?.ok_or_else(|| missing(file))?;
        return pinned(library, &pin, folder.join(file)).unwrap_or_else(|| Err(missing(file)));
    }
    let major = file.rsplit_once('.').map_or(file, |(major, _minor)| major);
    let path = files(folder, &format!("{major}.")).into_iter().next();
    path.map(|path| FoundLibrary { library, path, how: other.how }).ok_or_else(|| missing(file))
}

/// Sorted paths of the files in the folder whose names have this prefix.
fn files(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let begins = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(beginning));
    let names = entries(folder).filter(begins);
    let mut paths: Vec<PathBuf> = names.map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// Names in a folder; empty when the folder does not exist.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name())
}

/// The absolute folders that a variable lists.
pub(super) fn named_folders(variable: &str) -> Vec<PathBuf> {
    let value = env::var_os(variable).unwrap_or_default();
    env::split_paths(&value).filter(|folder| folder.is_absolute()).collect()
}

fn below(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| folder.join(name)).collect()
}

/// Prefixes of Python installations: the virtual environment, and the parent of each `bin` folder with a `python3` on
/// the PATH, before and after resolving links.
fn python_prefixes(environments: &[PathBuf], path: &[PathBuf]) -> Vec<PathBuf> {
    let mut prefixes = environments.to_vec();
    for interpreter in path.iter().map(|folder| folder.join("python3")).filter(|program| program.is_file()) {
        let target = interpreter.canonicalize().unwrap_or_else(|_| interpreter.clone());
        for prefix in [&interpreter, &target].into_iter().filter_map(|program| program.parent()?.parent()) {
            if !prefixes.iter().any(|known| known == prefix) {
                prefixes.push(prefix.to_owned());
            }
        }
    }
    prefixes
}

/// Existing folders of these names in the packages below these prefixes. Debian's pip installs into
/// `local/lib/python3.*/dist-packages`.
fn python_folders(prefixes: &[PathBuf], names: &[&str]) -> Vec<PathBuf> {
    let libraries = prefixes.iter().flat_map(|prefix| below(prefix, &["lib", "lib64", "local/lib"]));
    let versions = libraries.flat_map(|library| files_of_python(&library));
    let packages = versions.flat_map(|version| below(&version, &["site-packages", "dist-packages"]));
    packages.flat_map(|packages| below(&packages, names)).filter(|folder| folder.is_dir()).collect()
}

/// Folders `python3.*` in a `lib` folder, newest first.
fn files_of_python(library: &Path) -> Vec<PathBuf> {
    let minor = |name: &OsString| name.to_str()?.strip_prefix("python3.")?.parse::<u32>().ok();
    let mut versions: Vec<(u32, PathBuf)> =
        entries(library).filter_map(|name| Some((minor(&name)?, library.join(name)))).collect();
    versions.sort_by_key(|&(minor, _)| std::cmp::Reverse(minor));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(roots: &[&Path]) -> SearchPaths {
        SearchPaths { variable: None, roots: roots.iter().map(|&root| root.to_owned()).collect(), system: Vec::new() }
    }

    /// A sparse file of this size.
    fn put(path: &Path, bytes: u64) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
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
    fn a_variable_wins_and_a_wrong_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.so");
        put(&own, 1);
        let named = |value: &Path| SearchPaths { variable: Some(value.into()), ..places(&[]) };
        let found = named(&own).find(Library::OnnxRuntime).unwrap();
        assert_eq!(found.how, How::Variable("ORT_DYLIB_PATH"));
        assert_eq!(found.verify(), Ok(()), "a person's own choice has no pin");
        let wrong = named(folder.path()).find(Library::TensorRtRtx).unwrap_err().to_string();
        assert!(wrong.starts_with("MIXPREC_TENSORRT_LIBRARY_DIR leads to "), "{wrong}");
        put(&folder.path().join("libtensorrt_rtx.so.1"), 1);
        assert!(named(folder.path()).find(Library::TensorRtRtx).is_ok());
    }

    #[test]
    fn libraries_of_the_system_come_last() {
        let folder = tempfile::tempdir().unwrap();
        let system = SearchPaths { system: vec![(folder.path().to_owned(), How::Loader)], ..places(&[]) };
        put(&folder.path().join("libtensorrt_rtx.so.1"), 1);
        assert_eq!(system.find(Library::TensorRtRtx).unwrap().how, How::Loader);
    }

    #[test]
    fn the_libraries_of_cuda_are_found_in_order_and_another_major_version_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let [loader, toolkit] = ["loader", "toolkit"].map(|name| folder.path().join(name));
        let system = vec![(loader.clone(), How::Loader), (toolkit.clone(), How::Toolkit)];
        let places = SearchPaths { system, ..places(&[folder.path()]) };
        put(&toolkit.join("libcublasLt.so.12"), 1);
        let error = places.find(Library::CublasLt).unwrap_err().to_string();
        let other = toolkit.join("libcublasLt.so.12");
        assert!(error.contains(&format!("not here, only {}, another major version: run", other.display())), "{error}");
        put(&toolkit.join("libcublasLt.so.13"), 1);
        assert_eq!(places.find(Library::CublasLt).unwrap().how, How::Toolkit);
        put(&loader.join("libcublasLt.so.13"), 1);
        assert_eq!(places.find(Library::CublasLt).unwrap().how, How::Loader);
        let pin = Library::CublasLt.pin().unwrap().unwrap();
        put(&folder.path().join(&pin.path), pin.bytes);
        assert_eq!(places.find(Library::CublasLt).unwrap().how, How::Pinned);
    }

    #[test]
    fn the_built_ins_of_nvrtc_are_those_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let system = vec![(first.clone(), How::Toolkit), (second.clone(), How::PythonPackage)];
        let places = SearchPaths { system, ..places(&[folder.path()]) };
        put(&first.join("libnvrtc.so.13"), 1);
        put(&second.join("libnvrtc-builtins.so.13.0"), 1);
        let error = places.find(Library::NvrtcBuiltins).unwrap_err().to_string();
        assert!(error.starts_with("no libnvrtc-builtins.so.13.0 beside "), "{error}");
        put(&first.join("libnvrtc-builtins.so.12.9"), 1);
        put(&first.join("libnvrtc-builtins.so.13.1"), 1);
        let found = places.find(Library::NvrtcBuiltins).unwrap();
        assert_eq!((found.path, found.how), (first.join("libnvrtc-builtins.so.13.1"), How::Toolkit));
        let pins = [Library::Nvrtc, Library::NvrtcBuiltins].map(|library| library.pin().unwrap().unwrap());
        put(&folder.path().join(&pins[0].path), pins[0].bytes);
        assert!(matches!(places.find(Library::NvrtcBuiltins), Err(LibraryError::NotBeside { .. })));
        put(&folder.path().join(&pins[1].path), pins[1].bytes);
        assert_eq!(places.find(Library::NvrtcBuiltins).unwrap().how, How::Pinned);
    }

    #[test]
    fn packages_are_found_without_running_an_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let [system, environment] = ["usr", "venv"].map(|name| folder.path().join(name));
        put(&system.join("bin/python3.11"), 1);
        std::fs::create_dir_all(environment.join("bin")).unwrap();
        std::os::unix::fs::symlink(system.join("bin/python3.11"), environment.join("bin/python3")).unwrap();
        let wanted = [
            "venv/lib/python3.11/site-packages/nvidia/cu13/lib",
            "usr/local/lib/python3.11/dist-packages/nvidia/cu13/lib",
            "usr/local/lib/python3.9/dist-packages/nvidia/cublas/lib",
        ]
        .map(|name| folder.path().join(name));
        for name in &wanted {
            std::fs::create_dir_all(name).unwrap();
        }
        let prefixes = python_prefixes(&[], &[folder.path().join("nowhere"), environment.join("bin")]);
        assert_eq!(prefixes, [environment.clone(), system.canonicalize().unwrap()]);
        assert_eq!(python_folders(&prefixes, &IN_PACKAGES), wanted);
        assert_eq!(python_prefixes(std::slice::from_ref(&environment), &[]), [environment]);
    }
}
