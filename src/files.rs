//! Replacing a file in one step, and the error that names a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The file system refused to read or write a file or folder, or the file is no text.
#[derive(Debug, Error)]
#[error("{}{source}", self.place())]
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

    /// `path: `, or `path:` before the number of a line.
    fn place(&self) -> String {
        let numbered = self.source.get_ref().is_some_and(|source| source.is::<NotText>());
        format!("{}:{}", self.path.display(), if numbered { "" } else { " " })
    }
}

/// A byte that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{line}: byte {byte:#04x} is not UTF-8 text; save the file as UTF-8")]
pub struct NotText {
    /// Its line, from 1.
    pub line: usize,
    /// The byte.
    pub byte: u8,
}

/// `bytes` as text, without the byte-order mark that some editors put at its start.
///
/// # Errors
/// [`NotText`] with the line of the first byte that is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, NotText> {
    let bytes = without_mark(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, rest) = bytes.split_at(error.valid_up_to());
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        NotText { line, byte: rest.first().copied().unwrap_or_default() }
    })
}

/// `bytes` without the byte-order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Reads a text file that somebody may have edited; see [`text`].
///
/// # Errors
/// [`FileError`] naming the file, and the line of a byte that is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let bytes = fs::read(path).map_err(FileError::at(path))?;
    let read = text(&bytes).map(str::to_owned);
    read.map_err(|error| FileError::at(path)(io::Error::new(io::ErrorKind::InvalidData, error)))
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
