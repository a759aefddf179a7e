//! A file that has arrived in part: `NAME.part`, and next to it a record of the whole file, so that the rest of a different
//! file is never appended to it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FetchError;
use super::hub::Remainder;
use crate::digest::RunningDigest;
use crate::files::replace;
use crate::model::PART_SUFFIX;

/// The record of the whole file. Its folder belongs to one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeFile {
    /// The digest that was expected when the download began.
    expected: Option<String>,
    /// The hub's strong entity tag.
    etag: Option<String>,
    /// Bytes of the whole file.
    total: Option<u64>,
}

/// An open partial file and the digest of its bytes.
#[derive(Debug)]
pub(super) struct PartialFile {
    target: PathBuf,
    path: PathBuf,
    about: PathBuf,
    file: File,
    digest: RunningDigest,
    bytes: u64,
    whole: WholeFile,
    /// Whether its bytes come from several responses, or from a response to an earlier process.
    pieced: bool,
}

impl PartialFile {
    /// Resumes the partial file of an earlier process, or begins a new one if there is none that can be resumed.
    pub fn open(folder: &Path, name: &str, expected: Option<&str>) -> Result<Self, FetchError> {
        let path = folder.join(format!("{name}{PART_SUFFIX}"));
        let about = folder.join(format!("{name}{PART_SUFFIX}.json"));
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut part = PartialFile {
            target: folder.join(name),
            file: opened.map_err(FetchError::io(&path))?,
            path,
            digest: RunningDigest::default(),
            bytes: 0,
            whole: WholeFile { expected: expected.map(str::to_owned), ..WholeFile::default() },
            pieced: false,
            about,
        };
        match part.left_behind() {
            Some(whole) => {
                part.bytes = part.digest.read(&mut part.file).map_err(FetchError::io(&part.path))?;
                part.pieced = part.bytes > 0;
                part.whole = whole;
                if part.whole.total.is_some_and(|total| total < part.bytes) {
                    part.restart()?;
                }
            }
            None => part.restart()?,
        }
        Ok(part)
    }

    /// The record of the earlier process, if its digest or tag can tell the rest of this file from that of another.
    fn left_behind(&self) -> Option<WholeFile> {
        let whole: WholeFile = serde_json::from_slice(&fs::read(&self.about).ok()?).ok()?;
        let known = whole.expected.is_some() || whole.etag.is_some();
        (known && whole.expected == self.whole.expected).then_some(whole)
    }

    /// Bytes that have arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the whole file, as far as known.
    pub fn total(&self) -> Option<u64> {
        self.whole.total
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.whole.total == Some(self.bytes)
    }

    /// Whether it was assembled from several responses, whose bytes may not belong together.
    pub fn is_pieced(&self) -> bool {
        self.pieced
    }

    /// The part to request next.
    pub fn rest(&self) -> Remainder {
        Remainder { start: self.bytes, etag: self.whole.etag.clone() }
    }

    /// Whether a response with this start, length and tag continues it.
    pub fn continued_by(&self, start: u64, total: Option<u64>, etag: Option<&str>) -> bool {
        let agrees = self.whole.total.is_none() || total.is_none() || self.whole.total == total;
        let same = self.whole.etag.is_none() || etag.is_none() || self.whole.etag.as_deref() == etag;
        start == self.bytes && agrees && same && (etag.is_some() || self.whole.expected.is_some())
    }

    /// Records what a response says of the whole file, before its first byte is kept.
    pub fn describe(&mut self, total: Option<u64>, etag: Option<String>) -> Result<(), FetchError> {
        self.pieced |= self.bytes > 0;
        self.whole.total = total.or(self.whole.total);
        self.whole.etag = etag.or(self.whole.etag.take());
        let json = serde_json::to_vec(&self.whole).unwrap_or_default();
        replace(&self.about, &json).map_err(FetchError::io(&self.about))
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// [`FetchError::Io`]; the bytes appended before are on disk.
    pub fn keep(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(FetchError::io(&self.path))?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Discards all bytes and begins again.
    pub fn restart(&mut self) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(FetchError::io(&self.path))?;
        self.digest = RunningDigest::default();
        self.bytes = 0;
        self.whole = WholeFile { expected: self.whole.expected.take(), ..WholeFile::default() };
        self.pieced = false;
        Ok(())
    }

    /// Digest of the bytes that have arrived.
    pub fn sha256(&self) -> String {
        self.digest.sha256()
    }

    /// The bytes that have arrived.
    pub fn contents(&self) -> Result<Vec<u8>, FetchError> {
        fs::read(&self.path).map_err(FetchError::io(&self.path))
    }

    /// Renames the file to its final name, in one step.
    pub fn finish(self) -> Result<(), FetchError> {
        self.file.sync_all().map_err(FetchError::io(&self.path))?;
        fs::rename(&self.path, &self.target).map_err(FetchError::io(&self.target))?;
        let _ = fs::remove_file(&self.about);
        Ok(())
    }

    /// Deletes the partial file and its record.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    fn begun(folder: &Path, expected: Option<&str>, etag: Option<&str>) {
        let mut part = PartialFile::open(folder, "f", expected).unwrap();
        part.describe(Some(6), etag.map(str::to_owned)).unwrap();
        part.keep(b"abc").unwrap();
    }

    #[test]
    fn a_part_is_gone_on_with_where_its_rest_can_be_told() {
        for (expected, etag) in [(Some("00"), None), (None, Some("\"1\"")), (Some("00"), Some("\"1\""))] {
            let folder = tempfile::tempdir().unwrap();
            begun(folder.path(), expected, etag);
            let mut part = PartialFile::open(folder.path(), "f", expected).unwrap();
            assert_eq!((part.bytes(), part.total(), part.is_whole()), (3, Some(6), false));
            assert!(part.continued_by(3, Some(6), etag) && !part.continued_by(0, Some(6), etag));
            assert!(!part.continued_by(3, Some(7), etag));
            assert_eq!(part.continued_by(3, Some(6), Some("\"2\"")), etag.is_none());
            part.keep(b"def").unwrap();
            assert_eq!((part.is_whole(), part.sha256()), (true, sha256(b"abcdef")));
            part.finish().unwrap();
            assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), b"abcdef");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn anything_else_is_begun_anew() {
        let fresh = |expected: Option<&str>, etag: Option<&str>, spoil: &dyn Fn(&Path), now: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            begun(folder.path(), expected, etag);
            spoil(folder.path());
            let part = PartialFile::open(folder.path(), "f", now).unwrap();
            assert_eq!((part.bytes(), part.total(), part.sha256()), (0, None, sha256(b"")));
            assert_eq!(std::fs::read(folder.path().join("f.part")).unwrap(), b"");
        };
        fresh(Some("00"), None, &|_| {}, Some("11"));
        fresh(None, None, &|_| {}, None);
        fresh(Some("00"), None, &|folder| std::fs::remove_file(folder.join("f.part.json")).unwrap(), Some("00"));
        fresh(Some("00"), None, &|folder| std::fs::write(folder.join("f.part"), "longer").unwrap(), None);
        let longer = |folder: &Path| std::fs::write(folder.join("f.part"), "longer!").unwrap();
        fresh(Some("00"), None, &longer, Some("00"));
    }
}
