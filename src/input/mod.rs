//! Token ids for an engine: random, windows of a text, or labelled SST-2 sentences.

mod labels;
mod source;
mod sst2;
mod text;

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

use crate::files::{FileError, FileVersion, NotText, joined, text as text_of};
use crate::graph::Shape;
use crate::model::{Model, ModelConfig, ModelError, TaskHead, Tokenizer};
pub use labels::{ClassName, LabelledClass, label_text, labels_of_text, unlabelled_sentence};
use labels::{FileLabels, classes_of, left_out_notice};
pub use source::InputSource;
use sst2::{Sentences, file_labels};
use text::Windows;

/// Token ids of one forward pass. Row `i` depends on the source, the sequence length and `i`, never on the batch size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Batch size and padded sequence length.
    pub shape: Shape,
    /// `[batch, sequence]`, row-major; padding holds the pad id.
    pub ids: Vec<u32>,
    /// Tokens per row, 1 to `sequence`; the rest is padding.
    pub lengths: Vec<usize>,
    /// Class of each row, for labelled inputs whose labels are classes of the model.
    pub labels: Option<Vec<u32>>,
    /// The token that follows each token, `[batch, sequence]`, for windows of a running text.
    pub next_ids: Option<Vec<u32>>,
}

impl Batch {
    /// A batch of one full row.
    pub fn single(ids: Vec<u32>) -> Self {
        let shape = Shape { batch: 1, sequence: ids.len() };
        Batch { shape, lengths: vec![ids.len()], ids, labels: None, next_ids: None }
    }
}

/// An input that cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum InputError {
    /// The file could not be read.
    #[error("{0}; put the dataset there or correct the manifest's path")]
    Io(#[from] FileError),
    /// The file is not the pinned one.
    #[error("{path}: sha256 is {found}, the manifest pins {expected}; fetch the pinned file or correct the pin")]
    Digest { path: PathBuf, found: String, expected: String },
    /// The file holds too little.
    #[error(
        "{path}: holds {tokens} tokens, a window of {sequence} needs {needed}; use a longer text or shorter windows"
    )]
    Short { path: PathBuf, tokens: usize, sequence: usize, needed: usize },
    /// The tokenizer puts nothing around a sentence.
    #[error(
        "random ids with separators: the tokenizer of model `{model}` puts no tokens before and after a sentence; give this \
         model `random: {seed}` without separators, or exclude the pair"
    )]
    NoSeparators { model: String, seed: u64 },
    /// Separators leave no room.
    #[error(
        "random ids with separators: a sequence of {sequence} holds no id between them; use sequences of 3 and more"
    )]
    NoRoom { sequence: usize },
    /// A line is not `sentence<TAB>label`.
    #[error("{path}:{line}: {message}")]
    Line { path: PathBuf, line: usize, message: String },
    /// The model cannot tokenise.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A source of batches for one model.
#[derive(Debug)]
pub struct InputStream {
    /// The tokenizer's files; none where the rows need no tokenizer.
    pub tokenizer_files: Vec<FileVersion>,
    /// The file that the rows were read from; `None` for random ids.
    pub file: Option<FileVersion>,
    rows: Rows,
    config: ModelConfig,
}

#[derive(Debug)]
enum Rows {
    Random { seed: u64, vocabulary: u32, separators: Option<(u32, u32)> },
    Text(Windows),
    Sst2(Sentences),
}

/// One row before padding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InputRow {
    ids: Vec<u32>,
    label: Option<u32>,
    next_ids: Option<Vec<u32>>,
}

impl InputStream {
    /// Opens the source: reads and tokenises its file, if it has one. Relative paths start from `base_dir`.
    ///
    /// # Errors
    /// [`InputError`] naming the file and the cure.
    pub fn open(source: &InputSource, base_dir: &Path, model: &Model) -> Result<InputStream, InputError> {
        let vocabulary = model.config.dimensions.vocabulary as u32;
        let mut tokenizer_files = Vec::new();
        let mut tokenizer = || -> Result<Tokenizer, ModelError> {
            // Before they are read: a change meanwhile shows afterwards.
            tokenizer_files = model.tokenizer_files()?;
            model.tokenizer()
        };
        let mut file = None;
        let mut read = |path: &Path, pin: &Option<String>| -> Result<String, InputError> {
            let (text, version) = read_pinned(path, pin.as_deref())?;
            file = Some(version);
            Ok(text)
        };
        let rows = match source {
            InputSource::Random { seed } => Rows::Random { seed: *seed, vocabulary, separators: None },
            InputSource::RandomWithSeparators { seed } => {
                let separators = tokenizer()?.markers()?;
                let none = || InputError::NoSeparators { model: model.name.clone(), seed: *seed };
                Rows::Random { seed: *seed, vocabulary, separators: Some(separators.ok_or_else(none)?) }
            }
            InputSource::Text { path, sha256 } => {
                let path = joined(base_dir, path);
                let text = read(&path, sha256)?;
                Rows::Text(Windows::new(path, &text, &tokenizer()?)?)
            }
            InputSource::Sst2 { path, sha256, labels } => {
                let path = joined(base_dir, path);
                let text = read(&path, sha256)?;
                let with_head = |reason: String| match model.unused_head() {
                    Some(words) if !matches!(model.config.head, TaskHead::Classifier { .. }) => {
                        format!("{reason}; {words}")
                    }
                    _ => reason,
                };
                let classes = |found: &FileLabels| classes_of(found, labels, &model.config).map_err(with_head);
                Rows::Sst2(Sentences::new(path, &text, &tokenizer()?, &classes)?)
            }
        };
        Ok(InputStream { tokenizer_files, file, rows, config: model.config.clone() })
    }

    /// Every file that it was read from.
    pub fn files(&self) -> impl Iterator<Item = &FileVersion> {
        self.tokenizer_files.iter().chain(&self.file)
    }

    /// Number of different rows of `sequence` tokens; `None` for an endless source.
    pub fn len(&self, sequence: usize) -> Option<usize> {
        match &self.rows {
            Rows::Random { .. } => None,
            Rows::Text(windows) => Some(windows.len(sequence)),
            Rows::Sst2(sentences) => Some(sentences.len()),
        }
    }

    /// The class of each label of a labelled input, or why the labels are no classes of the model; `None` of other inputs.
    pub fn labels(&self) -> Option<Result<&[LabelledClass], &str>> {
        match &self.rows {
            Rows::Sst2(sentences) => Some(sentences.labels()),
            Rows::Random { .. } | Rows::Text(_) => None,
        }
    }

    /// Rows `first .. first + shape.batch`, wrapping around where the source is finite.
    ///
    /// # Errors
    /// [`InputError`] where the source holds too little text for one row.
    pub fn batch(&self, shape: Shape, first: usize) -> Result<Batch, InputError> {
        let rows = (first..first + shape.batch).map(|index| self.row(shape.sequence, index));
        let rows: Vec<InputRow> = rows.collect::<Result<_, _>>()?;
        rows.iter().try_for_each(|row| self.config.check_ids(&row.ids))?;
        let padded = |ids: &[u32]| {
            let mut ids = ids.to_vec();
            ids.resize(shape.sequence, self.config.pad_id);
            ids
        };
        Ok(Batch {
            shape,
            ids: rows.iter().flat_map(|row| padded(&row.ids)).collect(),
            lengths: rows.iter().map(|row| row.ids.len()).collect(),
            labels: rows.iter().map(|row| row.label).collect(),
            next_ids: rows
                .iter()
                .map(|row| row.next_ids.as_deref().map(padded))
                .collect::<Option<Vec<_>>>()
                .map(|n| n.concat()),
        })
    }

    fn row(&self, sequence: usize, index: usize) -> Result<InputRow, InputError> {
        match &self.rows {
            Rows::Random { seed, vocabulary, separators } => {
                let mut generator = ChaCha8Rng::seed_from_u64(*seed);
                generator.set_stream(index as u64);
                // The high word of a 32 x 32 bit product is uniform to one part in 2³² / vocabulary.
                let id = |word: u32| self.config.drawn_id(((u64::from(word) * u64::from(*vocabulary)) >> 32) as u32);
                let mut ids = |count: usize| (0..count).map(|_| id(generator.next_u32())).collect::<Vec<_>>();
                let ids = match separators {
                    None => ids(sequence),
                    Some(_) if sequence < 3 => return Err(InputError::NoRoom { sequence }),
                    Some((first, last)) => [vec![*first], ids(sequence - 2), vec![*last]].concat(),
                };
                Ok(InputRow { ids, label: None, next_ids: None })
            }
            Rows::Text(windows) => windows.row(sequence, index),
            Rows::Sst2(sentences) => Ok(sentences.row(sequence, index)),
        }
    }
}

/// The notice of classes of a head that no label of a labelled input is, by its file where that is here, else by the manifest
/// alone; `None` of other inputs, and of an input that cannot be read.
pub fn unlabelled_notice(source: &InputSource, base_dir: &Path, config: &ModelConfig) -> Option<String> {
    let InputSource::Sst2 { path, labels, .. } = source else { return None };
    let found = match read_pinned(&joined(base_dir, path), None) {
        Ok((text, _)) => file_labels(&text)?,
        Err(_) if labels.is_empty() => return None,
        Err(_) => FileLabels::new(),
    };
    left_out_notice(&found, labels, config)
}

/// The file's text without a byte-order mark, with every line end as `\n`. The digest is that of the file's bytes, before any
/// conversion.
fn read_pinned(path: &Path, pin: Option<&str>) -> Result<(String, FileVersion), InputError> {
    let (bytes, version) = FileVersion::read(path)?;
    if let Some(expected) = pin.filter(|pin| *pin != version.sha256) {
        let (path, expected) = (path.to_owned(), expected.to_owned());
        return Err(InputError::Digest { path, found: version.sha256, expected });
    }
    let text = text_of(&bytes).map_err(|NotText { line, byte }| InputError::Line {
        path: path.to_owned(),
        line,
        message: format!("byte {byte:#04x} is not UTF-8 text; save the file as UTF-8"),
    })?;
    Ok((text.replace("\r\n", "\n"), version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Head;
    use crate::model::{Architecture, ModelSource};

    fn random(seed: u64) -> InputStream {
        let source = ModelSource::Random { seed: 1, architecture: Architecture::BertTiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        InputStream::open(&InputSource::Random { seed }, Path::new("."), &model).unwrap()
    }

    #[test]
    fn a_row_depends_on_seed_and_index_but_not_on_the_batch_size() {
        let stream = random(7);
        let one = stream.batch(Shape { batch: 1, sequence: 16 }, 3).unwrap();
        let four = stream.batch(Shape { batch: 4, sequence: 16 }, 0).unwrap();
        assert_eq!(one.ids[..], four.ids[48..]);
        assert_ne!(one.ids[..], four.ids[..16]);
        assert_ne!(four.ids, random(8).batch(Shape { batch: 4, sequence: 16 }, 0).unwrap().ids);
        assert!(four.ids.iter().all(|&id| id < 1000) && four.ids.iter().any(|&id| id > 900));
        assert_eq!((four.lengths, four.labels, four.next_ids), (vec![16; 4], None, None));
    }

    #[test]
    fn an_absent_or_altered_dataset_is_named_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.tsv");
        let error = read_pinned(&path, None).unwrap_err().to_string();
        assert!(error.contains("dev.tsv") && error.contains("put the dataset there"), "{error}");
        std::fs::write(&path, "x").unwrap();
        let error = read_pinned(&path, Some("00")).unwrap_err().to_string();
        assert!(error.contains("the manifest pins 00"), "{error}");
        std::fs::write(&path, b"\xef\xbb\xbfone\r\ntwo\xe9\n").unwrap();
        let error = read_pinned(&path, None).unwrap_err().to_string();
        assert!(error.contains("dev.tsv:2: byte 0xe9 is not UTF-8"), "{error}");
        std::fs::write(&path, b"\xef\xbb\xbfone\r\ntwo\n").unwrap();
        assert_eq!(read_pinned(&path, None).unwrap().0, "one\ntwo\n", "no byte-order mark");
    }
}
