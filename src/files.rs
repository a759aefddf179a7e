//! Replacing a file in one step, and the error that names a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The file system refused to read or write a file or folder.
#[derive(Debug, Error)]
#[error("{path}: {source}")]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

impl FileError {
    /// Names the file of an error: `fs::read(path).map_err(FileError::at(path))`.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError + Copy {
        move |source| FileError { path: path.to_owned(), source }
    }
}

/// Writes `bytes` to `path` atomically. After a kill or a power cut, either the old file or the new one is there. The
/// partial file is `path` with `.partial` appended, so only one process may replace a file at a time.
///
/// # Errors
/// The file system's error; the old file is then intact.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| {
        file.write_all(bytes)?;
        file.sync_all()
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Like [`replace`], with the bytes that `write` produces, for files that can be recreated. A kill leaves the old file
/// or the new one, but a power cut may leave a damaged one. Waiting for the disk would take longer than the writing.
///
/// # Errors
/// The file system's error, or the error of `write`; the old file is then intact.
pub fn replace_with<E: From<io::Error>>(path: &Path, write: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    let mut name = OsString::from(path);
    name.push(".partial");
    let partial = Path::new(&name);
    let written = File::create(partial)
        .map_err(E::from)
        .and_then(|mut file| write(&mut file))
        .and_then(|()| Ok(fs::rename(partial, path)?));
    if written.is_err() {
        let _ = fs::remove_file(partial);
    }
    written
}
