//! Where hub checkpoints are stored on this machine.

use std::path::{Path, PathBuf};

use super::TOKENIZER_FILES;
use crate::files::joined;

/// Folder of the fetched hub checkpoints, relative to the manifest's folder. Each lies in `OWNER--NAME/REVISION` below it.
const HUB_FOLDER: &str = "../runs/hub";

/// File name of the weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// File name of the index of weights in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The files that a checkpoint is read from. In the place of the weights may stand an index and the files that it names, in that of
/// tokenizer.json a vocabulary.
pub const CHECKPOINT_FILES: [&str; 3] = ["config.json", WEIGHTS_FILE, "tokenizer.json"];

/// The files that hold a vocabulary where a checkpoint has no tokenizer.json, either the first set or the second.
pub const VOCABULARY_FILES: [&[&str]; 2] = [&["vocab.txt"], &["vocab.json", "merges.txt"]];

/// The files of a tokenizer that a checkpoint may lack.
pub fn optional_files() -> impl Iterator<Item = &'static str> {
    let is_vocabulary = |name: &&str| VOCABULARY_FILES.iter().any(|files| files.contains(name));
    TOKENIZER_FILES.into_iter().filter(move |name| !CHECKPOINT_FILES.contains(name) && !is_vocabulary(name))
}

/// The files of [`CHECKPOINT_FILES`] that a folder lacks.
pub fn missing_files(folder: &Path) -> Vec<&'static str> {
    let all = |names: &[&str]| names.iter().all(|name| folder.join(name).is_file());
    let instead = |name: &str| match name {
        WEIGHTS_FILE => all(&[INDEX_FILE]),
        "tokenizer.json" => VOCABULARY_FILES.into_iter().any(all),
        _ => false,
    };
    CHECKPOINT_FILES.into_iter().filter(|name| !folder.join(name).is_file() && !instead(name)).collect()
}

/// Name of the file in a fetched folder in which `mixprec fetch` records the digests of the others.
pub const DIGESTS_FILE: &str = "digests.json";

/// Suffix of the names of incomplete files and folders.
pub const PART_SUFFIX: &str = ".part";

/// The folder of a hub checkpoint for a manifest in `base_dir`. A folder that exists is a fetched checkpoint.
pub fn hub_folder(base_dir: &Path, repository: &str, revision: &str) -> PathBuf {
    joined(base_dir, Path::new(HUB_FOLDER)).join(repository.replace('/', "--")).join(revision)
}
