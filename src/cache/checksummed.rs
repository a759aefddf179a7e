//! Small files that are cheap to recreate: compiled kernels and tuning results. Each file begins with the digest of its
//! content.

use std::fs;
use std::path::PathBuf;

use super::{CacheError, EngineCache, folder};
use crate::digest::sha256;
use crate::files::replace_with;

/// Length of the checksum line: the hexadecimal digits of a SHA-256 and a line break.
const CHECKSUM_LINE: usize = 65;

/// A folder of checksummed files in the cache's folder.
#[derive(Debug, Clone)]
pub struct ChecksummedFolder {
    folder: PathBuf,
}

impl ChecksummedFolder {
    /// Opens the folder `name` in the default cache folder, and creates it if necessary.
    ///
    /// # Errors
    /// As [`EngineCache::open`].
    pub fn open(name: &str) -> Result<Self, CacheError> {
        let cache = EngineCache::default_folder();
        folder::create(&cache)?;
        folder::check(&cache)?;
        ChecksummedFolder::at(cache.join(name))
    }

    /// Opens the folder at `folder`, and creates it if necessary.
    ///
    /// # Errors
    /// As [`EngineCache::open`].
    pub fn at(folder: PathBuf) -> Result<Self, CacheError> {
        folder::create(&folder)?;
        folder::check(&folder)?;
        Ok(ChecksummedFolder { folder })
    }

    /// The content stored under `name`. `None` when there is none or it no longer matches its digest.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.folder.join(name)).ok()?;
        let (found, content) = bytes.split_at_checked(CHECKSUM_LINE)?;
        (found == checksum_line(content)).then(|| content.to_vec())
    }

    /// Writes `content` under the file name `name`. Processes that write the same name at the same time write the same
    /// content, so any of them may win.
    ///
    /// # Errors
    /// [`CacheError`] when the file system refuses.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), CacheError> {
        use std::io::Write;
        let own = self.folder.join(format!("{name}.{}", std::process::id()));
        let path = self.folder.join(name);
        let written = replace_with(&own, |file| {
            file.write_all(&checksum_line(content))?;
            file.write_all(content)
        });
        written.and_then(|()| fs::rename(&own, &path)).map_err(CacheError::io(&path))
    }
}

fn checksum_line(content: &[u8]) -> Vec<u8> {
    format!("{}\n", sha256(content)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_was_altered_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let checksummed = ChecksummedFolder::at(folder.path().join("kernels")).unwrap();
        assert_eq!(checksummed.read("a"), None);
        checksummed.write("a", b"code").unwrap();
        assert_eq!(checksummed.read("a").as_deref(), Some(b"code".as_slice()));
        let path = folder.path().join("kernels/a");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(checksummed.read("a"), None);
        fs::write(&path, b"short").unwrap();
        assert_eq!(checksummed.read("a"), None);
        assert_eq!(fs::read_dir(folder.path().join("kernels")).unwrap().count(), 1, "nothing half-written is left");
    }
}
