//! Compares loaded libraries and files of the repository with the pins compiled in. Every row records the result:
//! `match`, or each difference.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::build::BuildInfo;
use super::gpu::{self, Gpu};
use super::pin_digests;
use crate::digest::sha256;
use crate::engine::{BackendKind, DeviceKind};
use crate::json_diff::differences;
use crate::libraries::pins::PinFile;
use crate::libraries::{FoundLibrary, Library, Pin, find, library_sha256, loaded, pins, tensorrt};

/// The stamp of a row without drift.
pub const MATCH: &str = "match";

/// Number of digits shown of a digest.
const DIGITS: usize = 12;

/// One difference from the pins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drift {
    /// What is pinned: a file, a crate, the driver, the build.
    pub pin: String,
    /// What was found.
    pub found: String,
    /// The pinned value.
    pub pinned: String,
}

impl Drift {
    pub(super) fn new(pin: impl Into<String>, found: impl Into<String>, pinned: impl Into<String>) -> Self {
        Drift { pin: pin.into(), found: found.into(), pinned: pinned.into() }
    }
}

impl fmt::Display for Drift {
    /// `libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} instead of {}", self.pin, self.found, self.pinned)
    }
}

/// The text of a row: [`MATCH`], or all differences in alphabetical order, separated by semicolons.
pub fn stamp(drift: &[Drift]) -> String {
    if drift.is_empty() {
        return MATCH.to_owned();
    }
    let all: BTreeSet<String> = drift.iter().map(ToString::to_string).collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}

/// The drift of this process, which executes engines of this backend: loaded libraries, the driver where the backend
/// needs one, the pins compiled in, and the build. Call it after an engine has executed, because libraries load others
/// late. It reads every library's bytes.
pub fn of_process(kind: BackendKind) -> Vec<Drift> {
    let mut drift = of_libraries(kind, &loaded::mapped());
    if kind.device() == DeviceKind::Gpu {
        drift.extend(of_driver(&gpu::of_this_machine()));
    }
    drift.extend(pin_digests::of_program());
    drift.extend(of_build(&BuildInfo::current()));
    drift.sort();
    drift
}

/// Checks the libraries of a backend among the files mapped into a process. Each must be the file that the search
/// finds, with the pinned bytes. No other inference library may be mapped.
pub fn of_libraries(kind: BackendKind, mapped: &BTreeSet<PathBuf>) -> Vec<Drift> {
    if kind == BackendKind::TensorRt && mapped.iter().any(|path| tensorrt::is_engine_file(&file_name(path))) {
        return of_tensorrt(mapped);
    }
    let mut drift = Vec::new();
    let mut own = BTreeSet::new();
    for &library in Library::of(kind) {
        match find(library) {
            Ok(found) => {
                let path = found.path.canonicalize().unwrap_or_else(|_| found.path.clone());
                // A file that was replaced or deleted after loading is mapped under another name.
                match mapped.contains(&path) {
                    true => drift.extend(of_file(&found)),
                    false => drift.push(Drift::new(name(library), "another file, loaded before", pinned(library))),
                }
                own.insert(path);
            }
            Err(_) => drift.push(Drift::new(name(library), "a file that is gone", pinned(library))),
        }
    }
    let strangers = mapped.iter().filter(|path| loaded::is_inference(path) && !own.contains(*path));
    drift.extend(strangers.map(|path| Drift::new(file_name(path), content(path), "no such library")));
    drift
}

/// Compares the libraries of TensorRT with those that set-up fetches. Where a person has another version, nothing is pinned.
fn of_tensorrt(mapped: &BTreeSet<PathBuf>) -> Vec<Drift> {
    let is_plugins = |name: &str| name.starts_with("libnvinfer_plugin");
    let judge = |path: &PathBuf| {
        let name = file_name(path);
        match tensorrt::fetched_digest(&name) {
            Some(pinned) if library_sha256(path).is_ok_and(|digest| digest == pinned) => None,
            Some(pinned) => Some(Drift::new(name, content(path), format!("8.6.1, sha256 {}", digits(pinned)))),
            None if tensorrt::is_engine_file(&name) => Some(Drift::new(name, content(path), "no pin")),
            None => Some(Drift::new(name, content(path), "no such library")),
        }
    };
    mapped.iter().filter(|path| loaded::is_inference(path) && !is_plugins(&file_name(path))).filter_map(judge).collect()
}

/// Compares a library's bytes with its pin, however the library was found.
pub fn of_file(found: &FoundLibrary) -> Option<Drift> {
    match found.library.pin() {
        Ok(Some(pin)) => of_bytes(&found.path, &pin),
        _ => Some(Drift::new(name(found.library), content(&found.path), pinned(found.library))),
    }
}

/// Compares a file's bytes with a pin.
pub fn of_bytes(path: &Path, pin: &Pin) -> Option<Drift> {
    let same = library_sha256(path).is_ok_and(|digest| digest == pin.sha256);
    (!same).then(|| Drift::new(pin.file, content(path), described(pin)))
}

/// Compares the driver with the oldest one that the pinned libraries support. Also `None` without a GPU.
pub fn of_driver(gpus: &[Gpu]) -> Option<Drift> {
    let oldest = &pins::compiled_in().ok()?.driver.oldest;
    let driver = gpus.iter().find_map(|gpu| gpu.driver.as_ref())?;
    let numbers = |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>();
    (numbers(driver) < numbers(oldest)).then(|| Drift::new("driver", driver, format!("{oldest} or newer")))
}

/// Drift of the build: whether files differed from the commit, pins included. `None` without git, where that is
/// unknown.
pub fn of_build(build: &BuildInfo) -> Option<Drift> {
    let commit = build.commit.as_deref().filter(|_| build.dirty == Some(true))?;
    Some(Drift::new("build", "changed files", format!("commit {}", digits(commit))))
}

/// Compares a pin file in the repository at `root` with the same file as compiled in. Reports an absent file, or each
/// pin that differs.
pub fn of_pin_file(root: &Path, file: PinFile) -> Vec<Drift> {
    let compiled = file.compiled_in();
    let whole = |found: String| vec![Drift::new(file.path(), found, format!("sha256 {}", short(compiled.as_bytes())))];
    let bytes = match fs::read(root.join(file.path())) {
        Ok(bytes) if bytes == compiled.as_bytes() => return Vec::new(),
        Ok(bytes) => bytes,
        Err(error) => return whole(unreadable(&error)),
    };
    let pins = String::from_utf8(bytes.clone()).map_err(|error| error.to_string()).and_then(|text| file.read(&text));
    let (Ok(there), Ok(ours)) = (pins, file.read(compiled)) else {
        return whole(format!("a damaged file, sha256 {}", short(&bytes)));
    };
    let nothing = || "nothing".to_owned();
    let drift: Vec<Drift> = differences(&there, &ours)
        .into_iter()
        .map(|one| {
            let pin = format!("{} {}", file.path(), one.property);
            Drift::new(pin, one.first.unwrap_or_else(nothing), one.second.unwrap_or_else(nothing))
        })
        .collect();
    if drift.is_empty() { whole(format!("the same pins in other words, sha256 {}", short(&bytes))) } else { drift }
}

/// The text that replaces the content of an unreadable file.
pub(super) fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    }
}

/// The pinned file name of a library.
fn name(library: Library) -> String {
    library.pin().ok().flatten().map_or_else(|| format!("{library:?}"), |pin| pin.file.to_owned())
}

fn pinned(library: Library) -> String {
    match library.pin() {
        Ok(Some(pin)) => described(&pin),
        _ => "no pin".to_owned(),
    }
}

/// `1.32.0, sha256 6c1585d1bbf4`
fn described(pin: &Pin) -> String {
    format!("{}, sha256 {}", pin.version, digits(pin.sha256))
}

/// Identifies a file by its digest, without its folder, which may contain a person's name.
fn content(path: &Path) -> String {
    match library_sha256(path) {
        Ok(digest) => format!("sha256 {}", digits(&digest)),
        Err(_) => "an unreadable file".to_owned(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn short(bytes: &[u8]) -> String {
    digits(&sha256(bytes)).to_owned()
}

pub(super) fn digits(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::How;

    /// A repository with the pin files as compiled in.
    fn repository() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in PinFile::ALL {
            let path = root.path().join(file.path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.compiled_in()).unwrap();
        }
        root
    }

    fn changed(file: PinFile, from: &str, to: &str) -> Vec<String> {
        let root = repository();
        let text = file.compiled_in().replacen(from, to, 1);
        assert_ne!(text, file.compiled_in(), "{from}");
        fs::write(root.path().join(file.path()), text).unwrap();
        of_pin_file(root.path(), file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_hash_is_named_by_its_place() {
        let pin = &pins::compiled_in().unwrap().wheels["onnxruntime"].unpack["libonnxruntime.so.1.32.0"].sha256;
        let other = "0".repeat(64);
        assert_eq!(
            changed(PinFile::Wheels, pin, &other),
            [format!(
                "container/wheels.json wheels.onnxruntime.unpack.libonnxruntime.so.1.32.0.sha256: {other} instead of {pin}"
            )]
        );
        let rev = PinFile::Flake.read(PinFile::Flake.compiled_in()).unwrap();
        let rev = rev["nodes"]["nixpkgs"]["locked"]["rev"].as_str().unwrap().to_owned();
        let found = changed(PinFile::Flake, &rev, &"1".repeat(40));
        assert_eq!(found, [format!("flake.lock nodes.nixpkgs.locked.rev: {} instead of {rev}", "1".repeat(40))]);
        let text = PinFile::Crates.compiled_in();
        let checksum = text.split("checksum = \"").nth(1).unwrap().split('"').next().unwrap();
        let found = changed(PinFile::Crates, checksum, &other);
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with(&format!(": {other} instead of {checksum}")), "{found:?}");
    }

    #[test]
    fn other_layout_and_damage_are_told_apart() {
        assert!(changed(PinFile::Wheels, "  \"version\"", "\"version\"")[0].contains("the same pins in other words"));
        assert!(changed(PinFile::Wheels, "{", "")[0].contains("a damaged file"));
    }

    #[test]
    fn a_library_is_judged_by_its_bytes_however_it_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("another-name.so");
        fs::write(&path, "other bytes").unwrap();
        for how in [How::Pinned, How::Variable("ORT_DYLIB_PATH")] {
            let drift = of_file(&FoundLibrary { library: Library::OnnxRuntime, path: path.clone(), how }).unwrap();
            let digest = sha256(b"other bytes");
            assert_eq!(drift.pin, "libonnxruntime.so.1.32.0");
            assert_eq!(drift.found, format!("sha256 {}", &digest[..12]));
            assert!(drift.pinned.starts_with("1.32.0, sha256 "), "{drift}");
        }
    }

    #[test]
    fn a_library_that_the_backend_does_not_know_is_a_difference() {
        let folder = tempfile::tempdir().unwrap();
        let [stranger, driver, other] =
            ["libonnxruntime.so.1.2", "libcuda.so.1", "libc.so.6"].map(|name| folder.path().join(name));
        for path in [&stranger, &driver, &other] {
            fs::write(path, "x").unwrap();
        }
        let drift = of_libraries(BackendKind::Reference, &BTreeSet::from([stranger, driver, other]));
        assert_eq!(drift.len(), 1, "{drift:?}");
        assert!(drift[0].to_string().starts_with("libonnxruntime.so.1.2: sha256 "), "{}", drift[0]);
        assert!(drift[0].to_string().ends_with(" instead of no such library"), "{}", drift[0]);
    }

    #[test]
    fn drivers_are_compared_number_by_number() {
        let gpu = |driver: &str| Gpu::bare("GPU", Some(driver.to_owned()));
        for new_enough in ["580.65.06", "580.126.20", "1000.1"] {
            assert_eq!(of_driver(&[gpu(new_enough)]), None);
        }
        let old = of_driver(&[gpu("575.57.08")]).unwrap();
        assert_eq!(old.to_string(), "driver: 575.57.08 instead of 580.65.06 or newer");
        assert_eq!(of_driver(&[]), None);
    }

    #[test]
    fn a_stamp_is_sorted_and_says_each_thing_once() {
        assert_eq!(stamp(&[]), "match");
        let (a, b) = (Drift::new("a", "1", "2"), Drift::new("b", "3", "4"));
        assert_eq!(stamp(&[b.clone(), a, b]), "a: 1 instead of 2; b: 3 instead of 4");
        let build = BuildInfo { commit: Some("0123456789abcdef".repeat(3)), dirty: Some(true), ..BuildInfo::current() };
        assert_eq!(stamp(&[of_build(&build).unwrap()]), "build: changed files instead of commit 0123456789ab");
        assert_eq!(of_build(&BuildInfo { dirty: Some(false), ..build.clone() }), None);
        assert_eq!(of_build(&BuildInfo { commit: None, dirty: None, ..build }), None);
    }
}
