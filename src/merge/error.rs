//! Why results cannot be joined.

use std::path::PathBuf;

use thiserror::Error;

use crate::files::FileError;
use crate::plan::OtherRules;
use crate::provenance::EnvironmentError;
use crate::results::ResultsError;
use crate::store::StoreError;
use crate::store::materials::Contradiction;

/// Results that cannot be joined.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
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
    Json { path: PathBuf, source: serde_json::Error },
    /// A run is writing to the folder.
    #[error("{path}: {holder} is using this folder; wait for its end, then merge")]
    InUse { path: PathBuf, holder: String },
    /// The results belong to different experiments, or were measured under different settings.
    #[error(
        "{path} cannot be merged with {other}: {cause}; measure one of them again with the manifest of the other, or merge each \
         with its like"
    )]
    Rules {
        path: PathBuf,
        other: PathBuf,
        #[source]
        cause: OtherRules,
    },
    /// A model had different weights.
    #[error(
        "{path}: {model} was measured with other weights ({found}) than in {other} ({expected}); put the same checkpoint in \
         place on both machines and run the one that lacks it again, or merge each with its like"
    )]
    Weights { path: PathBuf, model: String, found: String, other: PathBuf, expected: String },
    /// A model, an input, the manifest or a backend had other files, settings or libraries.
    #[error("{0}; {cure}, or merge each with its like", cure = .0.cure())]
    Material(Box<Contradiction>),
    /// The output folder is no earlier merge.
    #[error("{path}: not of an earlier merge, and would be lost; move it away, or use another folder (--out)")]
    Occupied { path: PathBuf },
    /// No folder was given.
    #[error("no folder to merge; name at least one")]
    Nothing,
}
