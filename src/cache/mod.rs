//! The engine cache. It stores serialised engines under the digest of everything that determines them.
//!
//! `FOLDER/KEY/` holds `engine.bin`, `entry.json` and small attached files (the layers that its inspector lists, a
//! runtime cache per GPU). KEY is the SHA-256 of graph, weights, policy formats, extent, target, library and options.
//! `entry.json` repeats those parts. It also holds its own SHA-256, and the SHA-256 and length of every other file.
//!
//! Deserialising an engine executes its code. The cache therefore only returns bytes that match what was stored under
//! the key. A damaged, shortened, missing or misplaced file is reported, deleted and built again. This protects against
//! accidents and mix-ups. It does not protect against an attacker who can write to the folder and recompute digests.
//! The folder is therefore accessible to its owner only (mode 0700), and a folder that others can write to is refused.
//!
//! An entry is written into a folder of its own, synchronised, and renamed into place, so it is never visible in part.
//! Readers hold a shared lock and writers an exclusive one. The kernel releases both when a process dies.

mod checksummed;
mod entry;
mod error;
mod evict;
mod folder;
mod key;
mod list;
pub mod print;
mod store;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;

pub use checksummed::ChecksummedFolder;
pub use error::CacheError;
pub use evict::{GcLimits, GcSummary, Reason, Removed};
pub use folder::bytes_of;
pub use key::{EngineKey, KeyParts, short};
pub use list::{CachedEntry, Checked, Description, Leftover, Listing};
pub use store::StoreOutcome;

use entry::{ENTRY_FILE, EntryError, EntryHeader};
use folder::CacheLock;

/// The cache in one folder.
#[derive(Debug, Clone)]
pub struct EngineCache {
    folder: PathBuf,
    limit_bytes: u64,
}

/// Result of looking up a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The verified value.
    Hit(T),
    /// Nothing is stored under the key.
    Miss,
    /// The stored bytes do not match. They were not returned; build the engine again and store it.
    Damaged {
        /// The damage, for a message.
        reason: String,
    },
}

/// A verified engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedEngine<M> {
    /// The serialised engine, exactly the bytes that were hashed.
    pub engine: Vec<u8>,
    /// The builder's metadata.
    pub metadata: M,
}

impl EngineCache {
    /// Opens the cache in `folder`. Creates the folder if necessary, with access for its owner only. The size limit is
    /// `MIXPREC_CACHE_LIMIT_GB` (of 10⁹ bytes), or 20 GB.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be created, other users can write to it, or the limit is not a number.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        folder::create(folder)?;
        EngineCache::open_existing(folder)
    }

    /// Opens the cache in `folder`, which must exist.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(folder: &Path) -> Result<Self, CacheError> {
        folder::check(folder)?;
        Ok(EngineCache { folder: folder.to_owned(), limit_bytes: EngineCache::default_limit_bytes()? })
    }

    /// The same cache with another size limit, bytes.
    pub fn with_limit(self, limit_bytes: u64) -> Self {
        EngineCache { limit_bytes, ..self }
    }

    /// `$MIXPREC_CACHE_DIR`, else `$XDG_CACHE_HOME/mixprec/engines`, else `~/.cache/mixprec/engines`. For a user
    /// without a home, a folder in the temporary directory.
    pub fn default_folder() -> PathBuf {
        folder::default_folder(|name| std::env::var_os(name), std::env::home_dir())
    }

    /// `$MIXPREC_CACHE_LIMIT_GB` in bytes, else 20 GB.
    ///
    /// # Errors
    /// [`CacheError::Limit`] when it is not a number.
    pub fn default_limit_bytes() -> Result<u64, CacheError> {
        folder::limit_bytes(std::env::var_os("MIXPREC_CACHE_LIMIT_GB").as_deref())
    }

    /// The cache's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The size limit, bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Reads and verifies the engine of `key`, with its metadata. A hit counts as a use. A damaged entry is deleted.
    ///
    /// # Errors
    /// [`CacheError`] when the file system refuses.
    pub fn lookup<M: DeserializeOwned>(&self, key: &EngineKey) -> Result<Lookup<CachedEngine<M>>, CacheError> {
        let first = {
            let _lock = CacheLock::shared(&self.folder)?;
            self.read(key)?
        };
        if !matches!(first, Lookup::Damaged { .. }) {
            return Ok(first);
        }
        let _lock = CacheLock::exclusive(&self.folder)?;
        // Another process may have replaced it by an intact engine meanwhile.
        let second = self.read(key)?;
        let Lookup::Damaged { reason } = second else { return Ok(second) };
        // An entry that cannot be deleted is still never returned, and the next store replaces it.
        Ok(match self.remove(key.digest()) {
            Ok(()) => Lookup::Damaged { reason },
            Err(error) => Lookup::Damaged { reason: format!("{reason}; it could not be deleted: {error}") },
        })
    }

    /// Reads and verifies a file that [`attach`](Self::attach) stored with the engine of `key`. A damaged file stays
    /// until it is attached again or the engine is deleted.
    ///
    /// # Errors
    /// [`CacheError`] when the file system refuses.
    pub fn attached(&self, key: &EngineKey, name: &str) -> Result<Lookup<Vec<u8>>, CacheError> {
        let _lock = CacheLock::shared(&self.folder)?;
        let folder = self.entry_folder(key.digest());
        Lookup::of(EntryHeader::read(&folder).and_then(|entry| entry.attachment(&folder, name)))
    }

    fn read<M: DeserializeOwned>(&self, key: &EngineKey) -> Result<Lookup<CachedEngine<M>>, CacheError> {
        let folder = self.entry_folder(key.digest());
        let found = EntryHeader::read(&folder).and_then(|entry| {
            let engine = entry.engine(&folder)?;
            let metadata = serde_json::from_value(entry.metadata)
                .map_err(|error| EntryError::Damaged(format!("its metadata do not fit this program: {error}")))?;
            Ok(CachedEngine { engine, metadata })
        });
        if found.is_ok() {
            self.touch(key.digest());
        }
        Lookup::of(found)
    }

    fn entry_folder(&self, digest: &str) -> PathBuf {
        self.folder.join(digest)
    }

    /// Records a use in the modification time of `entry.json`. If it cannot be set, the engine merely looks older.
    fn touch(&self, digest: &str) {
        let file = File::open(self.entry_folder(digest).join(ENTRY_FILE));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Renames an entry in one step, so that no reader sees part of it, then deletes it. Needs the exclusive lock.
    fn remove(&self, digest: &str) -> Result<(), CacheError> {
        let leaving = self.folder.join(format!("{}{digest}", store::PARTIAL_PREFIX));
        delete(&leaving)?;
        let path = self.entry_folder(digest);
        fs::rename(&path, &leaving).map_err(CacheError::io(&path))?;
        delete(&leaving)
    }
}

impl<T> Lookup<T> {
    fn of(found: Result<T, EntryError>) -> Result<Self, CacheError> {
        match found {
            Ok(found) => Ok(Lookup::Hit(found)),
            Err(EntryError::Absent) => Ok(Lookup::Miss),
            Err(EntryError::Damaged(reason)) => Ok(Lookup::Damaged { reason }),
            Err(EntryError::Failed(error)) => Err(error),
        }
    }
}

/// Deletes whatever is at `path`, without following links. An absent path is no error.
fn delete(path: &Path) -> Result<(), CacheError> {
    let deleted = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match deleted {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(CacheError::io(path)),
    }
}
