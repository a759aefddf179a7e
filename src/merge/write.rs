//! Writes a merged folder, which appears complete or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use tempfile::TempDir;

use super::{MergeError, Merged};
use crate::files::{FileError, replace};
use crate::plan::PLAN_FILE;
use crate::provenance::environment;
use crate::store::{RESULTS_FILE, SAMPLES_FILE, parquet};

/// The file that marks a folder as a merge and says what is in it.
pub const MERGED_FILE: &str = "merged.json";

/// Version of [`MERGED_FILE`].
const VERSION: u64 = 1;

/// What a merged folder may hold; `mixprec report` writes `report`.
const OWN: [&str; 6] = [MERGED_FILE, PLAN_FILE, RESULTS_FILE, SAMPLES_FILE, environment::FOLDER, "report"];

/// The contents of [`MERGED_FILE`].
#[derive(Serialize)]
struct MergedDocument<'a> {
    version: u64,
    plan: &'a str,
    protocol_sha256: String,
    /// Rows by environment.
    rows: BTreeMap<&'a str, usize>,
}

/// Refuses an output folder that holds anything but an earlier merge.
pub(super) fn check(out: &Path) -> Result<(), MergeError> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(MergeError::Occupied { path: out.to_owned() });
        }
        Err(source) => return Err(FileError::at(out)(source).into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(FileError::at(out))?.file_name());
    }
    let merged = names.iter().any(|name| name == MERGED_FILE);
    match names.iter().find(|name| !merged || !OWN.iter().any(|own| name == own)) {
        Some(stranger) => Err(MergeError::Occupied { path: out.join(stranger) }),
        None => Ok(()),
    }
}

/// Writes a merged folder next to `out` and puts it in its place. An earlier merge there is replaced, with its report. If it
/// holds the same files already, nothing is touched.
pub(super) fn write(merged: &Merged, out: &Path) -> Result<(), MergeError> {
    let scratch = beside(out)?;
    fill(merged, scratch.path())?;
    check(out)?;
    if holds_the_same(scratch.path(), out) {
        return Ok(());
    }
    put_in_place(scratch, out)
}

fn parent(out: &Path) -> &Path {
    out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty folder on the file system of `out`, to be filled and moved to `out`.
///
/// # Errors
/// [`MergeError::File`].
pub fn beside(out: &Path) -> Result<TempDir, MergeError> {
    let parent = parent(out);
    fs::create_dir_all(parent).map_err(FileError::of_output(parent))?;
    let mut builder = tempfile::Builder::new();
    // Without this only the owner has access to the folder; the process's umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    // The folder's own name says nothing to the user.
    let made = builder.prefix(".merge.").tempdir_in(parent).map_err(|error| io::Error::from(error.kind()));
    Ok(made.map_err(FileError::of_output(parent))?)
}

/// Writes the files of a merged folder.
///
/// # Errors
/// [`MergeError`] naming the file.
pub fn fill(merged: &Merged, dir: &Path) -> Result<(), MergeError> {
    let json = |name: &str, bytes: serde_json::Result<Vec<u8>>| {
        let path = dir.join(name);
        let bytes = bytes.map_err(|source| MergeError::Json { path: path.clone(), source })?;
        Ok::<(), MergeError>(replace(&path, &bytes).map_err(FileError::of_output(&path))?)
    };
    json(PLAN_FILE, serde_json::to_vec_pretty(&merged.plan))?;
    parquet::write_samples(dir, &merged.samples)?;
    parquet::write_results(dir, &merged.rows)?;
    for (id, environment) in &merged.environments {
        environment.write_as(dir, id)?;
    }
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for environment in merged.rows.iter().filter_map(|row| row.environment.as_deref()) {
        *rows.entry(environment).or_default() += 1;
    }
    let (plan, protocol_sha256) = (merged.plan.name.as_str(), merged.plan.protocol_sha256());
    let contents = MergedDocument { version: VERSION, plan, protocol_sha256, rows };
    json(MERGED_FILE, serde_json::to_vec_pretty(&contents))
}

/// Whether `out` has every file of `new`, byte for byte, and no other environment.
fn holds_the_same(new: &Path, out: &Path) -> bool {
    let same =
        |name: &Path| fs::read(new.join(name)).ok().is_some_and(|bytes| fs::read(out.join(name)).ok() == Some(bytes));
    let environments = |dir: &Path| {
        let entries = fs::read_dir(dir.join(environment::FOLDER)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let names = environments(new);
    names == environments(out)
        && names.iter().all(|name| same(&Path::new(environment::FOLDER).join(name)))
        && [MERGED_FILE, PLAN_FILE, RESULTS_FILE, SAMPLES_FILE].iter().all(|name| same(Path::new(name)))
}

/// Renames `scratch` to `out`. A folder that is there already changes places with it and is deleted.
///
/// # Errors
/// [`MergeError::File`]; `out` is then as it was.
pub fn put_in_place(scratch: TempDir, out: &Path) -> Result<(), MergeError> {
    exchange(scratch, out).map_err(FileError::of_output(out))?;
    let parent = parent(out);
    Ok(fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(FileError::at(parent))?)
}

fn exchange(scratch: TempDir, out: &Path) -> io::Result<()> {
    if !out.exists() {
        fs::rename(scratch.path(), out)?;
        // The folder has its new name, so there is nothing to delete.
        let _ = scratch.keep();
        return Ok(());
    }
    match renameat_with(CWD, scratch.path(), CWD, out, RenameFlags::EXCHANGE) {
        Ok(()) => scratch.close(),
        // The file system cannot exchange names: the old folder is moved aside first.
        Err(_) => {
            let mut aside = scratch.path().as_os_str().to_owned();
            aside.push(".replaced");
            fs::rename(out, &aside)?;
            if let Err(error) = fs::rename(scratch.path(), out) {
                fs::rename(&aside, out)?;
                return Err(error);
            }
            let _ = scratch.keep();
            fs::remove_dir_all(aside)
        }
    }
}
