//! Joins the results of several machines or shards into one folder: the same configurations, with a row for each machine
//! that ran one. The files of a merge depend on the results alone, and not on the order or the names of the folders. Only
//! its notes name the folders.

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

/// The outcome of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeSummary {
    /// Folders joined.
    pub folders: usize,
    /// Configurations of the joined plan.
    pub configurations: usize,
    /// Rows of configurations that were run.
    pub rows: usize,
    /// Environments of these rows.
    pub environments: usize,
    /// Configurations that no machine has run.
    pub pending: usize,
    /// What was left out or joined, one sentence each.
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
/// `merged.json`. Every row keeps its environment. Of several rows of one configuration and environment the newest is kept;
/// rows of different environments are all kept. `out` appears in one step. It may be an earlier merge, which is replaced.
/// The joined folders are not changed.
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
