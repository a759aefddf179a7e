//! Digests of library files, each read once in a process while it stays as it is: rows, pins and engine caches all ask for the
//! same half gigabyte.

use std::collections::HashMap;
use std::fs::metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::digest::sha256_file;
use crate::files::FileStamp;

static KNOWN: Mutex<Option<HashMap<PathBuf, (FileStamp, String)>>> = Mutex::new(None);

/// SHA-256 of a library's bytes as they are now, 64 digits.
///
/// # Errors
/// The file cannot be read.
pub fn library_sha256(path: &Path) -> io::Result<String> {
    // Taken first, so that a change while the file is read shows at the next call.
    let stamp = FileStamp::of(&metadata(path)?);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, digest)) = known().as_ref().and_then(|known| known.get(path))
        && *of == stamp
    {
        return Ok(digest.clone());
    }
    let digest = sha256_file(path)?;
    known().get_or_insert_default().insert(path.to_owned(), (stamp, digest.clone()));
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_library_is_read_again_whatever_its_size_and_time_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libcublas.so");
        let modified = std::time::SystemTime::UNIX_EPOCH;
        for text in ["abc", "abc", "abd"] {
            std::fs::write(&path, text).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            for _ in 0..2 {
                assert_eq!(library_sha256(&path).unwrap(), sha256_file(&path).unwrap());
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(library_sha256(&path).is_err());
    }
}
