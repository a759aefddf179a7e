//! Why results cannot be joined.

use std::path::PathBuf;

use thiserror::Error;

use crate::files::FileError;
use crate::plan::OtherRules;
use crate::provenance::EnvironmentError;
use crate::results::ResultsError;
use crate::store::StoreError;

/// Results that cannot be joined.
#[derive(Debug, Error)]
pub enum MergeError {
    /// A folder holds no results, or damaged ones.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A table cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An environment cannot be written.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A document cannot be written as JSON.
    #[error("{path}: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A run is writing to the folder.
    #[error("{path}: {holder} is using this folder; wait for its end, then merge")]
    InUse {
        /// Which folder.
        path: PathBuf,
        /// `the run with process id 123`
        holder: String,
    },
    /// Results of different experiments, or measured by different rules.
    #[error(
        "{path} beside {other}: {cause}; rows of both must not mix: measure one of them again with the manifest of the other, \
         or merge each with its like"
    )]
    Rules {
        /// Which folder.
        path: PathBuf,
        /// The folder it should go with.
        other: PathBuf,
        /// What differs.
        #[source]
        cause: OtherRules,
    },
    /// A model had different weights.
    #[error(
        "{path}: {model} was measured with other weights ({found}) than in {other} ({expected}); put the same checkpoint in \
         place on both machines and run the one that lacks it again, or merge each with its like"
    )]
    Weights {
        /// Which folder.
        path: PathBuf,
        /// Model name of the manifest.
        model: String,
        /// Its weights there.
        found: String,
        /// A folder with other weights.
        other: PathBuf,
        /// Its weights there.
        expected: String,
    },
    /// The output folder is something else.
    #[error("{path}: not of an earlier merge, and would be lost; move it away, or use another folder (--out)")]
    Occupied {
        /// What is in the way.
        path: PathBuf,
    },
    /// Nothing was given to join.
    #[error("no folder to merge; name at least one")]
    Nothing,
}
