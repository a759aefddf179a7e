//! Why a checkpoint is not there.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::lock::LockError;

/// A checkpoint that was not fetched, and what to do about it.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum FetchError {
    /// A variable that cannot be used. Its value is not shown: it may be a secret.
    #[error("{name}: expected {expected}; correct or unset the variable")]
    Variable { name: &'static str, expected: &'static str },
    /// No client can be made.
    #[error("cannot make connections: {0}")]
    Client(String),
    /// Two models of the manifest cannot both be right.
    #[error(
        "models `{first}` and `{second}` pin different digests of {file} of one revision of {repository}; correct one"
    )]
    Pins { first: String, second: String, file: String, repository: String },
    /// The file system refused.
    #[error("{path}: {source}; make room or restore write access, then run the same command again to go on")]
    Io { path: PathBuf, source: io::Error },
    /// The checkpoint's folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No hub answers.
    #[error("no connection: {reason}")]
    Unreachable { reason: String },
    /// The hub does not give the file.
    #[error("{file}: {reason}")]
    Refused { file: String, reason: String },
    /// The hub does not have the file.
    #[error("{file}: {reason}")]
    NotThere { file: String, reason: String },
    /// The hub broke off or was busy at every attempt.
    #[error("{file}: gave up after {attempts} attempts, the last: {reason}; run the same command again later to go on")]
    Broken { file: String, attempts: u32, reason: String },
    /// The hub asks for a longer wait than this program accepts.
    #[error("{file}: {reason} and wants {wait_s} s of quiet; run the same command again then")]
    Busy { file: String, reason: String, wait_s: u64 },
    /// The file is not the expected one.
    #[error("{file}: sha256 is {found}, {source_of_expected} {expected}; the download was deleted: {cure}")]
    Digest { file: String, found: String, source_of_expected: &'static str, expected: String, cure: &'static str },
    /// A `.json` file without a pin holds something else.
    #[error(
        "{file}: what arrived is no JSON ({reason}) and was deleted; does HF_ENDPOINT or a proxy answer with a page?"
    )]
    NotJson { file: String, reason: String },
}

impl FetchError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| FetchError::Io { path, source }
    }

    /// Whether the cause lies on this machine or in the manifest, so that every other checkpoint would fail too.
    pub(super) fn is_local(&self) -> bool {
        use FetchError::{Client, Io, Lock, Pins, Variable};
        matches!(self, Client(_) | Io { .. } | Lock(_) | Pins { .. } | Variable { .. })
    }
}
