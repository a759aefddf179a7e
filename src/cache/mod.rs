//! The engine cache: serialised engines under the digest of what they are made of.
//!
//! `FOLDER/KEY/` holds `engine.bin`, `entry.json` and small files beside the engine (the layers its inspector lists, a
//! runtime cache per GPU). KEY is the SHA-256 of graph, weights, policy formats, extent, target, library and options;
//! `entry.json` repeats those parts and holds the SHA-256 and length of every other file, and its own SHA-256.
//!
//! Deserialising an engine runs what is in it, so nothing leaves the cache unless it is, byte for byte, what was stored
//! under that key: a damaged, shortened or missing file, a file or an entry of another key in its place is reported,
//! deleted and built again. This is a guard against accidents and mix-ups. It is none against somebody who may write to
//! the folder and rewrites digests too; the folder is therefore its owner's alone (mode 0700), and one that others can
//! write to is refused.
//!
//! An entry is written into a folder of its own, synchronised and renamed into place: it is there whole or not at all.
//! Readers hold a shared lock and writers an exclusive one, both let go by the kernel when a process dies.

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

/// A folder of engines.
#[derive(Debug, Clone)]
pub struct EngineCache {
    folder: PathBuf,
    limit_bytes: u64,
}

/// What the cache has under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It, verified.
    Hit(T),
    /// Nothing.
    Miss,
    /// Something else than what was stored. It was not handed out; build anew and store.
    Damaged {
        /// What does not fit, for a message.
        reason: String,
    },
}

/// A verified engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedEngine<M> {
    /// The serialised engine: the very bytes that were hashed.
    pub engine: Vec<u8>,
    /// What the builder stored with it.
    pub metadata: M,
}

impl EngineCache {
    /// Opens the cache in `folder` and makes the folder, for its owner alone, if need be. Its limit is
    /// `MIXPREC_CACHE_LIMIT_GB` (of 10⁹ bytes), or 20 GB.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be made, is not this user's alone to write to, or the limit is no number.
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

    /// `$MIXPREC_CACHE_DIR`, else `$XDG_CACHE_HOME/mixprec/engines`, else `~/.cache/mixprec/engines`; for a user without
    /// a home a folder among the temporary ones.
    pub fn default_folder() -> PathBuf {
        folder::default_folder(|name| std::env::var_os(name), std::env::home_dir())
    }

    /// `$MIXPREC_CACHE_LIMIT_GB` in bytes, else 20 GB.
    ///
    /// # Errors
    /// [`CacheError::Limit`] when it is no number.
    pub fn default_limit_bytes() -> Result<u64, CacheError> {
        folder::limit_bytes(std::env::var_os("MIXPREC_CACHE_LIMIT_GB").as_deref())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes it may hold.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// The engine of `key`, read once and verified, with its metadata. A hit counts as a use; a damaged entry is deleted.
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
        // Meanwhile another process may have put a sound engine in its place.
        let second = self.read(key)?;
        let Lookup::Damaged { reason } = second else { return Ok(second) };
        // What cannot be deleted is still never handed out, and the next store replaces it.
        Ok(match self.remove(key.digest()) {
            Ok(()) => Lookup::Damaged { reason },
            Err(error) => Lookup::Damaged { reason: format!("{reason}; it could not be deleted: {error}") },
        })
    }

    /// The bytes of a file that [`attach`](Self::attach) put beside the engine of `key`, verified like the engine. A
    /// damaged one stays where it is, until it is attached anew or the engine goes.
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

    /// The last use is the modification time of `entry.json`. Where it cannot be set, the engine merely looks older.
    fn touch(&self, digest: &str) {
        let file = File::open(self.entry_folder(digest).join(ENTRY_FILE));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Takes an entry out in one step, so that nobody sees half of it, then deletes it. Needs the exclusive lock.
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

/// Deletes whatever is at `path`, without following links. Nothing there is fine.
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
