//! A model as it is typed on the command line: a checkpoint folder, or an architecture with random weights.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::{Architecture, ModelSource};

/// `models/bert` (a folder), `bert-base` (random weights, seed 0) or `bert-base:7` (seed 7).
#[derive(Debug, Clone, PartialEq)]
pub struct ModelArgument {
    /// The name the model goes by: the folder's last part, or the architecture's name.
    pub name: String,
    /// The source that the argument names. A folder is opened as a checkpoint even if it does not exist, so that the error
    /// names it.
    pub source: ModelSource,
}

/// A name that both an architecture and a folder here have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is ambiguous: an architecture has this name, and a folder here; write `./{0}` for the checkpoint in the folder, or give \
     the random weights a seed, like `{1}:1`"
)]
pub struct AmbiguousModel(String, &'static str);

impl FromStr for ModelArgument {
    type Err = AmbiguousModel;

    fn from_str(text: &str) -> Result<Self, AmbiguousModel> {
        Self::read(text, Path::new("."))
    }
}

impl ModelArgument {
    /// What `text` names in the folder `here`.
    fn read(text: &str, here: &Path) -> Result<Self, AmbiguousModel> {
        let (name, seed) = text.split_once(':').unwrap_or((text, "0"));
        let architecture = Architecture::ALL.into_iter().find(|architecture| architecture.name() == name);
        match (architecture, seed.parse()) {
            (Some(architecture), Ok(_)) if here.join(text).is_dir() => {
                Err(AmbiguousModel(text.to_owned(), architecture.name()))
            }
            (Some(architecture), Ok(seed)) => {
                Ok(ModelArgument { name: name.to_owned(), source: ModelSource::Random { seed, architecture } })
            }
            _ => Ok(Self::folder(PathBuf::from(text))),
        }
    }

    fn folder(path: PathBuf) -> Self {
        let name = path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        ModelArgument { name, source: ModelSource::Checkpoint { path, sha256: None } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_random_weights_and_all_else_is_a_folder() {
        let parse = |text: &str| text.parse::<ModelArgument>().unwrap();
        let random = |seed| ModelSource::Random { seed, architecture: Architecture::Gpt2Tiny };
        assert_eq!(parse("gpt2-tiny").source, random(0));
        assert_eq!(parse("gpt2-tiny:7").source, random(7));
        for (text, name) in [("./gpt2-tiny", "gpt2-tiny"), ("models/bert/", "bert"), ("gpt2-tiny:x", "gpt2-tiny:x")] {
            let folder = ModelArgument {
                name: name.to_owned(),
                source: ModelSource::Checkpoint { path: PathBuf::from(text), sha256: None },
            };
            assert_eq!(parse(text), folder);
        }
    }
    #[test]
    fn a_folder_with_the_name_of_an_architecture_is_ambiguous() {
        let here = tempfile::tempdir().unwrap();
        std::fs::create_dir(here.path().join("gpt2-tiny")).unwrap();
        let error = ModelArgument::read("gpt2-tiny", here.path()).unwrap_err().to_string();
        assert!(error.contains("`./gpt2-tiny`") && error.contains("`gpt2-tiny:1`"), "{error}");
        for (text, is_random) in [("./gpt2-tiny", false), ("gpt2-tiny:1", true), ("bert-tiny", true)] {
            let source = ModelArgument::read(text, here.path()).unwrap().source;
            assert_eq!(matches!(source, ModelSource::Random { .. }), is_random, "{text}");
        }
    }
}
