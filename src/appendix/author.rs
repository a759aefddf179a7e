//! `experiments/appendix.yaml`: the facts that only the authors know. Unknown keys are refused.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AppendixError;
use crate::files::{FileError, read_text};

/// File name inside the folder of the manifests.
pub const FILE: &str = "appendix.yaml";
/// The format this program reads.
const VERSION: u64 = 1;
/// Larger files are refused before they are read.
const MAX_BYTES: u64 = 1 << 20;

/// A text on one line: YAML's folded texts end in a line break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Paragraph(pub String);

impl From<String> for Paragraph {
    fn from(text: String) -> Self {
        Paragraph(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// The authors' part of the appendix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// Format version.
    pub schema: u64,
    /// Name of the artifact.
    pub title: String,
    /// Abstract of the artifact.
    pub r#abstract: Paragraph,
    /// The algorithm under study.
    pub algorithm: Paragraph,
    /// What building the program requires.
    pub compilation: Paragraph,
    /// How experiments are executed.
    pub execution: Paragraph,
    /// What is measured.
    pub metrics: Paragraph,
    /// What drives the workflow.
    pub automation: Paragraph,
    /// DOI of the archived version.
    pub archive: Option<String>,
    /// Licences.
    pub licences: Licences,
    /// Steps of the installation.
    pub installation: Vec<SetupStep>,
    /// What to run in the time at hand, the shortest visit first.
    #[serde(default)]
    pub visits: Vec<Visit>,
    /// A person's part in the experiments, by manifest name.
    #[serde(default)]
    pub experiments: BTreeMap<String, Effort>,
    /// What to expect on machines other than the author's.
    #[serde(default)]
    pub other_hardware: Vec<Paragraph>,
    /// Messages that may be printed although nothing is wrong.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// What the artifact does not show.
    #[serde(default)]
    pub unsupported: Vec<Unsupported>,
}

/// The licences of the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licences {
    /// The program and what is linked into it.
    pub code: Paragraph,
    /// Models and datasets.
    pub data: Paragraph,
}

/// A step of the installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupStep {
    /// What to type.
    pub command: String,
    /// A person's time, minutes, estimated.
    pub human_minutes: u32,
    /// What it does.
    pub text: Paragraph,
}

/// What a reviewer runs in a given time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visit {
    /// The time at hand: `15 minutes`.
    pub time: String,
    /// What it needs.
    pub needs: Paragraph,
    /// Where its steps were tried, and what their times include.
    pub tried: Paragraph,
    /// Its steps, in order.
    pub steps: Vec<VisitStep>,
}

/// A step of a visit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitStep {
    /// What to type.
    pub command: String,
    /// What it shows.
    pub shows: Paragraph,
    /// How long it took, with its unit; none where nobody measured it by itself.
    pub took: Option<String>,
}

/// A person's part in an experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effort {
    /// A person's time, minutes, estimated.
    pub human_minutes: Option<u32>,
    /// What to do before the command.
    #[serde(default)]
    pub preparation: Vec<String>,
}

/// A message that is no sign of a defect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    /// The message.
    pub shows: String,
    /// When it is printed.
    pub when: Paragraph,
    /// What it means.
    pub means: Paragraph,
}

/// Something that the artifact does not show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsupported {
    /// The statement that is not supported.
    pub statement: Paragraph,
    /// The reason.
    pub reason: Paragraph,
}

impl Author {
    /// The repository's own.
    ///
    /// # Errors
    /// [`AppendixError::Author`], which a test rules out.
    pub fn builtin() -> Result<Author, AppendixError> {
        Author::parse(include_str!("../../experiments/appendix.yaml"), FILE)
    }

    /// Reads [`FILE`] of a folder.
    ///
    /// # Errors
    /// [`AppendixError`] naming the file and the place.
    pub fn load(experiments: &Path) -> Result<Author, AppendixError> {
        let path = experiments.join(FILE);
        let bytes = std::fs::metadata(&path).map_err(FileError::at(&path))?.len();
        if bytes > MAX_BYTES {
            let message = format!("{bytes} bytes; such a file has at most {MAX_BYTES}");
            return Err(AppendixError::Author { place: path.display().to_string(), message });
        }
        let text = read_text(&path)?;
        Author::parse(&text, &path.display().to_string())
    }

    /// Reads the text of such a file; `file` is its name in messages.
    ///
    /// # Errors
    /// [`AppendixError::Author`] with line and column.
    pub fn parse(text: &str, file: &str) -> Result<Author, AppendixError> {
        let author: Author = serde_saphyr::from_str(text).map_err(|error| {
            let place =
                error.location().map_or_else(|| file.to_owned(), |at| format!("{file}:{}:{}", at.line(), at.column()));
            let message = error.without_snippet().to_string();
            AppendixError::Author { place, message: message.lines().next().unwrap_or_default().to_owned() }
        })?;
        if author.schema != VERSION {
            let message = format!("schema {} is not the version this program reads, {VERSION}", author.schema);
            return Err(AppendixError::Author { place: file.to_owned(), message });
        }
        Ok(author)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_one_and_mistakes_have_a_place() {
        let text = include_str!("../../experiments/appendix.yaml");
        let author = Author::builtin().unwrap();
        assert!(!author.warnings.is_empty() && !author.unsupported.is_empty() && author.visits.len() == 3);
        let error = Author::parse(&text.replace("\nabstract:", "\nabstrakt:"), "a.yaml").unwrap_err().to_string();
        assert!(error.starts_with("a.yaml:") && error.contains("abstrakt"), "{error}");
        let error = Author::parse(&text.replace("schema: 1", "schema: 2"), "a.yaml").unwrap_err().to_string();
        assert!(error.contains("schema 2"), "{error}");
    }
}
