//! Digests of a checkpoint's files as they lie in its folder, whether or not a model can be made of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkpoint::weights_sha256;
use super::hub::{INDEX_FILE, WEIGHTS_FILE};
use super::{TOKENIZER_FILES, shards};
use crate::files::FileVersion;

/// SHA-256 of the files of a checkpoint and of an input, 64 digits each; `None` or no entry for a file that is absent,
/// unreadable or not wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RawFiles {
    /// Of config.json.
    pub config_sha256: Option<String>,
    /// Of the weights, as [`super::WeightsOrigin::Folder`] has it.
    pub weights_sha256: Option<String>,
    /// Of each file that decides token ids, by name.
    pub tokenizer: BTreeMap<String, String>,
    /// Of the input's file.
    pub input_sha256: Option<String>,
}

impl RawFiles {
    /// Reads the bytes of every file of a checkpoint's folder, and of an input's file.
    pub fn of(folder: Option<&Path>, input: Option<&Path>) -> RawFiles {
        let input_sha256 = input.and_then(|path| FileVersion::now(path).ok()).map(|version| version.sha256);
        let Some(folder) = folder else { return RawFiles { input_sha256, ..RawFiles::default() } };
        let digest = |name: &str| Some(FileVersion::now(&folder.join(name)).ok()?.sha256);
        let tokenizer = TOKENIZER_FILES.iter().filter_map(|&name| Some((name.to_owned(), digest(name)?)));
        RawFiles {
            config_sha256: digest("config.json"),
            weights_sha256: weights(folder),
            tokenizer: tokenizer.collect(),
            input_sha256,
        }
    }
}

/// Of model.safetensors or, without it, of the shards and their index.
fn weights(folder: &Path) -> Option<String> {
    let one = folder.join(WEIGHTS_FILE);
    if one.exists() {
        return Some(FileVersion::now(&one).ok()?.sha256);
    }
    let index = folder.join(INDEX_FILE);
    let mut paths: Vec<_> = shards::names(&index).ok()?.into_iter().map(|name| folder.join(name)).collect();
    paths.push(index);
    paths.sort();
    let versions: Option<Vec<_>> = paths.iter().map(|path| FileVersion::now(path).ok()).collect();
    versions.map(|versions| weights_sha256(&versions))
}
