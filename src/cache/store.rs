//! Putting engines, and small files beside them, into the cache.

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

/// Beginning of the names of what is being written or deleted. Whoever holds the exclusive lock may delete them: they
/// are what dead processes left.
pub(super) const PARTIAL_PREFIX: &str = ".partial-";
/// Characters of an attachment's name; with `.partial` added it must fit a file name.
const NAME_LIMIT: usize = 200;

/// Whether something was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is in the cache.
    Kept {
        /// What had to go for it.
        evicted: GcSummary,
    },
    /// It is not, and that is no fault: the engine can be used all the same.
    NotKept {
        /// Why, for a message.
        reason: String,
    },
}

impl EngineCache {
    /// Keeps an engine under its key, in place of what is there, then deletes the engines least recently used until the
    /// cache is within its limit; never the one just stored. Files beside an engine that was there go with it.
    ///
    /// # Errors
    /// [`CacheError`] when the file system refuses, a full disk included; nothing partial is left then.
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

    /// Keeps a small file beside the engine of `key`, in place of an earlier one of that name.
    ///
    /// # Errors
    /// [`CacheError::Name`] for a name that is no plain file name; others when the file system refuses, an earlier file
    /// of that name may then be lost.
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
        // The file goes first: a crash in between leaves one that does not match its digest and is never read.
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

    /// Writes an entry into a folder of its own; a failure deletes it.
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
        // Nothing is left under the old name.
        let _ = partial.keep();
        File::open(self.folder()).and_then(|folder| folder.sync_all()).map_err(CacheError::write(self.folder()))
    }

    /// Counts a use, then brings the cache within its limit without touching what was just stored.
    fn settle(&self, key: &EngineKey) -> Result<StoreOutcome, CacheError> {
        // The kernel's own time stamps lag by milliseconds and would put this before an earlier hit.
        self.touch(key.digest());
        let limits = GcLimits { limit_bytes: Some(self.limit_bytes()), ..GcLimits::default() };
        Ok(StoreOutcome::Kept { evicted: self.collect(&limits, Some(key.digest()))? })
    }

    /// Deletes what writers that died left. Needs the exclusive lock. What resists is listed by `mixprec cache ls`.
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

/// Whether a file of this name can lie beside an engine, and nowhere else.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let reserved = [ENGINE_FILE, ENTRY_FILE].contains(&name) || name.ends_with(".partial");
    begins_well && name.bytes().all(plain) && !reserved && name.len() <= NAME_LIMIT
}
