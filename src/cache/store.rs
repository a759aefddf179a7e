//! Stores engines, and small files attached to them, in the cache.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;
use tempfile::TempDir;

use super::entry::{ENGINE_FILE, ENTRY_FILE, EntryHeader, FileDigest};
use super::evict::{GcLimits, GcSummary};
use super::folder::CacheLock;
use super::{CacheError, EngineCache, EngineKey, Lookup};
use crate::files::replace;

/// Name prefix of entries being written or deleted. A holder of the exclusive lock may delete them, because only dead
/// processes can have left them.
pub(super) const PARTIAL_PREFIX: &str = ".partial-";
/// Longest name of an attachment. With `.partial` appended it must still be a valid file name.
const NAME_LIMIT: usize = 200;

/// Result of storing an engine or an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is in the cache.
    Kept {
        /// The entries deleted to make room.
        evicted: GcSummary,
    },
    /// It is not in the cache. This is no error; the engine can still be used.
    NotKept {
        /// The reason, for a message.
        reason: String,
    },
}

impl EngineCache {
    /// Stores an engine under its key and replaces any earlier one, including its attached files. Then deletes the
    /// least recently used engines until the cache is within its limit, but never the one just stored.
    ///
    /// # Errors
    /// [`CacheError`] when the file system refuses, for example on a full disk. No partial entry remains.
    pub fn store(&self, key: &EngineKey, engine: &[u8], metadata: &impl Serialize) -> Result<StoreOutcome, CacheError> {
        let entry = EntryHeader::new(key, engine, metadata)?;
        if let Some(refusal) = self.too_large(entry.engine.bytes) {
            return Ok(refusal);
        }
        let _lock = CacheLock::exclusive(self.folder())?;
        self.sweep();
        let partial = self.write(&entry, engine).map_err(CacheError::write(self.folder()))?;
        self.move_in(partial, key.digest())?;
        self.settle(key)
    }

    /// Attaches a small file to the engine of `key`. Replaces an earlier file of that name.
    ///
    /// # Errors
    /// [`CacheError::Name`] when the name is not a plain file name. Other errors when the file system refuses; an
    /// earlier file of that name may then be lost.
    pub fn attach(&self, key: &EngineKey, name: &str, bytes: &[u8]) -> Result<StoreOutcome, CacheError> {
        check_name(name)?;
        let _lock = CacheLock::exclusive(self.folder())?;
        let folder = self.entry_folder(key.digest());
        let mut entry = match Lookup::of(EntryHeader::read(&folder))? {
            Lookup::Hit(entry) => entry,
            Lookup::Miss | Lookup::Damaged { .. } => {
                return Ok(StoreOutcome::NotKept { reason: "its engine is not in the cache".to_owned() });
            }
        };
        entry.attachments.insert(name.to_owned(), FileDigest::of(bytes));
        let total = entry.attachments.values().fold(entry.engine.bytes, |sum, file| sum.saturating_add(file.bytes));
        if let Some(refusal) = self.too_large(total) {
            return Ok(refusal);
        }
        // The file is written first. A crash before the header is written leaves a file that does not match its digest
        // and is never read.
        let path = folder.join(name);
        let text = entry.to_json();
        replace(&path, bytes).map_err(CacheError::write(self.folder()))?;
        replace(&folder.join(ENTRY_FILE), text.as_bytes()).map_err(|error| {
            let _ = fs::remove_file(&path);
            CacheError::write(self.folder())(error)
        })?;
        self.settle(key)
    }

    fn too_large(&self, bytes: u64) -> Option<StoreOutcome> {
        let limit = self.limit_bytes();
        let reason =
            || format!("{bytes} bytes are more than the cache may hold, {limit} bytes; raise MIXPREC_CACHE_LIMIT_GB");
        (bytes > limit).then(|| StoreOutcome::NotKept { reason: reason() })
    }

    /// Writes an entry into its own temporary folder, which is deleted on failure.
    fn write(&self, entry: &EntryHeader, engine: &[u8]) -> io::Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PARTIAL_PREFIX).permissions(Permissions::from_mode(0o700));
        let partial = builder.tempdir_in(self.folder())?;
        write_synchronised(&partial.path().join(ENGINE_FILE), engine)?;
        write_synchronised(&partial.path().join(ENTRY_FILE), entry.to_json().as_bytes())?;
        File::open(partial.path())?.sync_all()?;
        Ok(partial)
    }

    fn move_in(&self, partial: TempDir, digest: &str) -> Result<(), CacheError> {
        let path = self.entry_folder(digest);
        match fs::symlink_metadata(&path) {
            Ok(_) => self.remove(digest)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(CacheError::io(&path)(error)),
        }
        fs::rename(partial.path(), &path).map_err(CacheError::write(self.folder()))?;
        // Nothing remains under the temporary name.
        let _ = partial.keep();
        File::open(self.folder()).and_then(|folder| folder.sync_all()).map_err(CacheError::write(self.folder()))
    }

    /// Records a use, then brings the cache within its limit without deleting the entry just stored.
    fn settle(&self, key: &EngineKey) -> Result<StoreOutcome, CacheError> {
        // The kernel's own time stamps lag by milliseconds and could place this use before an earlier hit.
        self.touch(key.digest());
        let limits = GcLimits { limit_bytes: Some(self.limit_bytes()), ..GcLimits::default() };
        Ok(StoreOutcome::Kept { evicted: self.collect(&limits, Some(key.digest()))? })
    }

    /// Deletes leftovers of dead writers. Needs the exclusive lock. `mixprec cache ls` lists those that cannot be
    /// deleted.
    pub(super) fn sweep(&self) {
        for leftover in self.leftovers().unwrap_or_default() {
            let _ = super::delete(&self.folder().join(&leftover.name));
        }
    }
}

fn write_synchronised(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn check_name(name: &str) -> Result<(), CacheError> {
    if is_plain(name) { Ok(()) } else { Err(CacheError::Name { name: name.to_owned() }) }
}

/// Whether the name is a plain file name that an attachment may have.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let reserved = [ENGINE_FILE, ENTRY_FILE].contains(&name) || name.ends_with(".partial");
    begins_well && name.bytes().all(plain) && !reserved && name.len() <= NAME_LIMIT
}
