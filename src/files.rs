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

/// Writes `bytes` to `path` so that whatever happens, a kill or a power cut included, either the old file or the new one is
/// there. The half-written one is `path` with `.partial` added: only one process may replace a file at a time.
///
/// # Errors
/// The file system's; the old file is then intact.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| {
        file.write_all(bytes)?;
        file.sync_all()
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// As [`replace`], with whatever `write` writes to the file, for what can be made again: a kill leaves the old file or the
/// new one, a power cut may leave a damaged one. Waiting for the disk would take longer than the writing.
///
/// # Errors
/// The file system's, or what `write` returns; the old file is then intact.
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
