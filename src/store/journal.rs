//! The append-only journal of a run. It is the only file that is not derived, and it survives any kill.
//!
//! Each line holds 16 hexadecimal digits of SHA-256, a space and a JSON document. The first line is the [`Header`];
//! every other line is a [`Record`]. A line is appended in one write and synchronised before the next configuration
//! starts. The last record of a configuration counts.

mod damage;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::sha256;
use crate::plan::{ConfigurationId, Plan};
use crate::record::{Outcome, Record};

/// The journal's file name inside a run's folder.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// Name of the file to which damaged lines are moved.
pub const DAMAGED_FILE: &str = "journal.damaged";

/// The format version that this program reads and writes.
pub const JOURNAL_VERSION: u64 = 1;

const CHECKSUM_DIGITS: usize = 16;

/// Identifies the plan and the rules of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`JOURNAL_VERSION`] of the writer.
    pub version: u64,
    /// The manifest's name.
    pub plan: String,
    /// SHA-256 of the manifest when the journal was created. Rows are keyed by configuration, so the manifest may
    /// change later.
    pub manifest_sha256: String,
    /// Hash of the rules by which configurations are measured and compared. They may not change.
    pub protocol_sha256: String,
}

impl Header {
    /// The header of a plan's journal, as this program writes it.
    pub fn of(plan: &Plan) -> Header {
        Header {
            version: JOURNAL_VERSION,
            plan: plan.name.clone(),
            manifest_sha256: plan.manifest_sha256.clone(),
            protocol_sha256: plan.protocol_sha256(),
        }
    }
}

/// A journal that cannot be read, continued or written.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum JournalError {
    /// The file system refused.
    #[error("{path}: {source}; make room or restore access, then run the same command again")]
    Io { path: PathBuf, source: io::Error },
    /// A row could not be written. All earlier rows are intact.
    #[error(
        "{path}: cannot append the row of {id}: {source}; all earlier rows are intact: make room or restore write access, \
         then run the same command again to go on"
    )]
    Append {
        path: PathBuf,
        /// The configuration whose row is lost.
        id: ConfigurationId,
        source: io::Error,
    },
    /// Lines before the last one do not match their checksum.
    #[error(
        "{path}:{line}: {count} damaged line(s), the first here, do(es) not match the checksum; run again with --force to \
         move damaged lines to {DAMAGED_FILE} and redo their configurations"
    )]
    Damaged {
        path: PathBuf,
        /// First damaged line, from 1.
        line: usize,
        /// Damaged lines in all.
        count: usize,
    },
    /// Written by another version of the program.
    #[error("{path}: journal version {found}, this program reads {JOURNAL_VERSION}; use another folder (--out)")]
    Version { path: PathBuf, found: u64 },
    /// The rows were measured under other rules.
    #[error(
        "{path}: its rows were measured under other measurement, numerics or tolerance settings (protocol {found}, this \
         manifest {wanted}); rows of both must not mix: use another folder (--out) or restore the settings"
    )]
    Protocol {
        path: PathBuf,
        /// First digits of the journal's protocol hash.
        found: String,
        /// First digits of the plan's.
        wanted: String,
    },
    /// There is no journal, or only a damaged first line.
    #[error("{path}: no journal of a run; `mixprec run` writes one")]
    Absent { path: PathBuf },
}

/// The contents of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalContents {
    /// The plan and the rules it belongs to.
    pub header: Header,
    /// All records, in the order written.
    pub records: Vec<Record>,
    /// Whether the last line is torn or damaged. It is not among the records.
    pub tail_damaged: bool,
}

impl JournalContents {
    /// The last record of each configuration, which is the one that counts.
    pub fn latest(&self) -> BTreeMap<&ConfigurationId, &Record> {
        self.records.iter().map(|record| (&record.id, record)).collect()
    }

    /// The last record of each configuration that did not fail.
    pub fn latest_without_failures(&self) -> BTreeMap<&ConfigurationId, &Record> {
        let records = self.records.iter().filter(|record| !matches!(record.outcome, Outcome::Failed(_)));
        records.map(|record| (&record.id, record)).collect()
    }
}

/// Reads the journal of a run's folder without changing it. A damaged last line is left out.
///
/// # Errors
/// [`JournalError`] when it is absent, unreadable, of another version or damaged before its last line.
pub fn read(dir: &Path) -> Result<JournalContents, JournalError> {
    let path = dir.join(JOURNAL_FILE);
    let bytes = match crate::files::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::Absent { path }),
        other => other.map_err(|source| JournalError::Io { path: path.clone(), source })?,
    };
    let scan = damage::scan(&bytes);
    scan.contents(&path)?.ok_or(JournalError::Absent { path })
}

/// What to do with damaged lines before the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Refuse with an error that names the line and the cure.
    Refuse,
    /// Move damaged lines to [`DAMAGED_FILE`]. Their configurations count as not run.
    SetAside,
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

/// An open journal and the contents it had when opened.
#[derive(Debug)]
pub struct OpenedJournal {
    /// The journal, for appending.
    pub journal: Journal,
    /// The contents found.
    pub contents: JournalContents,
    /// Messages to the user about repairs.
    pub notices: Vec<String>,
}

impl Journal {
    /// Opens the journal of a run's folder, or creates it. A kill or a power cut can leave a torn or damaged last line.
    /// That line is removed with a notice.
    ///
    /// # Errors
    /// [`JournalError`]; the file is then unchanged.
    pub fn open(dir: &Path, header: &Header, on_damage: OnDamage) -> Result<OpenedJournal, JournalError> {
        let path = dir.join(JOURNAL_FILE);
        let bytes = match crate::files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|source| JournalError::Io { path: path.clone(), source })?,
        };
        let (bytes, notices) = damage::repair(&path, bytes, header, on_damage)?;
        let contents = damage::scan(&bytes).contents(&path)?.ok_or(JournalError::Absent { path: path.clone() })?;
        let io_error = |source| JournalError::Io { path: path.clone(), source };
        let file = OpenOptions::new().append(true).open(&path).map_err(io_error)?;
        Ok(OpenedJournal { journal: Journal { path, file, length: bytes.len() as u64 }, contents, notices })
    }

    /// Appends a record and waits until it is on disk. On failure, the journal is truncated to its last whole row.
    ///
    /// # Errors
    /// [`JournalError::Append`].
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let error = |source| JournalError::Append { path: self.path.clone(), id: record.id.clone(), source };
        let line = encode(record).map_err(error)?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let error = error(source);
            // If this fails too, the next run removes the torn line.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// Encodes a document as a line with its checksum.
pub(crate) fn encode<T: Serialize>(document: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(document).map_err(io::Error::other)?;
    let mut line = checksum(&json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// Decodes the document of a line without its newline. `None` when the line is damaged.
pub(crate) fn decode<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
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
