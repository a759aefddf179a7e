//! Why the cache cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A cache that cannot be opened, read or written. None of these stops an engine from being built: go on without a cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("{path}: {source}; restore access, or set MIXPREC_CACHE_DIR to another folder")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry could not be written; nothing of it is left.
    #[error(
        "{path}: cannot keep an engine: {source}; make room (`mixprec cache gc`), or set MIXPREC_CACHE_DIR to a folder on \
         another disk"
    )]
    Write {
        /// The cache's folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could put engines there, and an engine runs what is in it.
    #[error("{path}: {reason}; {cure}, or set MIXPREC_CACHE_DIR to a folder of your own")]
    Unsafe {
        /// The cache's folder.
        path: PathBuf,
        /// Who can write to it.
        reason: String,
        /// What to do about it.
        cure: String,
    },
    /// The size limit is not a number.
    #[error("MIXPREC_CACHE_LIMIT_GB is `{value}`; give a number of gigabytes, e.g. 20, or 0 to cache nothing")]
    Limit {
        /// What it says.
        value: String,
    },
    /// A file that cannot be kept beside an engine.
    #[error(
        "`{name}` cannot be the name of a file beside an engine; use letters, digits, `.`, `_` and `-`, begin with a letter \
         or digit, and avoid the cache's own names"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The caller's metadata have no JSON form.
    #[error("the engine's metadata cannot be written as JSON: {source}")]
    Metadata {
        /// Why.
        source: serde_json::Error,
    },
}

impl CacheError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        move |source| CacheError::Io { path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        move |source| CacheError::Write { path: path.to_owned(), source }
    }
}
