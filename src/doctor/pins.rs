//! Compares the pins with this machine: the pin files of the repository, the libraries, the driver, the build.

use std::path::Path;

use super::{Area, Diagnosis, Readiness};
use crate::libraries::pins::PinFile;
use crate::libraries::{FoundLibrary, Library, LibraryError, find, pins, was_set_up};
use crate::provenance::drift::{self, MATCH};
use crate::provenance::{BuildInfo, Drift, Gpu, pin_digests};

/// A file that only a repository of this program has.
const MARK: &str = "container/setup.sh";

/// Most differing pins of one file that are named.
const NAMED: usize = 3;

/// One diagnosis each for every pin file, every pinned library, the driver, the compiler and the build.
pub(super) fn diagnoses(root: &Path, gpus: &[Gpu], build: &BuildInfo) -> Vec<Diagnosis> {
    let is_repository = root.join(MARK).is_file();
    let drifted = if is_repository { pin_digests::of_repository(root) } else { pin_digests::of_program() };
    let files = PinFile::ALL.into_iter().map(|file| {
        let broken = drifted.iter().find(|drift| drift.pin == file.path());
        match (is_repository, broken) {
            (true, _) => pin_file(file, &drift::of_pin_file(root, file), broken),
            (false, Some(broken)) => pin_file(file, &[], Some(broken)),
            (false, None) => {
                diagnosis(file.path(), Readiness::NotNeeded, "no repository here; the pins compiled in count")
            }
        }
    });
    let pinned = pin_digests::other_files().into_iter().chain([pin_digests::FILE]).filter(|_| is_repository);
    let pinned = pinned.map(|path| pinned_file(path, drifted.iter().find(|drift| drift.pin == path)));
    let libraries = Library::PINNED.into_iter().map(|one| library(one, find(one)));
    files.chain(pinned).chain(libraries).chain([driver(gpus), compiler(build), commit(build)]).collect()
}

/// Whether anything differs from its pin. A build from changed files does not count, because it is normal during
/// development.
pub fn has_drift(diagnoses: &[Diagnosis]) -> bool {
    diagnoses.iter().any(|diagnosis| diagnosis.section == Area::Pins && diagnosis.status == Readiness::Missing)
}

fn diagnosis(name: impl Into<String>, status: Readiness, detail: impl Into<String>) -> Diagnosis {
    Diagnosis::new(Area::Pins, name, status, detail)
}

/// Compares a pin file with the pins compiled in, pin by pin. An equal file is then compared with its digest.
fn pin_file(file: PinFile, drift: &[Drift], drifted: Option<&Drift>) -> Diagnosis {
    let path = file.path();
    if drift.is_empty() {
        return match drifted {
            None => diagnosis(
                path,
                Readiness::Ok,
                format!("{MATCH}: the recorded digest, and what this program was built with"),
            ),
            Some(_) => pinned_file(path, drifted),
        };
    }
    // The diagnosis names the file already, so only the pin's place in it is kept.
    let text =
        |drift: &Drift| drift.to_string().trim_start_matches(path).trim_start_matches(['.', ':', ' ']).to_owned();
    let named = drift.iter().take(NAMED).map(text).collect::<Vec<_>>().join("; ");
    let more = match drift.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    diagnosis(path, Readiness::Missing, format!("{named}{more}"))
        .cured_by(format!("git checkout {path}; or, where the change is meant, build again"))
}

fn pinned_file(path: &str, drifted: Option<&Drift>) -> Diagnosis {
    match drifted {
        None if path == pin_digests::FILE => {
            diagnosis(path, Readiness::Ok, format!("{MATCH}: the digests this program was built with"))
        }
        None => diagnosis(path, Readiness::Ok, format!("{MATCH}: the recorded digest")),
        Some(drift) => diagnosis(path, Readiness::Missing, format!("{} instead of {}", drift.found, drift.pinned))
            .cured_by(format!(
                "git checkout {path} and build again; or, where the change is meant, make pins and build again"
            )),
    }
}

fn library(library: Library, found: Result<FoundLibrary, LibraryError>) -> Diagnosis {
    let pin = library.pin().ok().flatten();
    let name = pin.as_ref().map_or_else(|| format!("{library:?}"), |pin| pin.file.to_owned());
    let cure = format!("{}, and leave {} unset", library.set_up(), library.variable());
    match found {
        Ok(found) => match drift::of_file(&found) {
            None => {
                let pin = pin.map_or_else(String::new, |pin| format!(": {}, sha256 {}", pin.version, pin.sha256));
                diagnosis(name, Readiness::Ok, format!("{MATCH}{pin}, {}", found.place()))
            }
            Some(drift) => {
                let detail = format!("{} instead of {} ({})", drift.found, drift.pinned, found.how);
                diagnosis(name, Readiness::Missing, detail).cured_by(cure)
            }
        },
        Err(LibraryError::Missing { .. } | LibraryError::OtherMajor { .. }) if !was_set_up(library) => {
            diagnosis(name, Readiness::NotNeeded, "not here, so there is nothing to compare")
        }
        Err(error) => diagnosis(name, Readiness::Missing, error.to_string()),
    }
}

fn driver(gpus: &[Gpu]) -> Diagnosis {
    let versions: Vec<&str> = gpus.iter().filter_map(|gpu| gpu.driver.as_deref()).collect();
    match (versions.first(), drift::of_driver(gpus), pins::compiled_in()) {
        (None, ..) => diagnosis("driver", Readiness::NotNeeded, "no NVIDIA driver here"),
        (Some(_), Some(drift), _) => {
            diagnosis("driver", Readiness::Missing, format!("{} instead of {}", drift.found, drift.pinned))
                .cured_by("install a newer driver: the pinned CUDA libraries do not run on this one")
        }
        (Some(version), None, Ok(pins)) => {
            diagnosis("driver", Readiness::Ok, format!("{MATCH}: {version}, {} or newer is needed", pins.driver.oldest))
        }
        (Some(_), None, Err(message)) => diagnosis("driver", Readiness::Missing, message),
    }
}

/// The image and the flake each pin a compiler. Elsewhere any compiler that cargo accepts will do. Rows of two
/// compilers have two environments.
fn compiler(build: &BuildInfo) -> Diagnosis {
    let rustc = build.rustc.as_deref().unwrap_or("an unknown compiler");
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    diagnosis(
        "compiler",
        Readiness::Ok,
        format!("{rustc}; not pinned outside the image and the flake, {oldest} or newer will do"),
    )
}

fn commit(build: &BuildInfo) -> Diagnosis {
    match (drift::of_build(build), &build.commit) {
        (Some(drift), _) => {
            diagnosis("build", Readiness::Limited, format!("{} instead of {}", drift.found, drift.pinned))
                .cured_by("commit the changes and build again before publishing numbers")
        }
        (None, Some(commit)) => diagnosis("build", Readiness::Ok, format!("{MATCH}: commit {commit}")),
        (None, None) => diagnosis("build", Readiness::NotNeeded, "built without git: its commit is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::How;

    #[test]
    fn without_a_driver_there_is_nothing_to_compare() {
        assert_eq!(driver(&[]).status, Readiness::NotNeeded);
    }

    #[test]
    fn a_swapped_library_is_named_and_an_absent_one_is_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "other bytes").unwrap();
        let own = FoundLibrary { library: Library::OnnxRuntime, path, how: How::Variable("ORT_DYLIB_PATH") };
        let swapped = library(Library::OnnxRuntime, Ok(own));
        assert_eq!((swapped.status, swapped.name.as_str()), (Readiness::Missing, "libonnxruntime.so.1.32.0"));
        assert!(swapped.detail.ends_with("(named by ORT_DYLIB_PATH)"), "{}", swapped.detail);
        assert!(swapped.cure.is_some_and(|cure| cure.contains("leave ORT_DYLIB_PATH unset")));
        let incomplete = LibraryError::NotBeside {
            library: Library::NvrtcBuiltins,
            file: "libnvrtc-builtins.so.13.0",
            beside: folder.path().join("libnvrtc.so.13"),
        };
        let removed = library(Library::NvrtcBuiltins, Err(incomplete));
        assert_eq!((removed.status, removed.name.as_str()), (Readiness::Missing, "libnvrtc-builtins.so.13.0"));
        let absent = LibraryError::Missing { library: Library::Nvrtc, file: "libnvrtc.so.13" };
        let expected = if was_set_up(Library::Nvrtc) { Readiness::Missing } else { Readiness::NotNeeded };
        assert_eq!(library(Library::Nvrtc, Err(absent)).status, expected);
    }

    #[test]
    fn a_changed_build_is_a_limitation_and_no_drift() {
        let build = BuildInfo { commit: Some("0".repeat(40)), dirty: Some(true), ..BuildInfo::current() };
        let diagnosis = commit(&build);
        assert_eq!((diagnosis.status, has_drift(std::slice::from_ref(&diagnosis))), (Readiness::Limited, false));
    }
}
