//! Joins the results of several machines or shards into one folder: the same configurations, and a row for each machine
//! that ran one. What a merge writes depends on the results alone: neither on the order in which folders are given nor on
//! their names. What it remarks on the way names them.

mod error;
mod join;
mod read;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::record::Status;
pub use error::MergeError;
pub use join::{Merged, join};
pub use read::Input;
pub use write::{MERGED_FILE, beside, fill, put_in_place};

/// What a merge came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeSummary {
    /// Folders joined.
    pub folders: usize,
    /// Configurations of the joined plan.
    pub configurations: usize,
    /// Rows that some machine has of them.
    pub rows: usize,
    /// Environments these rows are from.
    pub environments: usize,
    /// Configurations that none has run.
    pub pending: usize,
    /// What was left out or joined on the way, a sentence each.
    pub notes: Vec<String>,
}

impl fmt::Display for MergeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} folder(s) joined: {} row(s) of {} configuration(s) from {} environment(s), {} not run",
            self.folders, self.rows, self.configurations, self.environments, self.pending
        )
    }
}

/// Joins the results in `dirs` into `out`: `plan.json`, `results.parquet`, `samples.parquet`, `environments/` and
/// `merged.json`. Every row keeps the environment it is from. Of several rows of one configuration and environment the
/// newest is kept; rows of different environments stand beside each other. `out` appears in one step, and may be an
/// earlier merge, which is replaced; the folders joined stay as they are.
///
/// # Errors
/// [`MergeError`] naming the folder or file and the cure; `out` is then as it was.
pub fn merge(dirs: &[PathBuf], out: &Path) -> Result<MergeSummary, MergeError> {
    // Refused before the work, and again by the write itself.
    write::check(out)?;
    let inputs = dirs.iter().map(|dir| Input::read(dir)).collect::<Result<Vec<Input>, MergeError>>()?;
    let merged = join(inputs)?;
    write::write(&merged, out)?;
    let pending = merged.rows.iter().filter(|row| row.status == Status::Pending).count();
    Ok(MergeSummary {
        folders: dirs.len(),
        configurations: merged.plan.configurations.len(),
        rows: merged.rows.len() - pending,
        environments: merged.environments.len(),
        pending,
        notes: merged.notes,
    })
}
