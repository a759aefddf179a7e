//! Manifests: YAML files under experiments/, read strictly. Everything that is wrong is reported at once, each mistake
//! with its line, column and key path. Reading touches the manifest file and nothing else: no model, device or network.

mod axes;
mod check;
mod cursor;
mod diagnostic;
mod exclusion;
mod grid;
mod limits;
mod models;
mod noise_floor;
mod precision;
mod read;
pub mod schema;
mod searches;
mod tree;

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

pub use diagnostic::{Diagnostic, Diagnostics, Position};
pub use grid::{GridPoint, Index, product_indices, product_words};
pub use tree::MAX_BYTES;

use crate::digest::sha256;
use crate::files::without_mark;
use diagnostic::Report;
use schema::Manifest;

/// YAML files in the folder of the manifests that are not manifests: the paper's claims, and the authors' part of the
/// reviewer's appendix.
const OTHER_FILES: [&str; 2] = ["claims.yaml", "appendix.yaml"];

/// Names of the manifests in a folder, sorted.
///
/// # Errors
/// The error of reading the folder.
pub fn names_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let names = entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".yaml") && !OTHER_FILES.contains(&name.as_str())).collect();
    names.sort();
    Ok(names)
}

/// The path without pairs `NAME/..`, as a person types it: `experiments/../runs/x` becomes `runs/x`.
pub fn without_parents(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if matches!(flat.components().next_back(), Some(Component::Normal(_))) => {
                flat.pop();
            }
            Component::CurDir => {}
            other => flat.push(other),
        }
    }
    flat
}

/// A manifest, with the digest and the folder of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedManifest {
    /// The validated manifest.
    pub manifest: Manifest,
    /// SHA-256 of the file's bytes, hexadecimal.
    pub sha256: String,
    /// The folder that relative paths start from: that of the file.
    pub base_dir: PathBuf,
}

/// Why there is no manifest.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ManifestError {
    /// The file could not be read.
    #[error("{path}: cannot read the manifest: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The path is a folder or a device.
    #[error("{path}: not a file; name a manifest like experiments/quick.yaml")]
    NotAFile { path: PathBuf },
    /// The file was read and holds mistakes.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

impl Manifest {
    /// Reads and validates a manifest file.
    ///
    /// # Errors
    /// [`ManifestError`]; [`ManifestError::Invalid`] holds every mistake of the file.
    pub fn load(path: &Path) -> Result<LoadedManifest, ManifestError> {
        let file_name = path.display().to_string();
        let bytes = read_bounded(path)?;
        let content = without_mark(&bytes);
        let text = std::str::from_utf8(content).map_err(|error| {
            let position = position_of(&content[..error.valid_up_to()]);
            let found = content[error.valid_up_to()];
            let message = format!("found the byte 0x{found:02x}, expected UTF-8 text; save the file as UTF-8");
            Diagnostics::new(&file_name, vec![Diagnostic::at(position, message)])
        })?;
        let manifest = Manifest::parse(text, &file_name)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(LoadedManifest { manifest, sha256: sha256(&bytes), base_dir: parent.to_owned() })
    }

    /// Validates a manifest's text; `file_name` is what messages call it.
    ///
    /// # Errors
    /// Every mistake, ordered by position.
    pub fn parse(text: &str, file_name: &str) -> Result<Manifest, Diagnostics> {
        let root = tree::parse(text).map_err(|error| Diagnostics::new(file_name, vec![error]))?;
        let mut report = Report::new(text);
        let manifest = read::manifest(&root, &mut report);
        match manifest {
            Some(manifest) if report.is_empty() => Ok(manifest),
            _ => Err(Diagnostics::new(file_name, report.into_list())),
        }
    }
}

/// The file's bytes; refuses anything over [`MAX_BYTES`] without reading it.
fn read_bounded(path: &Path) -> Result<Vec<u8>, ManifestError> {
    let failed = |source| ManifestError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(ManifestError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    if metadata.len() <= MAX_BYTES {
        // One byte more than allowed, in case the file grows meanwhile.
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    }
    let length = metadata.len().max(bytes.len() as u64);
    if length > MAX_BYTES {
        let file_name = path.display().to_string();
        return Err(Diagnostics::new(&file_name, vec![Diagnostic::at(Position::START, tree::too_large(length))]).into());
    }
    Ok(bytes)
}

/// Position of the character after `valid`.
fn position_of(valid: &[u8]) -> Position {
    let text = String::from_utf8_lossy(valid);
    let column = text.rsplit('\n').next().map_or(0, |line| line.chars().count());
    Position { line: text.matches('\n').count() as u64 + 1, column: column as u64 + 1 }
}
