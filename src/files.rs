//! Replacing a file in one step, which version of a file was read, and the error that names a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::digest::{RunningDigest, sha256};

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

    /// The same where a command writes its results, with the cure.
    pub fn of_output(path: &Path) -> impl FnOnce(io::Error) -> FileError + Copy {
        move |source| {
            let message = format!("{source}; choose a writable folder with --out, or make room");
            FileError { path: path.to_owned(), source: io::Error::new(source.kind(), message) }
        }
    }

    /// `path: `, or `path:` before the number of a line.
    fn place(&self) -> String {
        let numbered = self.source.get_ref().is_some_and(|source| source.is::<NotText>());
        format!("{}:{}", self.path.display(), if numbered { "" } else { " " })
    }
}

/// Opens a file to read it. What is no regular file is refused: a pipe may never end, and a device has no version.
///
/// # Errors
/// The file system's error, or that the path is a folder, a pipe or a device.
pub fn open(path: &Path) -> io::Result<File> {
    // Before it is opened: that would wait for the other end of a pipe.
    let kind = fs::metadata(path)?.file_type();
    let found = match kind {
        _ if kind.is_file() => return File::open(path),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let message = format!("it is {found}; put a regular file in its place");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Reads a file whole; see [`open`].
///
/// # Errors
/// Those of [`open`] and of reading.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `path` from `folder`, as a person would type it: without `.` on the way.
pub fn joined(folder: &Path, path: &Path) -> PathBuf {
    let all: PathBuf = folder.join(path).components().filter(|part| *part != Component::CurDir).collect();
    if all.as_os_str().is_empty() { Path::new(".").to_owned() } else { all }
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
    let bytes = read(path).map_err(FileError::at(path))?;
    named_text(path, &bytes)
}

/// Reads text that a person names, which a pipe may hold: `/dev/stdin`, or a shell's `<(command)`.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_or_pipe(path: &Path) -> Result<String, FileError> {
    let is_given = ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|given| path.starts_with(given));
    let bytes = if is_given { fs::read(path) } else { read(path) };
    named_text(path, &bytes.map_err(FileError::at(path))?)
}

fn named_text(path: &Path, bytes: &[u8]) -> Result<String, FileError> {
    let read = text(bytes).map(str::to_owned);
    read.map_err(|error| FileError::at(path)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// A JSON file that cannot be read.
#[derive(Debug, Error)]
pub enum JsonError {
    /// It is no readable text.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its text is not the expected document; the error names line and column.
    #[error(transparent)]
    Document(#[from] serde_json::Error),
}

impl JsonError {
    /// Whether there is no such file, or the folder that it should be in is a file itself.
    pub fn is_absent(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound};
        matches!(self, JsonError::File(error) if matches!(error.source.kind(), NotFound | NotADirectory))
    }
}

/// Reads back a JSON file of results, which may have been edited or sent around; see [`text`].
///
/// # Errors
/// [`JsonError`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, JsonError> {
    Ok(serde_json::from_str(&read_text(path)?)?)
}

/// The version of a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the bytes read, 64 digits.
    pub sha256: String,
    stamp: FileStamp,
}

/// What the file system changes whenever a file is written or replaced. A program can set a file's time of modification,
/// but not that of the last change of its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// That of an open file.
    pub fn of(metadata: &fs::Metadata) -> FileStamp {
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl FileVersion {
    /// Reads a file whole.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<(Vec<u8>, FileVersion), FileError> {
        let mut bytes = Vec::new();
        let version = Self::of(path, |file| {
            file.read_to_end(&mut bytes)?;
            Ok(sha256(&bytes))
        })?;
        Ok((bytes, version))
    }

    /// The version of a file that is there now. It is read in pieces.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn now(path: &Path) -> Result<FileVersion, FileError> {
        Self::of(path, |file| {
            let mut digest = RunningDigest::default();
            digest.read(file)?;
            Ok(digest.sha256())
        })
    }

    /// The version of a file of which something was read before, when it had this stamp.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn since(stamp: FileStamp, path: &Path) -> Result<FileVersion, FileError> {
        Ok(FileVersion { stamp, ..Self::now(path)? })
    }

    /// The stamp is taken first, so that a change while the file is read shows afterwards.
    fn of(path: &Path, read: impl FnOnce(&mut File) -> io::Result<String>) -> Result<FileVersion, FileError> {
        let version = || {
            let mut file = open(path)?;
            let stamp = FileStamp::of(&file.metadata()?);
            Ok(FileVersion { path: path.to_owned(), sha256: read(&mut file)?, stamp })
        };
        version().map_err(FileError::at(path))
    }

    /// Whether the file still has the bytes that were read. They are read again only where the file system's record of it
    /// differs.
    pub fn is_current(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| FileStamp::of(&found) == self.stamp)
            || FileVersion::now(&self.path).is_ok_and(|found| found.sha256 == self.sha256)
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_path_is_shown_as_a_person_would_type_it() {
        let shown = |folder: &str, path: &str| joined(Path::new(folder), Path::new(path)).display().to_string();
        assert_eq!([shown(".", "./bert"), shown("", "bert/."), shown("./a/./b", "x")], ["bert", "bert", "a/b/x"]);
        assert_eq!([shown("experiments", "../runs"), shown(".", "/data/./x")], ["experiments/../runs", "/data/x"]);
        assert_eq!([shown(".", "."), shown("./", "")], [".", "."]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("dev.tsv");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for (path, found) in
            [(pipe.as_path(), "a pipe"), (folder.path(), "a folder"), (Path::new("/dev/zero"), "a device")]
        {
            let expected = format!("{}: it is {found}; put a regular file in its place", path.display());
            assert_eq!(read_text(path).unwrap_err().to_string(), expected);
            assert_eq!(read_text_or_pipe(path).unwrap_err().to_string(), expected);
            assert_eq!(FileVersion::read(path).unwrap_err().to_string(), expected);
            assert_eq!(FileVersion::now(path).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_version_is_current_until_the_bytes_change_whatever_size_and_time_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.tsv");
        fs::write(&path, "abc").unwrap();
        let (bytes, version) = FileVersion::read(&path).unwrap();
        assert_eq!((bytes.as_slice(), &version), (b"abc".as_slice(), &FileVersion::now(&path).unwrap()));
        assert!(version.is_current());
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let rewrite = |text: &str| {
            fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        };
        rewrite("abd");
        assert!(!version.is_current(), "another byte, the same size and time");
        rewrite("abc");
        assert!(version.is_current(), "the same bytes, written again");
        replace(&path, b"abd").unwrap();
        assert!(!version.is_current());
        fs::remove_file(&path).unwrap();
        assert!(!version.is_current());
    }
}
