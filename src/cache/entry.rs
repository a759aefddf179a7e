//! One cached engine on disk: `KEY/engine.bin`, `KEY/entry.json` and attached files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::key::short;
use super::store::is_plain;
use super::{CacheError, EngineKey, key::Identity};
use crate::digest::{canonical, sha256};

/// The serialised engine.
pub(super) const ENGINE_FILE: &str = "engine.bin";
/// The parts of the engine's key, and the digests of all files.
pub(super) const ENTRY_FILE: &str = "entry.json";

/// Expected length and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileDigest {
    pub(super) bytes: u64,
    sha256: String,
}

impl FileDigest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        FileDigest { bytes: bytes.len() as u64, sha256: sha256(bytes) }
    }
}

/// The content of `entry.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryHeader {
    pub(super) key: Identity,
    pub(super) model: String,
    pub(super) policy: String,
    pub(super) engine: FileDigest,
    pub(super) attachments: BTreeMap<String, FileDigest>,
    /// Seconds since 1970.
    pub(super) created_unix_s: u64,
    pub(super) metadata: Value,
}

/// The header and the SHA-256 of its canonical JSON, as written to the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChecksummedHeader {
    entry: Value,
    sha256: String,
}

/// Why an entry cannot be read.
#[derive(Debug)]
pub(super) enum EntryError {
    /// There is no such entry.
    Absent,
    /// It differs from what was written.
    Damaged(String),
    /// The file system refused. The entry may be intact.
    Failed(CacheError),
}

impl EntryHeader {
    pub(super) fn new(key: &EngineKey, engine: &[u8], metadata: &impl Serialize) -> Result<Self, CacheError> {
        Ok(EntryHeader {
            key: key.identity.clone(),
            model: key.model.clone(),
            policy: key.policy.clone(),
            engine: FileDigest::of(engine),
            attachments: BTreeMap::new(),
            created_unix_s: unix_ms(SystemTime::now()) / 1000,
            metadata: serde_json::to_value(metadata).map_err(|source| CacheError::Metadata { source })?,
        })
    }

    /// The text of `entry.json`.
    pub(super) fn to_json(&self) -> String {
        let entry = json!(self);
        let checksummed = ChecksummedHeader { sha256: sha256(canonical(&entry).as_bytes()), entry };
        format!("{:#}\n", json!(checksummed))
    }

    /// Reads the header in `folder`. Checks that it is whole and that the folder's name is its key.
    pub(super) fn read(folder: &Path) -> Result<EntryHeader, EntryError> {
        match fs::symlink_metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(EntryError::Absent),
            Err(error) => return Err(EntryError::Failed(CacheError::io(folder)(error))),
            Ok(metadata) if !metadata.is_dir() => return Err(EntryError::Damaged("it is not a folder".to_owned())),
            Ok(_) => {}
        }
        let bytes = read_file(&folder.join(ENTRY_FILE), None)?;
        let entry = EntryHeader::parse(&bytes).map_err(EntryError::Damaged)?;
        // A valid digest does not make the names safe. Only plain names are read, so no file outside the folder is.
        if let Some(name) = entry.attachments.keys().find(|name| !is_plain(name)) {
            return Err(EntryError::Damaged(format!(
                "{ENTRY_FILE} names a file `{name}`, which cannot lie beside an engine"
            )));
        }
        let digest = entry.key.digest();
        match folder.file_name().is_some_and(|name| *name == *digest) {
            true => Ok(entry),
            false => Err(EntryError::Damaged(format!("{ENTRY_FILE} belongs to another engine, {}", short(&digest)))),
        }
    }

    fn parse(bytes: &[u8]) -> Result<EntryHeader, String> {
        let unreadable = |error: serde_json::Error| format!("{ENTRY_FILE} cannot be read: {error}");
        let ChecksummedHeader { entry, sha256: expected } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if sha256(canonical(&entry).as_bytes()) != expected {
            return Err(format!("{ENTRY_FILE} does not match its SHA-256"));
        }
        serde_json::from_value(entry).map_err(unreadable)
    }

    /// The engine in `folder`, verified against its digest.
    pub(super) fn engine(&self, folder: &Path) -> Result<Vec<u8>, EntryError> {
        verified(&folder.join(ENGINE_FILE), &self.engine)
    }

    /// An attached file, verified against its digest.
    pub(super) fn attachment(&self, folder: &Path, name: &str) -> Result<Vec<u8>, EntryError> {
        let expected = self.attachments.get(name).ok_or(EntryError::Absent)?;
        verified(&folder.join(name), expected)
    }

    /// Checks only the length of the engine's file, which is cheap.
    pub(super) fn has_engine(&self, folder: &Path) -> Result<(), EntryError> {
        open(&folder.join(ENGINE_FILE), Some(self.engine.bytes)).map(drop)
    }
}

/// Reads a file once and returns exactly the bytes that were hashed, so that they cannot change after the check.
fn verified(path: &Path, expected: &FileDigest) -> Result<Vec<u8>, EntryError> {
    let bytes = read_file(path, Some(expected.bytes))?;
    match sha256(&bytes) == expected.sha256 {
        true => Ok(bytes),
        false => Err(EntryError::Damaged(format!("{} does not match its SHA-256", file_name(path)))),
    }
}

fn read_file(path: &Path, expected_bytes: Option<u64>) -> Result<Vec<u8>, EntryError> {
    let mut file = open(path, expected_bytes)?;
    let mut bytes = Vec::new();
    let capacity = usize::try_from(expected_bytes.unwrap_or(0)).unwrap_or(0);
    let read = bytes.try_reserve_exact(capacity).map_err(io::Error::from).and_then(|()| file.read_to_end(&mut bytes));
    read.map_err(|error| EntryError::Failed(CacheError::io(path)(error)))?;
    Ok(bytes)
}

/// Opens a regular file of this length. Anything else counts as damage.
fn open(path: &Path, expected_bytes: Option<u64>) -> Result<File, EntryError> {
    let name = file_name(path);
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => EntryError::Damaged(format!("{name} is missing")),
        _ => EntryError::Failed(CacheError::io(path)(error)),
    };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(EntryError::Damaged(format!("{name} is not a regular file")));
    }
    match expected_bytes.filter(|&expected| expected != metadata.len()) {
        Some(expected) => {
            Err(EntryError::Damaged(format!("{name} has {} bytes instead of {expected}", metadata.len())))
        }
        None => File::open(path).map_err(failed),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whole milliseconds since 1970; 0 for earlier times.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
