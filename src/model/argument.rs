//! A model as it is typed on the command line: a checkpoint folder, or an architecture with random weights.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

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

impl FromStr for ModelArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (name, seed) = text.split_once(':').unwrap_or((text, "0"));
        let architecture = Architecture::ALL.into_iter().find(|architecture| architecture.name() == name);
        Ok(match (architecture, seed.parse()) {
            (Some(architecture), Ok(seed)) => {
                ModelArgument { name: name.to_owned(), source: ModelSource::Random { seed, architecture } }
            }
            _ => Self::folder(PathBuf::from(text)),
        })
    }
}

impl ModelArgument {
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
}
