//! Lists and verifies the entries of the cache.

use std::cmp::Reverse;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::entry::{ENTRY_FILE, EntryError, EntryHeader, unix_ms};
use super::folder::CacheLock;
use super::key::is_digest;
use super::store::PARTIAL_PREFIX;
use super::{CacheError, EngineCache};

/// A snapshot of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Listing {
    /// Entries, the most recently used first.
    pub entries: Vec<CachedEntry>,
    /// Leftovers of interrupted writes and deletions.
    pub leftovers: Vec<Leftover>,
}

/// One cached engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedEntry {
    /// The key's digest, 64 digits.
    pub key: String,
    /// Size of all its files.
    pub bytes: u64,
    /// Time of its last store, attachment or hit, milliseconds since 1970.
    pub last_used_unix_ms: u64,
    /// Its description; `None` when it is damaged.
    pub engine: Option<Description>,
    /// Why it cannot be used, judged by `entry.json` and the engine's length. Contents are only hashed when they are
    /// read.
    pub damage: Option<String>,
}

/// Description of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Name of the model.
    pub model: String,
    /// Name of the precision policy.
    pub policy: String,
    /// Batch size and sequence length.
    pub extent: String,
    /// The GPU that it is built for.
    pub target: String,
    /// Library and version.
    pub library: String,
    /// Time when it was stored, seconds since 1970.
    pub created_unix_s: u64,
}

/// A file or folder left by an interrupted process, or being written now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Its name in the cache's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Result of hashing every file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The key's digest.
    pub key: String,
    /// The damage found; `None` when there is none.
    pub damage: Option<String>,
}

impl EngineCache {
    /// Lists the cache without taking a lock. An entry that is deleted meanwhile is left out.
    ///
    /// # Errors
    /// [`CacheError::Io`] when the folder cannot be read.
    pub fn entries(&self) -> Result<Listing, CacheError> {
        let keys = self.names()?.into_iter().filter(|name| is_digest(name));
        let mut entries: Vec<CachedEntry> = keys.filter_map(|key| self.describe(key)).collect();
        entries.sort_by(|a, b| (Reverse(a.last_used_unix_ms), &a.key).cmp(&(Reverse(b.last_used_unix_ms), &b.key)));
        Ok(Listing { entries, leftovers: self.leftovers()? })
    }

    /// Reads and hashes every file of every entry. Deletes nothing.
    ///
    /// # Errors
    /// [`CacheError`] when the file system refuses.
    pub fn verify(&self) -> Result<Vec<Checked>, CacheError> {
        let mut checked = Vec::new();
        for key in self.entries()?.entries.into_iter().map(|entry| entry.key) {
            // The lock is taken per entry, so that writers wait for one entry only.
            let _lock = CacheLock::shared(self.folder())?;
            match self.hash_all(&key) {
                Ok(()) => checked.push(Checked { key, damage: None }),
                Err(EntryError::Damaged(reason)) => checked.push(Checked { key, damage: Some(reason) }),
                Err(EntryError::Absent) => {}
                Err(EntryError::Failed(error)) => return Err(error),
            }
        }
        Ok(checked)
    }

    fn hash_all(&self, key: &str) -> Result<(), EntryError> {
        let folder = self.entry_folder(key);
        let entry = EntryHeader::read(&folder)?;
        entry.engine(&folder)?;
        entry.attachments.keys().try_for_each(|name| entry.attachment(&folder, name).map(drop))
    }

    pub(super) fn leftovers(&self) -> Result<Vec<Leftover>, CacheError> {
        let names = self.names()?.into_iter().filter(|name| name.starts_with(PARTIAL_PREFIX));
        Ok(names.map(|name| Leftover { bytes: size(&self.folder().join(&name)), name }).collect())
    }

    fn names(&self) -> Result<Vec<String>, CacheError> {
        let read = fs::read_dir(self.folder()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = read.map_err(CacheError::io(self.folder()))?;
        // The cache writes no names that are not UTF-8.
        let mut names: Vec<String> =
            entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// `None` when the entry was deleted meanwhile.
    fn describe(&self, key: String) -> Option<CachedEntry> {
        let folder = self.entry_folder(&key);
        let read = EntryHeader::read(&folder).and_then(|entry| entry.has_engine(&folder).map(|()| entry));
        let used = fs::symlink_metadata(folder.join(ENTRY_FILE)).or_else(|_| fs::symlink_metadata(&folder));
        let used = match used.and_then(|metadata| metadata.modified()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            other => other.unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let (engine, damage) = match read {
            Ok(entry) => (Some(Description::of(entry)), None),
            Err(EntryError::Damaged(reason)) => (None, Some(reason)),
            Err(EntryError::Failed(error)) => (None, Some(error.to_string())),
            Err(EntryError::Absent) => return None,
        };
        Some(CachedEntry { bytes: size(&folder), last_used_unix_ms: unix_ms(used), engine, damage, key })
    }
}

impl Description {
    fn of(entry: EntryHeader) -> Self {
        Description {
            model: entry.model,
            policy: entry.policy,
            extent: entry.key.extent,
            target: entry.key.target,
            library: entry.key.library,
            created_unix_s: entry.created_unix_s,
        }
    }
}

/// Bytes of a file, or of the files in a folder. An unreadable file counts as 0.
fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}
