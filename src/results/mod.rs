//! Results as they are read back: a run, an artifact or a merge, checked against what they are derived from.

pub mod consistency;
pub mod data;
pub mod machines;
pub mod peers;
pub mod searches;
pub mod study;

use std::path::PathBuf;

use thiserror::Error;

use crate::files::{FileError, JsonError};
use crate::plan::OtherRules;
use crate::provenance::EnvironmentError;
use crate::store::StoreError;
use crate::store::materials::Contradiction;

/// Results that cannot be read, or do not belong together.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ResultsError {
    /// The folder holds no run.
    #[error("{path}: no plan.json, so this is not the folder of a run; give the folder that `mixprec run` wrote")]
    NoRun { path: PathBuf },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The plan cannot be read.
    #[error("{path}: not a plan of this version: {source}; run `mixprec run` again on this folder")]
    Plan { path: PathBuf, source: serde_json::Error },
    /// The results are those of another plan.
    #[error(
        "{path}: results.parquet does not hold the configurations of plan.json; run `mixprec run` again on this folder, \
         to its end"
    )]
    OtherPlan { path: PathBuf },
    /// An artifact's list of parts cannot be read.
    #[error("{path}: not the list of an artifact's parts: {detail}")]
    Artifact { path: PathBuf, detail: String },
    /// An experiment is given twice.
    #[error(
        "{path}: the experiment `{name}` is in this report already; give other experiments with --with, a second run of the \
         main one with --repeat, and parts of one experiment to `mixprec merge`"
    )]
    SameExperiment { path: PathBuf, name: String },
    /// Two experiments have one name for two versions of a file.
    #[error("{0}; give the two different names in the manifests, or run one of them again with the file of the other")]
    OtherMaterial(Box<Contradiction>),
    /// Two experiments have one name for two definitions.
    #[error("{path} beside {other}: {cause}; give the two different names in the manifests")]
    OtherDefinition {
        path: PathBuf,
        other: PathBuf,
        #[source]
        cause: OtherRules,
    },
    /// A repeat is the run itself, or another of its repeats.
    #[error("{path}: the same measurements are in this report already; --repeat takes another run of the experiment")]
    SameRun { path: PathBuf },
    /// A table cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder holds no search.
    #[error("{path}: no certificate.json in it or below it; give the folder that `mixprec search` wrote")]
    NoSearch { path: PathBuf },
    /// The table of a comparison with peers cannot be read.
    #[error("{path}: {detail}; write it with `make peers`")]
    Peers { path: PathBuf, detail: String },
    /// A certificate cannot be read.
    #[error("{path}: not a certificate: {source}; run `mixprec search` again")]
    Certificate { path: PathBuf, source: JsonError },
    /// A row's environment is not in the folder.
    #[error("{path} is missing, but rows name it as their environment; restore it from the machine that ran them")]
    NoEnvironment { path: PathBuf },
    /// An environment cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}
