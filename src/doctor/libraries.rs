//! The libraries that set-up fetches: where they are, and whether they are the pinned bytes.

use super::{Finding, Section, Status};
use crate::backend::library::{Found, How, Library, LibraryError, find};

/// One finding per pinned library, its bytes compared with the pin.
pub(super) fn findings() -> Vec<Finding> {
    Library::PINNED.into_iter().map(|library| finding(library, find(library))).collect()
}

fn finding(library: Library, found: Result<Found, LibraryError>) -> Finding {
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
        Err(error) => Finding::new(Section::Libraries, name, Status::Missing, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_one_line_with_the_cure() {
        let pin = Library::TensorRtRtx.pin().unwrap().unwrap();
        let missing = LibraryError::Missing { file: pin.file, variable: "SOME_VARIABLE" };
        let finding = finding(Library::TensorRtRtx, Err(missing));
        assert_eq!((finding.status, finding.name.as_str()), (Status::Missing, "libtensorrt_rtx.so.1"));
        assert!(finding.detail.contains("run container/setup.sh --libraries"), "{}", finding.detail);
    }

    #[test]
    fn other_bytes_in_the_place_of_the_pinned_ones_are_no_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "other bytes").unwrap();
        let found = |how| Ok(Found { library: Library::OnnxRuntime, path: path.clone(), how });
        let altered = finding(Library::OnnxRuntime, found(How::Pinned));
        assert_eq!(altered.status, Status::Missing);
        assert!(altered.detail.contains("is not the pinned file"), "{}", altered.detail);
        let own = finding(Library::OnnxRuntime, found(How::Variable("ORT_DYLIB_PATH")));
        assert_eq!(own.status, Status::Ok);
        assert!(own.detail.starts_with("named by ORT_DYLIB_PATH: "), "{}", own.detail);
    }
}
