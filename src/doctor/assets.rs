//! Checks the files that the manifests under experiments/ need: checkpoints, text, labelled sentences.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Area, Diagnosis, Readiness};
use crate::input::InputSource;
use crate::manifest::schema::Manifest;
use crate::manifest::{LoadedManifest, names_in, without_parents};
use crate::model::{ModelSource, missing_files};
use crate::plan::Plan;

/// Folder of the manifests.
const EXPERIMENTS: &str = "experiments";

/// Folder into which container/setup.sh unpacks wheels.
const WHEELS: &str = "runs/wheels";

/// Folder into which `make models` writes checkpoints, and their names.
const MODELS: &str = "runs/models";
const MADE: [&str; 3] = ["bert-base-uncased", "bert-base-cased", "bert-base-uncased-sst2"];

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
            if matches!(model.source.base(), ModelSource::Random { .. }) {
                continue;
            }
            let (folder, diagnosis) = sources(&model.source, place, &experiment.file);
            self.checkpoints.extend(folder);
            if diagnosis.status == Readiness::Missing {
                experiment.absent_models.insert(model.name.clone());
            }
            experiment.find(&model.name, diagnosis);
        }
        for input in &loaded.manifest.inputs {
            let diagnosis = match &input.source {
                InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } => continue,
                InputSource::Text { path, .. }
                | InputSource::Sst2 { path, .. }
                | InputSource::Examples { path, .. } => data(&place(path)),
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

/// Diagnoses the source of a model that a run would use, and returns its folder if it is complete. Neither another source
/// nor random weights stand in for a folder that exists but lacks a file.
fn sources(source: &ModelSource, place: impl Fn(&Path) -> DataPath, manifest: &str) -> (Option<PathBuf>, Diagnosis) {
    let mut absent: Vec<(String, Diagnosis)> = Vec::new();
    for one in source.candidates() {
        let Some(place) = one.folder(Path::new("")).map(|folder| place(&folder)) else { continue };
        let found = checkpoint(&place, one, manifest);
        if place.path.exists() {
            return found;
        }
        let words = match one {
            ModelSource::Hub { repository, .. } => format!("{repository} is not fetched"),
            _ => format!("{} is not there", place.shown.display()),
        };
        absent.push((words, found.1));
    }
    let stand_in = source.stand_in();
    if let ([(_, only)], None) = (absent.as_slice(), stand_in) {
        return (None, only.clone());
    }
    let detail = absent.iter().map(|(words, _)| words.as_str()).collect::<Vec<_>>().join(", ");
    let cures = absent.iter().filter_map(|(_, diagnosis)| diagnosis.cure.as_deref()).collect::<Vec<_>>().join(", or ");
    let found = match stand_in {
        Some((_, architecture)) => {
            let detail = format!("{detail}: random weights of {}'s size stand in", architecture.name());
            diagnosis(Readiness::Limited, detail)
        }
        None => diagnosis(Readiness::Missing, detail),
    };
    (None, found.cured_by(cures))
}

/// Diagnoses a checkpoint folder, and returns the folder if it is complete. Digests are only checked when the checkpoint is
/// opened.
fn checkpoint(place: &DataPath, source: &ModelSource, manifest: &str) -> (Option<PathBuf>, Diagnosis) {
    let lacking = missing_files(&place.path);
    let shown = place.shown.display();
    if lacking.is_empty() {
        return (Some(place.shown.clone()), diagnosis(Readiness::Ok, shown.to_string()));
    }
    let cure = match (source, place.shown.strip_prefix(WHEELS), place.shown.strip_prefix(MODELS)) {
        (ModelSource::Hub { .. }, ..) => format!("mixprec fetch {manifest}"),
        (_, Ok(wheel), _) => format!("container/setup.sh --{}", wheel.display()),
        (_, _, Ok(model)) if MADE.iter().any(|made| model == Path::new(made)) => "make models".to_owned(),
        _ => format!("put {} into {shown}", lacking.join(", ")),
    };
    (None, diagnosis(Readiness::Missing, format!("{shown}: {} missing", lacking.join(", "))).cured_by(cure))
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Architecture, CHECKPOINT_FILES};

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

    fn folder(path: &str) -> ModelSource {
        ModelSource::Checkpoint { path: path.into(), sha256: None }
    }

    fn hub(fallback: Option<Architecture>) -> ModelSource {
        let (repository, revision, sha256) = ("a/b".to_owned(), "c".to_owned(), "d".to_owned());
        ModelSource::Hub { repository, revision, sha256, fallback, files: BTreeMap::new() }
    }

    fn look(root: &Path, source: &ModelSource) -> (Option<PathBuf>, Diagnosis) {
        sources(source, |path| DataPath::new(root, &root.join(EXPERIMENTS), path), "experiments/paper.yaml")
    }

    /// A repository with its folder of manifests, and these files.
    fn root(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(EXPERIMENTS)).unwrap();
        add(root.path(), files);
        root
    }

    fn add(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn a_checkpoint_is_there_only_when_whole() {
        let root = root(&["runs/wheels/minilm/config.json", "runs/wheels/minilm/model.safetensors"]);
        let (found, diagnosis) = look(root.path(), &folder("../runs/wheels/minilm"));
        assert_eq!((found, diagnosis.status), (None, Readiness::Missing));
        assert_eq!(diagnosis.detail, "runs/wheels/minilm: tokenizer.json missing");
        assert_eq!(diagnosis.cure.as_deref(), Some("container/setup.sh --minilm"));
        add(root.path(), &["runs/wheels/minilm/tokenizer.json"]);
        let (found, diagnosis) = look(root.path(), &folder("../runs/wheels/minilm"));
        assert_eq!((found, diagnosis.status), (Some("runs/wheels/minilm".into()), Readiness::Ok));
        let (_, made) = look(root.path(), &folder("../runs/models/bert-base-cased"));
        assert_eq!(made.cure.as_deref(), Some("make models"));
    }

    #[test]
    fn an_unfetched_hub_checkpoint_falls_back_or_is_missing() {
        let root = root(&[]);
        let (_, diagnosis) = look(root.path(), &hub(Some(Architecture::BertBase)));
        assert_eq!(diagnosis.status, Readiness::Limited);
        assert!(diagnosis.detail.contains("a/b is not fetched: random weights of bert-base's size"), "{diagnosis:?}");
        assert_eq!(diagnosis.cure.as_deref(), Some("mixprec fetch experiments/paper.yaml"));
        assert_eq!(look(root.path(), &hub(None)).1.status, Readiness::Missing);
        // A model opens a folder that exists, and then lacks its files.
        std::fs::create_dir_all(root.path().join("runs/hub/a--b/c")).unwrap();
        assert_eq!(look(root.path(), &hub(Some(Architecture::BertBase))).1.status, Readiness::Missing);
    }

    #[test]
    fn of_several_sources_the_first_that_is_there_counts_even_if_it_is_damaged() {
        let root = root(&[]);
        let random = ModelSource::Random { seed: 0, architecture: Architecture::BertBase };
        let made = folder("../runs/models/bert-base-uncased");
        let several = |sources: &[&ModelSource]| ModelSource::FirstOf {
            sources: sources.iter().map(|&one| one.clone()).collect(),
        };
        let (with, without) = (several(&[&hub(None), &made, &random]), several(&[&hub(None), &made]));
        let detail = "a/b is not fetched, runs/models/bert-base-uncased is not there";
        let cure = Some("mixprec fetch experiments/paper.yaml, or make models".to_owned());
        let (_, limited) = look(root.path(), &with);
        assert_eq!((limited.status, limited.cure), (Readiness::Limited, cure.clone()));
        assert_eq!(limited.detail, format!("{detail}: random weights of bert-base's size stand in"));
        let (_, missing) = look(root.path(), &without);
        assert_eq!((missing.status, missing.detail.as_str(), missing.cure), (Readiness::Missing, detail, cure));
        add(
            root.path(),
            &CHECKPOINT_FILES
                .map(|name| format!("runs/models/bert-base-uncased/{name}"))
                .each_ref()
                .map(String::as_str),
        );
        let (found, ok) = look(root.path(), &with);
        assert_eq!((found, ok.status), (Some("runs/models/bert-base-uncased".into()), Readiness::Ok));
        add(root.path(), &["runs/hub/a--b/c/config.json"]);
        let (found, damaged) = look(root.path(), &with);
        assert_eq!((found, damaged.status), (None, Readiness::Missing));
        assert_eq!(damaged.detail, "runs/hub/a--b/c: model.safetensors, tokenizer.json missing");
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
