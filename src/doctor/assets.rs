//! Checks the files that the manifests under experiments/ need: checkpoints, text, labelled sentences.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Area, Diagnosis, Readiness};
use crate::input::InputSource;
use crate::manifest::schema::Manifest;
use crate::manifest::{LoadedManifest, names_in, without_parents};
use crate::model::{CHECKPOINT_FILES, ModelSource, hub_folder};
use crate::plan::Plan;

/// Folder of the manifests.
const EXPERIMENTS: &str = "experiments";

/// Folder into which container/setup.sh unpacks wheels.
const WHEELS: &str = "runs/wheels";

/// The manifests and the files they need.
pub(super) struct Assets {
    /// Manifests that could be read, by file name.
    pub experiments: Vec<SurveyedExperiment>,
    /// Folders of complete checkpoints.
    pub checkpoints: BTreeSet<PathBuf>,
    unreadable: Vec<Diagnosis>,
}

/// One manifest and the files it lacks on this machine.
pub(super) struct SurveyedExperiment {
    /// Path as a user types it, `experiments/quick.yaml`.
    pub file: String,
    /// Its configurations.
    pub plan: Plan,
    /// Names of models that cannot be opened here.
    pub absent_models: BTreeSet<String>,
    /// Names of inputs that cannot be read here.
    pub absent_inputs: BTreeSet<String>,
    diagnoses: Vec<Diagnosis>,
}

impl Assets {
    pub(super) fn into_diagnoses(self) -> impl Iterator<Item = Diagnosis> {
        self.experiments.into_iter().flat_map(|experiment| experiment.diagnoses).chain(self.unreadable)
    }
}

/// Reads every manifest of the repository in `root` and looks for the files it names.
pub(super) fn survey(root: &Path) -> Assets {
    let mut assets = Assets { experiments: Vec::new(), checkpoints: BTreeSet::new(), unreadable: Vec::new() };
    let files = names_in(&root.join(EXPERIMENTS)).unwrap_or_default();
    if files.is_empty() {
        let diagnosis = Diagnosis::new(Area::Assets, "experiments/", Readiness::Missing, "no manifest in this folder");
        assets.unreadable.push(diagnosis.cured_by("run mixprec doctor from the repository's root"));
    }
    for name in files {
        let file = format!("{EXPERIMENTS}/{name}");
        match Manifest::load(&root.join(&file)) {
            Ok(loaded) => assets.add(root, file, &loaded),
            Err(error) => {
                let message = error.to_string();
                let first = message.lines().next().unwrap_or_default();
                let diagnosis = Diagnosis::new(Area::Assets, &file, Readiness::Missing, first);
                assets.unreadable.push(diagnosis.cured_by(format!("mixprec plan {file} prints every mistake")));
            }
        }
    }
    assets
}

impl Assets {
    fn add(&mut self, root: &Path, file: String, loaded: &LoadedManifest) {
        let mut experiment = SurveyedExperiment {
            file,
            plan: Plan::expand(loaded),
            absent_models: BTreeSet::new(),
            absent_inputs: BTreeSet::new(),
            diagnoses: Vec::new(),
        };
        let place = |path: &Path| DataPath::new(root, &loaded.base_dir, path);
        for model in &loaded.manifest.models {
            let (folder, diagnosis) = match model.source.base() {
                ModelSource::Random { .. } | ModelSource::Injected { .. } => continue,
                ModelSource::Checkpoint { path, .. } => checkpoint(place(path)),
                ModelSource::Hub { repository, revision, fallback, .. } => {
                    let place = place(&hub_folder(Path::new(""), repository, revision));
                    hub(place, repository, &experiment.file, fallback.map(|architecture| architecture.name()))
                }
            };
            self.checkpoints.extend(folder);
            if diagnosis.status == Readiness::Missing {
                experiment.absent_models.insert(model.name.clone());
            }
            experiment.find(&model.name, diagnosis);
        }
        for input in &loaded.manifest.inputs {
            let diagnosis = match &input.source {
                InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } => continue,
                InputSource::Text { path, .. } | InputSource::Sst2 { path, .. } => data(&place(path)),
            };
            if diagnosis.status == Readiness::Missing {
                experiment.absent_inputs.insert(input.name.clone());
            }
            experiment.find(&input.name, diagnosis);
        }
        if experiment.diagnoses.is_empty() {
            let detail = "draws its weights and ids at random: nothing to fetch";
            experiment.diagnoses.push(Diagnosis::new(Area::Assets, &experiment.file, Readiness::Ok, detail));
        }
        self.experiments.push(experiment);
    }
}

impl SurveyedExperiment {
    fn find(&mut self, name: &str, diagnosis: Diagnosis) {
        self.diagnoses.push(Diagnosis { name: format!("{}: {name}", self.file), ..diagnosis });
    }
}

/// A path in a manifest: its location, and its printed form.
struct DataPath {
    path: PathBuf,
    /// Without `experiments/..`, and relative to the repository's root if it lies inside.
    shown: PathBuf,
}

impl DataPath {
    fn new(root: &Path, base_dir: &Path, path: &Path) -> Self {
        let path = base_dir.join(path);
        let flat = without_parents(&path);
        DataPath { shown: flat.strip_prefix(without_parents(root)).map(Path::to_owned).unwrap_or(flat), path }
    }
}

fn diagnosis(status: Readiness, detail: String) -> Diagnosis {
    Diagnosis::new(Area::Assets, "", status, detail)
}

/// The files that a checkpoint folder lacks.
fn lacking(folder: &Path) -> Vec<&'static str> {
    CHECKPOINT_FILES.into_iter().filter(|name| !folder.join(name).is_file()).collect()
}

/// Diagnoses a checkpoint folder, and returns the folder if it is complete. Digests are only checked when the
/// checkpoint is opened.
fn checkpoint(place: DataPath) -> (Option<PathBuf>, Diagnosis) {
    let lacking = lacking(&place.path);
    let shown = place.shown.display();
    if lacking.is_empty() {
        return (Some(place.shown.clone()), diagnosis(Readiness::Ok, shown.to_string()));
    }
    let cure = match place.shown.strip_prefix(WHEELS) {
        Ok(wheel) => format!("container/setup.sh --{}", wheel.display()),
        Err(_) => format!("put {} into {shown}", lacking.join(", ")),
    };
    (None, diagnosis(Readiness::Missing, format!("{shown}: {} missing", lacking.join(", "))).cured_by(cure))
}

/// Like [`checkpoint`], for a folder that `mixprec fetch` creates. Random weights do not stand in for a folder that
/// exists but lacks a file.
fn hub(place: DataPath, repository: &str, manifest: &str, fallback: Option<&str>) -> (Option<PathBuf>, Diagnosis) {
    let begun = place.path.exists();
    let (found, absent) = checkpoint(place);
    if found.is_some() {
        return (found, absent);
    }
    let absent = absent.cured_by(format!("mixprec fetch {manifest}"));
    let Some(fallback) = fallback.filter(|_| !begun) else { return (None, absent) };
    let detail = format!("{repository} is not fetched: random weights of {fallback}'s size stand in");
    (None, Diagnosis { status: Readiness::Limited, detail, ..absent })
}

fn data(place: &DataPath) -> Diagnosis {
    let shown = place.shown.display();
    match place.path.is_file() {
        true => diagnosis(Readiness::Ok, shown.to_string()),
        false => {
            diagnosis(Readiness::Missing, format!("{shown}: missing")).cured_by(format!("put the file at {shown}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &Path, path: &str) -> DataPath {
        DataPath::new(root, &root.join(EXPERIMENTS), Path::new(path))
    }

    #[test]
    fn paths_are_shown_from_the_repository() {
        for root in ["", "/somewhere/repository"] {
            let place = place(Path::new(root), "../runs/wheels/minilm");
            assert_eq!(place.shown, Path::new("runs/wheels/minilm"), "{root}");
        }
        assert_eq!(without_parents(Path::new("../a/./b/../c")), Path::new("../a/c"));
        assert_eq!(place(Path::new("/r"), "../../data").shown, Path::new("/data"));
    }

    #[test]
    fn a_checkpoint_is_there_only_when_whole() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("runs/wheels/minilm");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir(root.path().join(EXPERIMENTS)).unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let (found, diagnosis) = checkpoint(place(root.path(), "../runs/wheels/minilm"));
        assert_eq!((found, diagnosis.status), (None, Readiness::Missing));
        assert_eq!(diagnosis.detail, "runs/wheels/minilm: tokenizer.json missing");
        assert_eq!(diagnosis.cure.as_deref(), Some("container/setup.sh --minilm"));
        std::fs::write(folder.join("tokenizer.json"), "").unwrap();
        let (found, diagnosis) = checkpoint(place(root.path(), "../runs/wheels/minilm"));
        assert_eq!((found, diagnosis.status), (Some("runs/wheels/minilm".into()), Readiness::Ok));
    }

    #[test]
    fn an_unfetched_hub_checkpoint_falls_back_or_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let look =
            |fallback| hub(place(root.path(), "../runs/hub/a--b/c"), "a/b", "experiments/paper.yaml", fallback).1;
        let diagnosis = look(Some("bert-base"));
        assert_eq!(diagnosis.status, Readiness::Limited);
        assert!(diagnosis.detail.contains("a/b is not fetched: random weights of bert-base's size"), "{diagnosis:?}");
        assert_eq!(diagnosis.cure.as_deref(), Some("mixprec fetch experiments/paper.yaml"));
        assert_eq!(look(None).status, Readiness::Missing);
        // A model opens a folder that exists, and then lacks its files.
        std::fs::create_dir(root.path().join(EXPERIMENTS)).unwrap();
        std::fs::create_dir_all(root.path().join("runs/hub/a--b/c")).unwrap();
        assert_eq!(look(Some("bert-base")).status, Readiness::Missing);
    }

    #[test]
    fn a_broken_manifest_is_a_finding_and_claims_are_no_manifest() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(EXPERIMENTS)).unwrap();
        for name in ["broken.yaml", "claims.yaml", "appendix.yaml", "notes.txt"] {
            std::fs::write(root.path().join(EXPERIMENTS).join(name), "nonsense: true\n").unwrap();
        }
        let diagnoses: Vec<Diagnosis> = survey(root.path()).into_diagnoses().collect();
        assert_eq!(diagnoses.len(), 1, "{diagnoses:?}");
        assert_eq!((diagnoses[0].name.as_str(), diagnoses[0].status), ("experiments/broken.yaml", Readiness::Missing));
    }
}
