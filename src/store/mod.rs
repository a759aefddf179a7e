//! Results on disk: the journal and the parquet tables derived from it.

pub mod answers;
pub mod column;
pub mod derive;
mod footer;
pub mod journal;
pub mod materials;
pub mod parquet;
mod quality;
mod sample_row;
pub mod schema;
pub(crate) mod series;
mod table;
pub(crate) mod weights;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::FileError;
use crate::plan::Plan;

/// File name of the table with one row per planned configuration.
pub const RESULTS_FILE: &str = "results.parquet";
/// File name of the table with one row per timed execution.
pub const SAMPLES_FILE: &str = "samples.parquet";

/// A table that could not be written or read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum StoreError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such table.
    #[error("{path}: no such table; `mixprec run` writes it when it ends: run it on this folder, or run it again")]
    Absent { path: PathBuf },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// The bytes differ from those that were written.
    #[error(
        "{path}: damaged table: {detail}; run `mixprec run` again on this folder to derive it anew from the journal"
    )]
    Damaged { path: PathBuf, detail: String },
    /// A value in a table does not follow from its source.
    #[error(
        "{path}: {id} was changed after it was measured: {columns} do(es) not follow from {other}; restore the folder from \
         where it was published, or run `mixprec run` again on it to derive the tables anew from the journal"
    )]
    Contradiction {
        path: PathBuf,
        id: String,
        /// Columns, separated by commas.
        columns: String,
        /// The file they should follow from.
        other: &'static str,
    },
    /// Written by a version with other columns.
    #[error(
        "{path}: table of schema version {found}, but this program reads versions {oldest} to {newest}; \
         run `mixprec run` again on this folder with this program to derive it anew from the journal, or, where there is no \
         journal, read it with the program that wrote it"
    )]
    Version {
        path: PathBuf,
        found: String,
        /// Oldest version that is read.
        oldest: u32,
        /// The version that is written.
        newest: u32,
    },
    /// The dataframe library failed.
    #[error("{path}: {source}")]
    Frame { path: PathBuf, source: polars::prelude::PolarsError },
}

/// Derives `results.parquet` and `samples.parquet` of a run's folder from its journal.
///
/// # Errors
/// [`StoreError`] when the journal cannot be read or a table cannot be written. Earlier tables then stay.
pub fn derive_tables(dir: &Path, plan: &Plan) -> Result<(), StoreError> {
    let records = journal::read(dir)?.records;
    parquet::write_samples(dir, &derive::samples(plan, &records))?;
    parquet::write_results(dir, &derive::derive(plan, &records))
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Absent { path: path.to_owned() },
            _ => FileError { path: path.to_owned(), source }.into(),
        }
    }

    fn frame(path: &Path) -> impl FnOnce(polars::prelude::PolarsError) -> StoreError {
        move |source| StoreError::Frame { path: path.to_owned(), source }
    }

    fn damaged(path: &Path, detail: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: path.to_owned(), detail: detail.into() }
    }
}
