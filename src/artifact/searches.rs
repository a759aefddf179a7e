//! Certificates of searches, published with what is needed to check them.

use std::fs;
use std::path::Path;

use super::ArtifactError;
use crate::files::FileError;
use crate::record::certificate::CERTIFICATE_FILE;
use crate::results::searches::{certificate, folders};
use crate::search::{CERTIFICATE_PAGE, FORWARDS_FILE, POLICY_FILE};

/// Copies every certificate below `from`, with its policy and the token ids, to the same place below `to`. Journals and reference
/// outputs stay behind.
///
/// # Errors
/// [`ArtifactError`] naming the file that cannot be copied, or a search whose program nobody can build again.
pub(super) fn copy(from: &Path, to: &Path, allow_dirty: bool) -> Result<(), ArtifactError> {
    for folder in folders(from)? {
        let found = certificate(&folder)?;
        if let Some(build) = found.build.filter(|build| !allow_dirty && !build.has_its_source_in_git()) {
            return Err(ArtifactError::DirtySearch { path: folder, build: build.summary() });
        }
        let out = to.join(folder.strip_prefix(from).unwrap_or(&folder));
        fs::create_dir_all(&out).map_err(FileError::at(&out))?;
        for name in [CERTIFICATE_FILE, CERTIFICATE_PAGE, POLICY_FILE, FORWARDS_FILE] {
            let path = folder.join(name);
            fs::copy(&path, out.join(name)).map_err(FileError::at(&path))?;
        }
    }
    Ok(())
}
