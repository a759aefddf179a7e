//! Everything that is pinned against what is here: the files of pins in the repository, the libraries, the driver, the build.

use std::path::Path;

use super::{Finding, Section, Status};
use crate::libraries::pins;
use crate::libraries::pins::PinFile;
use crate::libraries::{Found, Library, LibraryError, find, was_set_up};
use crate::provenance::drift::{self, MATCH};
use crate::provenance::{Build, Drift, Gpu, pin_digests};

/// What only a repository of this program has.
const MARK: &str = "container/setup.sh";

/// Pins of one file that are named one by one.
const NAMED: usize = 3;

/// One finding per file of pins, pinned library, the driver, the compiler and the build.
pub(super) fn findings(root: &Path, gpus: &[Gpu], build: &Build) -> Vec<Finding> {
    let is_repository = root.join(MARK).is_file();
    let unsealed = if is_repository { pin_digests::of_repository(root) } else { pin_digests::of_program() };
    let files = PinFile::ALL.into_iter().map(|file| {
        let broken = unsealed.iter().find(|drift| drift.pin == file.path());
        match (is_repository, broken) {
            (true, _) => pin_file(file, &drift::of_pin_file(root, file), broken),
            (false, Some(broken)) => pin_file(file, &[], Some(broken)),
            (false, None) => finding(file.path(), Status::NotNeeded, "no repository here; the pins compiled in count"),
        }
    });
    let sealed = pin_digests::other_files().into_iter().chain([pin_digests::FILE]).filter(|_| is_repository);
    let sealed = sealed.map(|path| sealed_file(path, unsealed.iter().find(|drift| drift.pin == path)));
    let libraries = Library::PINNED.into_iter().map(|one| library(one, find(one)));
    files.chain(sealed).chain(libraries).chain([driver(gpus), compiler(build), commit(build)]).collect()
}

/// Whether anything is not what is pinned. A changed build is none of it: it is a limitation that people live with while
/// they work.
pub fn has_drift(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.section == Section::Pins && finding.status == Status::Missing)
}

fn finding(name: impl Into<String>, status: Status, detail: impl Into<String>) -> Finding {
    Finding::new(Section::Pins, name, status, detail)
}

/// A file of pins against what was compiled in, pin by pin, and where it is the same, against its seal.
fn pin_file(file: PinFile, drift: &[Drift], unsealed: Option<&Drift>) -> Finding {
    let path = file.path();
    if drift.is_empty() {
        return match unsealed {
            None => finding(path, Status::Ok, format!("{MATCH}: sealed, and what this program was built with")),
            Some(_) => sealed_file(path, unsealed),
        };
    }
    // Of a pin in the file its place alone: the file is named already.
    let text =
        |drift: &Drift| drift.to_string().trim_start_matches(path).trim_start_matches(['.', ':', ' ']).to_owned();
    let named = drift.iter().take(NAMED).map(text).collect::<Vec<_>>().join("; ");
    let more = match drift.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    finding(path, Status::Missing, format!("{named}{more}"))
        .cured_by(format!("git checkout {path}; or, where the change is meant, build again"))
}

fn sealed_file(path: &str, unsealed: Option<&Drift>) -> Finding {
    match unsealed {
        None if path == pin_digests::FILE => {
            finding(path, Status::Ok, format!("{MATCH}: the seal this program was built with"))
        }
        None => finding(path, Status::Ok, format!("{MATCH}: sealed")),
        Some(drift) => finding(path, Status::Missing, format!("{} instead of {}", drift.found, drift.pinned)).cured_by(
            format!("git checkout {path} and build again; or, where the change is meant, make pins and build again"),
        ),
    }
}

fn library(library: Library, found: Result<Found, LibraryError>) -> Finding {
    let pin = library.pin().ok().flatten();
    let name = pin.as_ref().map_or_else(|| format!("{library:?}"), |pin| pin.file.to_owned());
    let cure = format!("{}, and leave {} unset", library.set_up(), library.variable());
    match found {
        Ok(found) => match drift::of_file(&found) {
            None => {
                let pin = pin.map_or_else(String::new, |pin| format!(": {}, sha256 {}", pin.version, pin.sha256));
                finding(name, Status::Ok, format!("{MATCH}{pin}, {}", found.place()))
            }
            Some(drift) => {
                let detail = format!("{} instead of {} ({})", drift.found, drift.pinned, found.how);
                finding(name, Status::Missing, detail).cured_by(cure)
            }
        },
        Err(LibraryError::Missing { .. } | LibraryError::OtherMajor { .. } | LibraryError::NotInstalled { .. })
            if !was_set_up(library) =>
        {
            finding(name, Status::NotNeeded, "not here, so there is nothing to compare")
        }
        Err(error) => finding(name, Status::Missing, error.to_string()),
    }
}

fn driver(gpus: &[Gpu]) -> Finding {
    let versions: Vec<&str> = gpus.iter().filter_map(|gpu| gpu.driver.as_deref()).collect();
    match (versions.first(), drift::of_driver(gpus), pins::compiled_in()) {
        (None, ..) => finding("driver", Status::NotNeeded, "no NVIDIA driver here"),
        (Some(_), Some(drift), _) => {
            finding("driver", Status::Missing, format!("{} instead of {}", drift.found, drift.pinned))
                .cured_by("install a newer driver: the pinned CUDA libraries do not run on this one")
        }
        (Some(version), None, Ok(pins)) => {
            finding("driver", Status::Ok, format!("{MATCH}: {version}, {} or newer is needed", pins.driver.oldest))
        }
        (Some(_), None, Err(message)) => finding("driver", Status::Missing, message),
    }
}

/// The image and the flake pin a compiler each; elsewhere any will do that is new enough, which cargo sees to. Rows of two
/// compilers have two environments.
fn compiler(build: &Build) -> Finding {
    let rustc = build.rustc.as_deref().unwrap_or("an unknown compiler");
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    finding(
        "compiler",
        Status::Ok,
        format!("{rustc}; not pinned outside the image and the flake, {oldest} or newer will do"),
    )
}

fn commit(build: &Build) -> Finding {
    match (drift::of_build(build), &build.commit) {
        (Some(drift), _) => finding("build", Status::Limited, format!("{} instead of {}", drift.found, drift.pinned))
            .cured_by("commit the changes and build again before publishing numbers"),
        (None, Some(commit)) => finding("build", Status::Ok, format!("{MATCH}: commit {commit}")),
        (None, None) => finding("build", Status::NotNeeded, "built without git: its commit is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::How;

    fn named<'a>(findings: &'a [Finding], name: &str) -> &'a Finding {
        findings.iter().find(|finding| finding.name == name).unwrap()
    }

    #[test]
    fn this_repository_matches_and_elsewhere_there_is_none_to_compare() {
        let build = Build { dirty: Some(false), ..Build::current() };
        let here = findings(Path::new(env!("CARGO_MANIFEST_DIR")), &[], &build);
        let elsewhere = findings(tempfile::tempdir().unwrap().path(), &[], &build);
        for file in PinFile::ALL {
            assert_eq!(named(&here, file.path()).status, Status::Ok, "{here:?}");
            assert_eq!(named(&elsewhere, file.path()).status, Status::NotNeeded);
        }
        assert!(named(&here, "driver").detail.contains("no NVIDIA driver here"));
    }

    #[test]
    fn each_file_of_pins_that_is_removed_or_changed_is_named_with_its_cure() {
        let root = tempfile::tempdir().unwrap();
        for path in PinFile::ALL.map(PinFile::path).into_iter().chain([MARK]) {
            std::fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), root.path().join(path)).unwrap();
        }
        let look = || findings(root.path(), &[], &Build::current());
        for file in PinFile::ALL {
            let path = root.path().join(file.path());
            let whole = std::fs::read_to_string(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let removed = look();
            let finding = named(&removed, file.path());
            assert_eq!(finding.status, Status::Missing);
            assert!(finding.detail.starts_with("no such file instead of sha256 "), "{}", finding.detail);
            assert!(finding.cure.as_ref().unwrap().starts_with(&format!("git checkout {}", file.path())));
            assert!(has_drift(&removed));
            // The last digit of the last digest in the file.
            let digit = whole.rfind(|c: char| c.is_ascii_digit()).unwrap();
            let other = if whole.as_bytes()[digit] == b'1' { "2" } else { "1" };
            std::fs::write(&path, format!("{}{other}{}", &whole[..digit], &whole[digit + 1..])).unwrap();
            let changed = look();
            let finding = named(&changed, file.path());
            assert_eq!(finding.status, Status::Missing, "{}", file.path());
            assert!(finding.detail.contains(" instead of "), "{}", finding.detail);
            std::fs::write(&path, whole).unwrap();
            assert_eq!(named(&look(), file.path()).status, Status::Ok);
        }
    }

    #[test]
    fn a_swapped_library_is_named_and_an_absent_one_is_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "other bytes").unwrap();
        let own = Found { library: Library::OnnxRuntime, path, how: How::Variable("ORT_DYLIB_PATH") };
        let swapped = library(Library::OnnxRuntime, Ok(own));
        assert_eq!((swapped.status, swapped.name.as_str()), (Status::Missing, "libonnxruntime.so.1.32.0"));
        assert!(swapped.detail.ends_with("(named by ORT_DYLIB_PATH)"), "{}", swapped.detail);
        assert!(swapped.cure.is_some_and(|cure| cure.contains("leave ORT_DYLIB_PATH unset")));
        let incomplete = LibraryError::NotBeside {
            library: Library::NvrtcBuiltins,
            file: "libnvrtc-builtins.so.13.0",
            beside: folder.path().join("libnvrtc.so.13"),
        };
        let removed = library(Library::NvrtcBuiltins, Err(incomplete));
        assert_eq!((removed.status, removed.name.as_str()), (Status::Missing, "libnvrtc-builtins.so.13.0"));
        let absent = LibraryError::Missing { library: Library::Nvrtc, file: "libnvrtc.so.13" };
        let expected = if was_set_up(Library::Nvrtc) { Status::Missing } else { Status::NotNeeded };
        assert_eq!(library(Library::Nvrtc, Err(absent)).status, expected);
    }

    #[test]
    fn a_changed_build_is_a_limitation_and_no_drift() {
        let build = Build { commit: Some("0".repeat(40)), dirty: Some(true), ..Build::current() };
        let finding = commit(&build);
        assert_eq!((finding.status, has_drift(std::slice::from_ref(&finding))), (Status::Limited, false));
    }
}
