//! Checks the libraries that set-up fetches: their paths, and their bytes against the pins.

use super::{Area, Diagnosis, Readiness};
use crate::libraries::tensorrt::{installation, shim_for};
use crate::libraries::{FoundLibrary, How, Library, LibraryError, find};

/// One diagnosis per pinned library, whose bytes are compared with the pin, and one of TensorRT.
pub(super) fn diagnoses(has_gpu: bool) -> Vec<Diagnosis> {
    let pinned = Library::PINNED.into_iter().map(|library| diagnosis(library, find(library), has_gpu));
    pinned.chain([tensorrt_diagnosis(has_gpu)]).collect()
}

/// TensorRT, which no package index has, and the shim that set-up compiles for it. It builds on the GPU that executes.
fn tensorrt_diagnosis(has_gpu: bool) -> Diagnosis {
    let found = installation().and_then(|found| Ok((shim_for(&found)?, found)));
    let (status, detail) = match found {
        Ok((_, found)) => (Readiness::Ok, format!("{}, and its shim is compiled", found.describe())),
        Err(reason) if has_gpu => (Readiness::Missing, reason),
        Err(reason) => (Readiness::NotNeeded, format!("not needed without a GPU: {reason}")),
    };
    Diagnosis::new(Area::Libraries, "TensorRT", status, detail)
}

fn diagnosis(library: Library, found: Result<FoundLibrary, LibraryError>, has_gpu: bool) -> Diagnosis {
    let pin = library.pin().ok().flatten();
    let name = pin.as_ref().map_or_else(|| format!("{library:?}"), |pin| pin.file.to_owned());
    let judged = found.and_then(|found| found.verify().map(|()| found));
    match judged {
        Ok(found) => {
            let version = match (&pin, found.how) {
                (Some(pin), How::Pinned) => format!("{}, the pinned bytes", pin.version),
                (_, how) => how.to_string(),
            };
            let detail = format!("{version}: {}", found.place());
            Diagnosis::new(Area::Libraries, name, Readiness::Ok, detail)
        }
        Err(LibraryError::Missing { .. } | LibraryError::OtherMajor { .. }) if library.needs_gpu() && !has_gpu => {
            let detail = format!("not needed without a GPU; {} fetches it anyway", library.set_up());
            Diagnosis::new(Area::Libraries, name, Readiness::NotNeeded, detail)
        }
        Err(error) => Diagnosis::new(Area::Libraries, name, Readiness::Missing, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_one_line_with_the_cure() {
        let pin = Library::TensorRtRtx.pin().unwrap().unwrap();
        let missing = LibraryError::Missing { library: Library::TensorRtRtx, file: pin.file };
        let diagnosis = diagnosis(Library::TensorRtRtx, Err(missing), false);
        assert_eq!((diagnosis.status, diagnosis.name.as_str()), (Readiness::Missing, "libtensorrt_rtx.so.1"));
        assert!(diagnosis.detail.contains("run container/setup.sh --libraries"), "{}", diagnosis.detail);
    }

    #[test]
    fn other_bytes_in_the_place_of_the_pinned_ones_are_no_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "other bytes").unwrap();
        let found = |how| Ok(FoundLibrary { library: Library::OnnxRuntime, path: path.clone(), how });
        let altered = diagnosis(Library::OnnxRuntime, found(How::Pinned), false);
        assert_eq!(altered.status, Readiness::Missing);
        assert!(altered.detail.contains("is not the pinned file"), "{}", altered.detail);
        let own = diagnosis(Library::OnnxRuntime, found(How::Variable("ORT_DYLIB_PATH")), false);
        assert_eq!(own.status, Readiness::Ok);
        assert!(own.detail.starts_with("named by ORT_DYLIB_PATH: "), "{}", own.detail);
    }

    #[test]
    fn what_only_a_gpu_needs_is_missed_with_a_gpu_only() {
        let missing = |library| Err(LibraryError::Missing { library, file: "FILE" });
        let judged = |library, has_gpu| diagnosis(library, missing(library), has_gpu).status;
        assert_eq!(judged(Library::CublasLt, true), Readiness::Missing);
        assert_eq!(judged(Library::CublasLt, false), Readiness::NotNeeded);
        assert_eq!(judged(Library::Nvrtc, false), Readiness::Missing, "kernels are compiled without a GPU as well");
        let damaged = LibraryError::Altered {
            library: Library::CublasLt,
            path: "libcublasLt.so.13".into(),
            difference: "it has 1 bytes".to_owned(),
        };
        assert_eq!(
            diagnosis(Library::CublasLt, Err(damaged), false).status,
            Readiness::Missing,
            "what is there must be right"
        );
    }
}
