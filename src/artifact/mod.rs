//! Publishes results as one folder. It holds the data that the paper is rendered from, names the program and machines that
//! made it, and can be checked.
//!
//! The tables at its top are those of the main experiment, as [`crate::merge`] writes them. Repeats of it and other
//! experiments lie in folders below, which `artifact.json` lists. `README.md` describes all of it, and `SHA256SUMS` has the
//! digest of every file.

mod anonymous;
mod known_paths;
mod readme;
mod searches;
mod users;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::analysis::agreement::{AgreementError, Limits, agreement};
use crate::digest::sha256;
use crate::files::FileError;
use crate::merge::{self, Input, MergeError, Merged};
use crate::provenance::Environment;
use crate::report::render::RenderError;
use crate::results::ResultsError;
use crate::results::data::{Data, slug};
use crate::results::study::{ARTIFACT_FILE, ARTIFACT_VERSION, Parts, check_experiments, is_the_same_run};
use anonymous::Anonymiser;
use readme::readme;

/// The description of the folder and of its origin.
pub const README_FILE: &str = "README.md";
/// Digests of all other files, in the format of `sha256sum --check`.
pub const CHECKSUMS_FILE: &str = "SHA256SUMS";
/// Folder of the first repeat; further ones are numbered from 2.
const REPEAT: &str = "repeat";
/// Folder of the first folder of searches; further ones are numbered from 2.
const SEARCH: &str = "search";

/// What to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRequest {
    /// Folders of the main experiment, merged where there are several.
    pub dirs: Vec<PathBuf>,
    /// Output folder; an earlier artifact there is replaced.
    pub out: PathBuf,
    /// Further runs of the main experiment.
    pub repeats: Vec<PathBuf>,
    /// Other experiments.
    pub with: Vec<PathBuf>,
    /// Folders of searches.
    pub searches: Vec<PathBuf>,
    /// Whether rows of a build that no commit names may be published.
    pub allow_dirty: bool,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSummary {
    /// Number of files.
    pub files: usize,
    /// Their size together.
    pub bytes: u64,
    /// What was left out or joined, one sentence each.
    pub notes: Vec<String>,
}

/// Results that cannot be published.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ArtifactError {
    /// They cannot be read, joined or written.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Two experiments share names and not what they stand for.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The repeat is no repeat of the experiment.
    #[error(transparent)]
    Repeat(#[from] AgreementError),
    /// The repeat is the run itself, or another of its repeats.
    #[error("{path}: the same measurements are in the artifact already; --repeat takes another run of the experiment")]
    SameRun { path: PathBuf },
    /// Rows were measured by a build that cannot be made again, like `mixprec 0.1.0, commit 0123456789ab (modified)`.
    #[error(
        "{path}: {rows} row(s) were measured by {build}, which nobody else can build; commit, build and run again, or publish \
         them all the same with --allow-dirty"
    )]
    Dirty { path: PathBuf, rows: usize, build: String },
    /// The same of a search.
    #[error(
        "{path}: searched by {build}, which nobody else can build; commit, build and search again, or publish it all the same \
         with --allow-dirty"
    )]
    DirtySearch { path: PathBuf, build: String },
    /// Two experiments have one name.
    #[error(
        "{path}: the experiment `{name}` is in the artifact already; parts of one experiment belong together before --out"
    )]
    SameExperiment { path: PathBuf, name: String },
    /// The output folder is no earlier artifact.
    #[error("{path}: not an earlier artifact, and would be lost; move it away, or use another folder (--out)")]
    Occupied { path: PathBuf },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The template of the README does not render.
    #[error("template: {0}")]
    Template(#[from] RenderError),
}

/// One experiment of the artifact.
struct PublishedExperiment {
    /// Folder below the artifact's; empty for the main experiment.
    folder: PathBuf,
    merged: Merged,
}

/// Publishes runs as an artifact. The folder appears in one step; equal results give equal bytes.
///
/// # Errors
/// [`ArtifactError`] naming the folder and the cure; `out` is then unchanged.
pub fn publish(request: &ArtifactRequest) -> Result<ArtifactSummary, ArtifactError> {
    check(&request.out)?;
    let main = part("", &request.dirs)?;
    let first = data(&main.merged);
    let mut parts = vec![main];
    let mut remarks = Vec::new();
    for (index, dir) in request.repeats.iter().enumerate() {
        let folder = numbered(REPEAT, index);
        let repeat = part(&folder, std::slice::from_ref(dir))?;
        if parts.iter().any(|known| is_the_same_run(&known.merged.rows, &repeat.merged.rows)) {
            return Err(ArtifactError::SameRun { path: dir.clone() });
        }
        let found = agreement((&request.dirs[0], &first), (dir, &data(&repeat.merged)), Limits::default())?;
        if !found.agrees() {
            remarks.push(format!("{}: {}", dir.display(), found.sentence()));
        }
        parts.push(repeat);
    }
    for dir in &request.with {
        let other = part_named_after_itself(dir)?;
        let name = &other.merged.plan.name;
        if parts.iter().any(|part| part.merged.plan.name == *name || part.folder == other.folder) {
            return Err(ArtifactError::SameExperiment { path: dir.clone(), name: name.clone() });
        }
        parts.push(other);
    }
    let dirs = request.dirs[..1].iter().chain(&request.repeats).chain(&request.with);
    let experiments = dirs.zip(&parts);
    let experiments = experiments.map(|(dir, part)| (dir.as_path(), &part.merged.plan, part.merged.rows.as_slice()));
    remarks.extend(check_experiments(&experiments.collect::<Vec<_>>())?);
    if !request.allow_dirty {
        let dirs = [&request.dirs[..], &request.repeats[..], &request.with[..]].concat();
        parts.iter().try_for_each(|part| check_build(part, &dirs))?;
    }
    let scratch = merge::beside(&request.out)?;
    for part in &parts {
        let dir = scratch.path().join(&part.folder);
        fs::create_dir_all(&dir).map_err(FileError::of_output(&dir))?;
        merge::fill(&part.merged, &dir)?;
    }
    let mut searches = Vec::new();
    for (index, dir) in request.searches.iter().enumerate() {
        let folder = numbered(SEARCH, index);
        searches::copy(dir, &scratch.path().join(&folder), request.allow_dirty)?;
        searches.push(PathBuf::from(folder));
    }
    let mut folders = parts[1..].iter().map(|part| part.folder.clone());
    let repeats = folders.by_ref().take(request.repeats.len()).collect();
    let list = Parts { version: ARTIFACT_VERSION, repeats, with: folders.collect(), searches };
    let name = request.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    write(scratch.path(), ARTIFACT_FILE, &(serde_json::to_string_pretty(&list).map_err(json)? + "\n"))?;
    write(scratch.path(), README_FILE, &readme(&name, &parts, &list.searches)?)?;
    let files = files(scratch.path())?;
    write(scratch.path(), CHECKSUMS_FILE, &checksums(&files))?;
    check(&request.out)?;
    merge::put_in_place(scratch, &request.out)?;
    let bytes = files.values().map(|(_, length)| length).sum();
    let notes = parts.into_iter().flat_map(|part| part.merged.notes).chain(remarks).collect();
    Ok(ArtifactSummary { files: files.len() + 1, bytes, notes })
}

/// `repeat`, then `repeat-2`.
fn numbered(name: &str, index: usize) -> String {
    if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) }
}

/// Refuses an output folder that holds anything but an earlier artifact.
fn check(out: &Path) -> Result<(), ArtifactError> {
    let mut entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(ArtifactError::Occupied { path: out.to_owned() });
        }
        Err(source) => return Err(FileError::at(out)(source).into()),
    };
    match entries.next() {
        Some(_) if !out.join(ARTIFACT_FILE).exists() => Err(ArtifactError::Occupied { path: out.to_owned() }),
        _ => Ok(()),
    }
}

fn part(folder: &str, dirs: &[PathBuf]) -> Result<PublishedExperiment, ArtifactError> {
    let mut inputs = dirs.iter().map(|dir| Input::read(dir)).collect::<Result<Vec<Input>, MergeError>>()?;
    let author = Anonymiser::of(&mut inputs, dirs);
    let mut merged = merge::join(inputs)?;
    author.remove_from(&mut merged).map_err(json)?;
    Ok(PublishedExperiment { folder: folder.into(), merged })
}

fn part_named_after_itself(dir: &Path) -> Result<PublishedExperiment, ArtifactError> {
    let part = part("", &[dir.to_owned()])?;
    Ok(PublishedExperiment { folder: slug(&part.merged.plan.name).into(), ..part })
}

fn data(merged: &Merged) -> Data {
    Data { plan: merged.plan.clone(), rows: merged.rows.clone(), environments: merged.environments.clone() }
}

/// Checks that a commit names the whole source of the binaries that measured these rows.
fn check_build(part: &PublishedExperiment, dirs: &[PathBuf]) -> Result<(), ArtifactError> {
    let named = |environment: &Environment| environment.build.has_its_source_in_git();
    let Some((id, environment)) = part.merged.environments.iter().find(|(_, environment)| !named(environment)) else {
        return Ok(());
    };
    let rows = part.merged.rows.iter().filter(|row| row.environment.as_ref() == Some(id)).count();
    let holds = |dir: &&PathBuf| dir.join(crate::provenance::environment::FOLDER).join(format!("{id}.json")).exists();
    let path = dirs.iter().find(holds).or(dirs.first()).cloned().unwrap_or_default();
    Err(ArtifactError::Dirty { path, rows, build: environment.build.summary() })
}

fn json(source: serde_json::Error) -> ArtifactError {
    FileError { path: ARTIFACT_FILE.into(), source: source.into() }.into()
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), ArtifactError> {
    let path = dir.join(name);
    Ok(fs::write(&path, text).map_err(FileError::of_output(&path))?)
}

/// Digest and length of every file below `dir`, by its path relative to `dir`.
fn files(dir: &Path) -> Result<BTreeMap<String, (String, u64)>, ArtifactError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(FileError::at(&folder))? {
            let path = entry.map_err(FileError::at(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = crate::files::read(&path).map_err(FileError::at(&path))?;
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            found.insert(name, (sha256(&bytes), bytes.len() as u64));
        }
    }
    Ok(found)
}

fn checksums(files: &BTreeMap<String, (String, u64)>) -> String {
    files.iter().map(|(name, (digest, _))| format!("{digest}  {name}\n")).collect()
}
