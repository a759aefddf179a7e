//! Why the cache cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::lock::LockError;

/// Why the cache cannot be opened, read or written. An engine can always be built without a cache.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum CacheError {
    /// The file system refused.
    #[error("{path}: {source}; restore access, or set MIXPREC_CACHE_DIR to another folder")]
    Io { path: PathBuf, source: io::Error },
    /// The folder cannot be locked.
    #[error("{0}; or set MIXPREC_CACHE_DIR to another folder")]
    Lock(#[from] LockError),
    /// An entry could not be written. No part of it remains.
    #[error(
        "{path}: cannot keep an engine: {source}; make room (`mixprec cache gc`), or set MIXPREC_CACHE_DIR to a folder on \
         another disk"
    )]
    Write { path: PathBuf, source: io::Error },
    /// Other users could store engines there, and loading an engine executes its code.
    #[error("{path}: {reason}; {cure}, or set MIXPREC_CACHE_DIR to a folder of your own")]
    Unsafe { path: PathBuf, reason: String, cure: String },
    /// The size limit is not a number.
    #[error("MIXPREC_CACHE_LIMIT_GB is `{value}`; give a number of gigabytes, e.g. 20, or 0 to cache nothing")]
    Limit { value: String },
    /// A file name that cannot be attached to an engine.
    #[error(
        "`{name}` cannot be the name of a file beside an engine; use letters, digits, `.`, `_` and `-`, begin with a letter \
         or digit, and avoid the cache's own names"
    )]
    Name { name: String },
    /// The caller's metadata cannot be written as JSON.
    #[error("the engine's metadata cannot be written as JSON: {source}")]
    Metadata { source: serde_json::Error },
}

impl CacheError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        move |source| CacheError::Io { path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        move |source| CacheError::Write { path: path.to_owned(), source }
    }
}
