//! The append-only journal of a run: the only file that is not derived, and the one that survives any kill.
//!
//! Each line is 16 hexadecimal digits of SHA-256, a space and a JSON document; the first line is the [`Header`], every
//! other one a [`Record`]. A line is appended by one write and synchronised before the next configuration starts. Of
//! several records of one configuration the last counts.

mod damage;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::sha256;
use crate::plan::ConfigurationId;
use crate::record::Record;

/// The journal's file name inside a run's folder.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// Where damaged lines are moved to.
pub const DAMAGED_FILE: &str = "journal.damaged";

/// The format this program reads and writes.
pub const JOURNAL_VERSION: u64 = 1;

const CHECKSUM_DIGITS: usize = 16;

/// What a journal belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`JOURNAL_VERSION`] of the writer.
    pub version: u64,
    /// The manifest's name.
    pub plan: String,
    /// SHA-256 of the manifest when the journal was begun. Rows are keyed by configuration, so it may change later.
    pub manifest_sha256: String,
    /// Hash of how configurations are measured and compared. It may not change.
    pub protocol_sha256: String,
}

/// A journal that cannot be read, continued or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{path}: {source}; make room or restore access, then run the same command again")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A row could not be written; what was written before is intact.
    #[error(
        "{path}: cannot append the row of {id}: {source}; all earlier rows are intact: make room or restore write access, \
         then run the same command again to go on"
    )]
    Append {
        /// Which file.
        path: PathBuf,
        /// The configuration whose row is lost.
        id: ConfigurationId,
        /// Why.
        source: io::Error,
    },
    /// Lines before the last one do not match their checksum.
    #[error(
        "{path}:{line}: {count} damaged line(s), the first here, do(es) not match the checksum; run again with --force to \
         move damaged lines to {DAMAGED_FILE} and redo their configurations"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// First damaged line, from 1.
        line: usize,
        /// Damaged lines in all.
        count: usize,
    },
    /// Written by another version of the program.
    #[error("{path}: journal version {found}, this program reads {JOURNAL_VERSION}; use another folder (--out)")]
    Version {
        /// Which file.
        path: PathBuf,
        /// Version found.
        found: u64,
    },
    /// The rows were measured by other rules.
    #[error(
        "{path}: its rows were measured under other measurement, numerics or tolerance settings (protocol {found}, this \
         manifest {wanted}); rows of both must not mix: use another folder (--out) or restore the settings"
    )]
    Protocol {
        /// Which file.
        path: PathBuf,
        /// First digits of the journal's protocol hash.
        found: String,
        /// First digits of the plan's.
        wanted: String,
    },
    /// There is no journal, or nothing but a damaged first line.
    #[error("{path}: no journal of a run; `mixprec run` writes one")]
    Absent {
        /// Which file.
        path: PathBuf,
    },
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalContents {
    /// What it belongs to.
    pub header: Header,
    /// Every record, in the order written.
    pub records: Vec<Record>,
    /// The last line was torn or damaged and is not among the records.
    pub tail_damaged: bool,
}

impl JournalContents {
    /// The record that counts for each configuration: its last.
    pub fn latest(&self) -> BTreeMap<&ConfigurationId, &Record> {
        self.records.iter().map(|record| (&record.id, record)).collect()
    }
}

/// Reads the journal of a run's folder without changing it; a damaged last line is left out.
///
/// # Errors
/// [`JournalError`] when it is absent, unreadable, of another version or damaged before its last line.
pub fn read(dir: &Path) -> Result<JournalContents, JournalError> {
    let path = dir.join(JOURNAL_FILE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::Absent { path }),
        other => other.map_err(|source| JournalError::Io { path: path.clone(), source })?,
    };
    let scan = damage::scan(&bytes);
    scan.contents(&path)?.ok_or(JournalError::Absent { path })
}

/// What to do about damage before the last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Refuse, naming the line and the cure.
    Refuse,
    /// Move damaged lines to [`DAMAGED_FILE`]; their configurations count as not run.
    SetAside,
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

/// A journal with what it held when opened.
#[derive(Debug)]
pub struct OpenedJournal {
    /// For appending.
    pub journal: Journal,
    /// The records found, in the order written.
    pub contents: JournalContents,
    /// What was repaired, for the person at the terminal.
    pub notices: Vec<String>,
}

impl Journal {
    /// Opens the journal of a run's folder, beginning one where there is none. A torn or damaged last line, which a kill
    /// or a power cut leaves behind, is cut off with a notice.
    ///
    /// # Errors
    /// [`JournalError`]; the file is then as it was.
    pub fn open(dir: &Path, header: &Header, on_damage: OnDamage) -> Result<OpenedJournal, JournalError> {
        let path = dir.join(JOURNAL_FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|source| JournalError::Io { path: path.clone(), source })?,
        };
        let (bytes, notices) = damage::repair(&path, bytes, header, on_damage)?;
        let contents = damage::scan(&bytes).contents(&path)?.ok_or(JournalError::Absent { path: path.clone() })?;
        let io_error = |source| JournalError::Io { path: path.clone(), source };
        let file = OpenOptions::new().append(true).open(&path).map_err(io_error)?;
        Ok(OpenedJournal { journal: Journal { path, file, length: bytes.len() as u64 }, contents, notices })
    }

    /// Appends a record and waits until the disk has it. When that fails, the journal is cut back to its last whole row.
    ///
    /// # Errors
    /// [`JournalError::Append`].
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let error = |source| JournalError::Append { path: self.path.clone(), id: record.id.clone(), source };
        let line = encode(record).map_err(error)?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let error = error(source);
            // Where even this fails, the next run cuts the torn line off.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// A document as a line with its checksum.
fn encode<T: Serialize>(document: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(document).map_err(io::Error::other)?;
    let mut line = checksum(&json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// The document of a line (without its newline), or `None` when the line is damaged.
fn decode<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, rest) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    if sum != checksum(json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(json: &[u8]) -> String {
    sha256(json)[..CHECKSUM_DIGITS].to_owned()
}
