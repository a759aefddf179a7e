//! A checkpoint's folder. Files are staged in `REVISION.part` next to it. The folder appears in one step once all of them
//! are complete and correct, so that an interrupted fetch leaves the model unfetched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FetchError;
use crate::digest::sha256_file;
use crate::files::replace;
use crate::lock::{self, Lock, Sharing};
use crate::model::{DIGESTS_FILE, PART_SUFFIX};

/// Digests that the first fetch of a folder recorded. A later fetch compares files without a pin with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digests {
    /// SHA-256 by file name.
    pub sha256: BTreeMap<String, String>,
    /// Names of the optional files that the repository does not have at this revision.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent: BTreeSet<String>,
}

/// Where a checkpoint is and where it is staged.
#[derive(Debug)]
pub(super) struct CheckpointFolder {
    target: PathBuf,
    staging: PathBuf,
    lock: PathBuf,
}

impl CheckpointFolder {
    pub fn new(target: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = OsString::from(target);
            name.push(end);
            PathBuf::from(name)
        };
        CheckpointFolder { target: target.to_owned(), staging: beside(PART_SUFFIX), lock: beside(".lock") }
    }

    /// Where files are downloaded to.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Digest of a file of the checkpoint; `None` if it does not exist.
    pub fn sha256(&self, name: &str) -> Result<Option<String>, FetchError> {
        digest(&self.target.join(name))
    }

    /// Digest of a staged file; `None` if it does not exist.
    pub fn staged_sha256(&self, name: &str) -> Result<Option<String>, FetchError> {
        digest(&self.staging.join(name))
    }

    /// The digests that an earlier fetch recorded; none if the record cannot be read.
    pub fn digests(&self) -> Digests {
        let json = fs::read(self.target.join(DIGESTS_FILE)).unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// Creates the folder of the lock file and takes the lock. If another process holds it, calls `busy` and waits.
    pub fn lock(&self, busy: impl FnOnce()) -> Result<Lock, FetchError> {
        if let Some(parent) = self.lock.parent() {
            fs::create_dir_all(parent).map_err(FetchError::io(parent))?;
        }
        Ok(lock::wait(&self.lock, Sharing::Exclusive, busy)?)
    }

    /// Creates the staging folder.
    pub fn stage(&self) -> Result<(), FetchError> {
        fs::create_dir_all(&self.staging).map_err(FetchError::io(&self.staging))
    }

    /// Removes the staging folder if it is empty.
    pub fn tidy(&self) {
        let _ = fs::remove_dir(&self.staging);
    }

    /// Removes the files that an earlier fetch left in the staging folder and this one does not stage.
    fn clear_all_but(&self, staged: &[String]) -> Result<(), FetchError> {
        let Ok(entries) = fs::read_dir(&self.staging) else { return Ok(()) };
        for entry in entries.flatten().filter(|entry| !staged.iter().any(|name| entry.file_name() == name.as_str())) {
            fs::remove_file(entry.path()).map_err(FetchError::io(&entry.path()))?;
        }
        Ok(())
    }

    /// Moves the staged files into the checkpoint's folder and writes the digests of all files. A new folder appears in one
    /// step.
    ///
    /// # Errors
    /// [`FetchError::Io`]; the next fetch resumes.
    pub fn publish(&self, staged: &[String], digests: &Digests) -> Result<(), FetchError> {
        self.clear_all_but(staged)?;
        let json = serde_json::to_vec_pretty(digests).unwrap_or_default();
        let record = |folder: &Path| {
            let path = folder.join(DIGESTS_FILE);
            replace(&path, &json).map_err(FetchError::io(&path))
        };
        if !self.target.exists() {
            record(&self.staging)?;
            return fs::rename(&self.staging, &self.target).map_err(FetchError::io(&self.target));
        }
        for name in staged {
            let target = self.target.join(name);
            fs::rename(self.staging.join(name), &target).map_err(FetchError::io(&target))?;
        }
        record(&self.target)?;
        self.tidy();
        Ok(())
    }
}

fn digest(path: &Path) -> Result<Option<String>, FetchError> {
    match sha256_file(path) {
        Ok(digest) => Ok(Some(digest)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FetchError::io(path)(error)),
    }
}
