//! Token ids for an engine: random, windows of a text, or examples with what is right.

mod examples;
mod labels;
mod source;
mod sst2;
mod text;
mod truth;

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

use crate::files::{FileError, FileVersion, NotText, joined, text as text_of};
use crate::graph::{OutputKind, Shape};
use crate::model::{Model, ModelConfig, ModelError, Tokenizer};
use examples::{Examples, LabelRule, Labelling, NumberedLine};
use labels::left_out_notice;
pub use labels::{ClassName, LabelledClass, label_text, labels_of_text, positive_class, unlabelled_sentence};
pub use source::InputSource;
use text::Windows;
pub use truth::{MASKED_SHARE, RightSpans, SpanTruth, Truth};

/// Token ids of one forward pass. Row `i` depends on the source, the sequence length and `i`, never on the batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Batch size and padded sequence length.
    pub shape: Shape,
    /// `[batch, sequence]`, row-major; padding holds the pad id.
    pub ids: Vec<u32>,
    /// Type of each token, `[batch, sequence]`; `None` where every token is of type 0.
    pub token_types: Option<Vec<u32>>,
    /// Tokens per row, 1 to `sequence`; the rest is padding.
    pub lengths: Vec<usize>,
    /// What each row is scored against.
    pub truths: Vec<Option<Truth>>,
}

impl Batch {
    /// A batch of tokens of type 0, without anything to score.
    pub fn new(shape: Shape, ids: Vec<u32>, lengths: Vec<usize>) -> Self {
        Batch { shape, ids, token_types: None, truths: vec![None; lengths.len()], lengths }
    }

    /// A batch of one full row.
    pub fn single(ids: Vec<u32>) -> Self {
        let shape = Shape { batch: 1, sequence: ids.len() };
        let lengths = vec![ids.len()];
        Batch::new(shape, ids, lengths)
    }

    /// The same with these types; types that are all 0 are as good as none.
    #[must_use]
    pub fn with_token_types(self, types: Vec<u32>) -> Self {
        Batch { token_types: types.iter().any(|&of| of > 0).then_some(types), ..self }
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
    /// A line cannot be used.
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
    /// Whether tokens of some row are of another type than 0.
    pub has_token_types: bool,
    /// The token in place of a masked one, where the model fills tokens in.
    mask: Option<u32>,
    config: ModelConfig,
}

#[derive(Debug)]
enum Rows {
    Random { seed: u64, vocabulary: u32, separators: Option<(u32, u32)> },
    Text(Windows),
    Examples(Box<Examples>),
}

/// One row before padding.
#[derive(Debug, Clone, PartialEq, Default)]
struct InputRow {
    ids: Vec<u32>,
    /// Type of each; empty where all are of type 0.
    types: Vec<u32>,
    truth: Option<Truth>,
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
        let mut mask = None;
        let masks = model.graph.output_kind == OutputKind::MaskedTokenLogits;
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
                let tokenizer = tokenizer()?;
                mask = tokenizer.mask_token().filter(|_| masks);
                Rows::Text(Windows::new(path, &text, &tokenizer, mask.is_some())?)
            }
            InputSource::Sst2 { path, sha256, labels } | InputSource::Examples { path, sha256, labels } => {
                let path = joined(base_dir, path);
                let text = read(&path, sha256)?;
                let (lines, rule) = lines_of(source, &path, &text)?;
                let tokenizer = match examples::have_texts(&lines) {
                    true => Some(tokenizer()?),
                    // Of a model that fills in tokens it says which stands for a masked one.
                    false => masks.then(tokenizer).and_then(Result::ok),
                };
                mask = tokenizer.as_ref().and_then(Tokenizer::mask_token).filter(|_| masks);
                let labelling = Labelling { declared: labels, rule };
                Rows::Examples(Box::new(Examples::new(path, lines, labelling, (model, tokenizer))?))
            }
        };
        let has_token_types = match &rows {
            Rows::Examples(examples) => examples.has_token_types,
            Rows::Random { .. } | Rows::Text(_) => false,
        };
        let config = model.config.clone();
        Ok(InputStream { tokenizer_files, file, rows, has_token_types, mask, config })
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
            Rows::Examples(examples) => Some(examples.len()),
        }
    }

    /// Of examples that say what is right: the class of each label, where they have labels, or why they cannot be scored. `None`
    /// of other inputs.
    pub fn labels(&self) -> Option<Result<&[LabelledClass], &str>> {
        match &self.rows {
            Rows::Examples(examples) => examples.labels(),
            Rows::Random { .. } | Rows::Text(_) => None,
        }
    }

    /// Whether rows are windows of a running text.
    pub fn is_text(&self) -> bool {
        matches!(self.rows, Rows::Text(_))
    }

    /// The batch with the tokens masked that are to be filled in.
    pub fn masked(&self, batch: &Batch) -> Batch {
        let mut masked = batch.clone();
        let Some(mask) = self.mask else { return masked };
        for (row, truth) in masked.ids.chunks_mut(batch.shape.sequence).zip(&batch.truths) {
            if let Some(Truth::MaskedTokens(tokens)) = truth {
                tokens.iter().for_each(|&(position, _)| row[position] = mask);
            }
        }
        masked
    }

    /// Rows `first .. first + shape.batch`, wrapping around where the source is finite.
    ///
    /// # Errors
    /// [`InputError`] where the source holds too little text for one row.
    pub fn batch(&self, shape: Shape, first: usize) -> Result<Batch, InputError> {
        let rows = (first..first + shape.batch).map(|index| self.row(shape.sequence, index));
        let rows: Vec<InputRow> = rows.collect::<Result<_, _>>()?;
        rows.iter().try_for_each(|row| self.config.check_ids(&row.ids))?;
        let padded = |of: &[u32], with: u32| {
            let mut of = of.to_vec();
            of.resize(shape.sequence, with);
            of
        };
        let ids = rows.iter().flat_map(|row| padded(&row.ids, self.config.pad_id)).collect();
        let types = rows.iter().flat_map(|row| padded(&row.types, 0)).collect();
        let lengths = rows.iter().map(|row| row.ids.len()).collect();
        let truths = rows.into_iter().map(|row| row.truth).collect();
        Ok(Batch { truths, ..Batch::new(shape, ids, lengths).with_token_types(types) })
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
                Ok(InputRow { ids, ..InputRow::default() })
            }
            Rows::Text(windows) => windows.row(sequence, index),
            Rows::Examples(examples) => examples.row(sequence, index),
        }
    }
}

/// The lines of a file of examples, and what their numbers mean.
fn lines_of(source: &InputSource, path: &Path, text: &str) -> Result<(Vec<NumberedLine>, LabelRule), InputError> {
    Ok(match source {
        InputSource::Sst2 { .. } => (sst2::lines(path, text)?, LabelRule::Sentiment),
        _ => (examples::lines(path, text)?, LabelRule::ClassNumber),
    })
}

/// Reads every line of a file of examples without a model, where the file is there.
///
/// # Errors
/// [`InputError`] naming the first line with a mistake, and the cure.
pub fn check_lines(source: &InputSource, base_dir: &Path) -> Result<(), InputError> {
    if !matches!(source, InputSource::Sst2 { .. } | InputSource::Examples { .. }) {
        return Ok(());
    }
    let Some(path) = source.path().map(|path| joined(base_dir, path)).filter(|path| path.exists()) else {
        return Ok(());
    };
    let (text, _) = read_pinned(&path, source.pin())?;
    lines_of(source, &path, &text).map(drop)
}

/// The notice of classes of a head that no label of a labelled input is, by its file where that is here, else by the manifest
/// alone; `None` of other inputs, and of an input that cannot be read.
pub fn unlabelled_notice(source: &InputSource, base_dir: &Path, config: &ModelConfig) -> Option<String> {
    let (InputSource::Sst2 { path, labels, .. } | InputSource::Examples { path, labels, .. }) = source else {
        return None;
    };
    let path = joined(base_dir, path);
    let (found, rule) = match read_pinned(&path, None) {
        Ok((text, _)) => {
            let (lines, rule) = lines_of(source, &path, &text).ok()?;
            (examples::labels_of(&lines), rule)
        }
        Err(_) if labels.is_empty() => return None,
        Err(_) => (labels::FileLabels::new(), LabelRule::Sentiment),
    };
    left_out_notice(&found, labels, config, rule == LabelRule::Sentiment)
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
        assert_eq!((four.lengths, four.truths), (vec![16; 4], vec![None; 4]));
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
