//! One folder of results, read whole.

use std::path::{Path, PathBuf};

use super::MergeError;
use crate::results::data::Data;
use crate::runner;
use crate::store::schema::SampleRow;
use crate::store::{StoreError, derive, journal, parquet};

/// A results folder: that of a run, one published without its journal, or an earlier merge.
#[derive(Debug, Clone)]
pub struct Input {
    /// The folder, for messages.
    pub dir: PathBuf,
    /// Plan, rows and environments.
    pub data: Data,
    /// Every timed execution of the rows.
    pub samples: Vec<SampleRow>,
    /// Remarks about the folder, one sentence each.
    pub notes: Vec<String>,
}

impl Input {
    /// Reads a folder without changing it: the rows from its journal if it has one, otherwise from its tables.
    ///
    /// # Errors
    /// [`MergeError`] naming the file or folder that is absent, damaged, of another version or in use.
    pub fn read(dir: &Path) -> Result<Input, MergeError> {
        if let Some(holder) = runner::in_use(dir) {
            return Err(MergeError::InUse { path: dir.to_owned(), holder });
        }
        let data = Data::read(dir)?;
        let mut notes = Vec::new();
        let samples = if dir.join(journal::JOURNAL_FILE).exists() {
            let contents = journal::read(dir).map_err(StoreError::from)?;
            if contents.tail_damaged {
                notes.push(format!("{}: the journal's torn last line was left out", dir.display()));
            }
            derive::samples(&data.plan, &contents.records)
        } else {
            parquet::read_samples(dir)?
        };
        Ok(Input { dir: dir.to_owned(), data, samples, notes })
    }
}
