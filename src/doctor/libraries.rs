//! The libraries that set-up fetches: where they are, and whether they are the pinned bytes.

use super::{Finding, Section, Status};
use crate::libraries::{Found, How, Library, LibraryError, find};

/// One finding per pinned library, its bytes compared with the pin.
pub(super) fn findings(has_gpu: bool) -> Vec<Finding> {
    Library::PINNED.into_iter().map(|library| finding(library, find(library), has_gpu)).collect()
}

fn finding(library: Library, found: Result<Found, LibraryError>, has_gpu: bool) -> Finding {
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
            Finding::new(Section::Libraries, name, Status::Ok, detail)
        }
        Err(LibraryError::Missing { .. } | LibraryError::OtherMajor { .. }) if library.needs_gpu() && !has_gpu => {
            let detail = format!("not needed without a GPU; {} fetches it all the same", library.set_up());
            Finding::new(Section::Libraries, name, Status::NotNeeded, detail)
        }
        Err(error) => Finding::new(Section::Libraries, name, Status::Missing, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_one_line_with_the_cure() {
        let pin = Library::TensorRtRtx.pin().unwrap().unwrap();
        let missing = LibraryError::Missing { library: Library::TensorRtRtx, file: pin.file };
        let finding = finding(Library::TensorRtRtx, Err(missing), false);
        assert_eq!((finding.status, finding.name.as_str()), (Status::Missing, "libtensorrt_rtx.so.1"));
        assert!(finding.detail.contains("run container/setup.sh --libraries"), "{}", finding.detail);
    }

    #[test]
    fn other_bytes_in_the_place_of_the_pinned_ones_are_no_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "other bytes").unwrap();
        let found = |how| Ok(Found { library: Library::OnnxRuntime, path: path.clone(), how });
        let altered = finding(Library::OnnxRuntime, found(How::Pinned), false);
        assert_eq!(altered.status, Status::Missing);
        assert!(altered.detail.contains("is not the pinned file"), "{}", altered.detail);
        let own = finding(Library::OnnxRuntime, found(How::Variable("ORT_DYLIB_PATH")), false);
        assert_eq!(own.status, Status::Ok);
        assert!(own.detail.starts_with("named by ORT_DYLIB_PATH: "), "{}", own.detail);
    }

    #[test]
    fn what_only_a_gpu_needs_is_missed_with_a_gpu_only() {
        let missing = |library| Err(LibraryError::Missing { library, file: "FILE" });
        let judged = |library, has_gpu| finding(library, missing(library), has_gpu).status;
        assert_eq!(judged(Library::CublasLt, true), Status::Missing);
        assert_eq!(judged(Library::CublasLt, false), Status::NotNeeded);
        assert_eq!(judged(Library::Nvrtc, false), Status::Missing, "kernels are compiled without a GPU as well");
        let damaged = LibraryError::Altered {
            library: Library::CublasLt,
            path: "libcublasLt.so.13".into(),
            difference: "it has 1 bytes".to_owned(),
        };
        assert_eq!(
            finding(Library::CublasLt, Err(damaged), false).status,
            Status::Missing,
            "what is there must be right"
        );
    }
}
