//! The reviewer's appendix of an artifact evaluation. It leads from each claim to an experiment, its commands, and the time,
//! disk, memory and hardware that they need. It is filled in from the manifests, the claims and the given results, and says
//! where nothing was measured.

pub mod author;
pub mod document;
pub mod experiment;
pub mod folder;
mod render;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::claims::{Claims, ClaimsError};
use crate::files::FileError;
use crate::manifest::{LoadedManifest, ManifestError, names_in, schema::Manifest};
use crate::plan::Plan;
use crate::results::ResultsError;
use author::Author;
use document::{Appendix, document};
use experiment::PlannedExperiment;
use folder::ResultsFolder;
pub use render::DocumentFormat;

/// File name of the claims inside the folder of the manifests.
const CLAIMS_FILE: &str = "claims.yaml";

/// The sources of an appendix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendixRequest {
    /// Folder of the manifests, `claims.yaml` and `appendix.yaml`.
    pub experiments: PathBuf,
    /// Results folders and artifacts; none is allowed.
    pub dirs: Vec<PathBuf>,
}

/// An appendix that could not be made.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum AppendixError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no folder of manifests.
    #[error("{path}: {source}; name the folder of the manifests with --experiments")]
    NoExperiments { path: PathBuf, source: std::io::Error },
    /// The authors' file is wrong; the place is `file:line:column`.
    #[error("{place}: {message}")]
    Author { place: String, message: String },
    /// A manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The claims cannot be read.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Results cannot be read.
    #[error(transparent)]
    Report(#[from] ResultsError),
    /// A results folder belongs to no manifest.
    #[error(
        "{dir}: holds a run of `{name}`, which no manifest in {experiments} has as its name; name its folder with --experiments"
    )]
    Stranger { dir: String, name: String, experiments: PathBuf },
    /// Two manifests have one name.
    #[error("{path}: its name `{name}` is that of another manifest beside it; give each its own")]
    Twins { path: PathBuf, name: String },
    /// A template does not render.
    #[error("template: {0}")]
    Template(#[from] crate::report::render::RenderError),
}

/// Reads everything the request names and puts the appendix together. Equal files give an equal appendix.
///
/// # Errors
/// [`AppendixError`] naming the file and the cure.
pub fn appendix(request: &AppendixRequest) -> Result<Appendix, AppendixError> {
    let experiments = &request.experiments;
    let manifests = manifests(experiments)?;
    let claims = match Claims::load(&experiments.join(CLAIMS_FILE)) {
        Err(ClaimsError::File(FileError { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => {
            Claims::builtin()?
        }
        other => other?,
    };
    let author = Author::load(experiments)?;
    let folders: Vec<Vec<ResultsFolder>> =
        request.dirs.iter().map(|dir| ResultsFolder::read(dir, &claims)).collect::<Result<_, AppendixError>>()?;
    let folders: Vec<ResultsFolder> = folders.into_iter().flatten().collect();
    let known = |folder: &&ResultsFolder| manifests.iter().any(|(_, one)| one.manifest.name == folder.data.plan.name);
    if let Some(stranger) = folders.iter().find(|folder| !known(folder)) {
        let (dir, name) = (stranger.label.clone(), stranger.data.plan.name.clone());
        return Err(AppendixError::Stranger { dir, name, experiments: experiments.clone() });
    }
    Ok(of(&author, &claims, &manifests, &folders))
}

/// The appendix of files that have been read already. Each manifest has the path that a person types for it.
pub fn of(
    author: &Author,
    claims: &Claims,
    manifests: &[(String, LoadedManifest)],
    folders: &[ResultsFolder],
) -> Appendix {
    let mut described: Vec<PlannedExperiment<'_>> = manifests
        .iter()
        .map(|(path, loaded)| {
            let name = &loaded.manifest.name;
            PlannedExperiment {
                path: path.clone(),
                loaded,
                plan: Plan::expand(loaded),
                runs: folders.iter().filter(|folder| folder.data.plan.name == *name).collect(),
                effort: author.experiments.get(name).cloned().unwrap_or_default(),
                claims: claims.claims.iter().filter(|one| one.experiment == *name).map(|one| one.id.clone()).collect(),
            }
        })
        .collect();
    // The shortest first, for a reviewer with little time.
    described.sort_by(|a, b| a.estimated_s().total_cmp(&b.estimated_s()).then_with(|| a.path.cmp(&b.path)));
    document(author, claims, &described, folders)
}

/// Every manifest of a folder, by file name.
fn manifests(folder: &Path) -> Result<Vec<(String, LoadedManifest)>, AppendixError> {
    let absent = |source| AppendixError::NoExperiments { path: folder.to_owned(), source };
    let paths = names_in(folder).map_err(absent)?.into_iter().map(|name| folder.join(name));
    let mut loaded: Vec<(String, LoadedManifest)> = Vec::new();
    for path in paths {
        let manifest = Manifest::load(&path)?;
        let name = &manifest.manifest.name;
        if loaded.iter().any(|(_, other)| other.manifest.name == *name) {
            return Err(AppendixError::Twins { name: name.clone(), path });
        }
        loaded.push((path.display().to_string(), manifest));
    }
    Ok(loaded)
}
