//! The vocabulary of a folder without `tokenizer.json`, in the files of earlier years: `vocab.txt` of WordPiece tokens, `vocab.json`
//! and `merges.txt` of byte-level BPE. Both are read as the `tokenizers` library reads them for transformers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::class::TokenizerClass;
use super::{MERGES_FILE, TOKENIZER_FILE, VOCABULARY_JSON_FILE, VOCABULARY_TEXT_FILE};
use crate::files::read_text;
use crate::model::ModelError;

/// Models of sentencepiece, which are not read.
const SENTENCEPIECE_FILES: [&str; 4] = ["sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model"];

/// Reads the vocabulary files of `class`: the first of them, and what they hold in the form of `tokenizer.json`.
///
/// # Errors
/// [`ModelError::Tokenizer`] where they are absent or damaged.
pub(super) fn read(folder: &Path, class: TokenizerClass) -> Result<(PathBuf, Value), ModelError> {
    match class {
        TokenizerClass::Bert if folder.join(VOCABULARY_TEXT_FILE).exists() => word_pieces(folder),
        TokenizerClass::Gpt2 | TokenizerClass::Roberta
            if folder.join(VOCABULARY_JSON_FILE).exists() && folder.join(MERGES_FILE).exists() =>
        {
            byte_pairs(folder)
        }
        _ => Err(absent(folder, class)),
    }
}

/// A token a line, whose number is its id; of a token that comes twice the last one counts.
fn word_pieces(folder: &Path) -> Result<(PathBuf, Value), ModelError> {
    let path = folder.join(VOCABULARY_TEXT_FILE);
    let text = read_text(&path)?;
    let vocab: Map<_, _> = text.lines().zip(0..).map(|(line, id)| (line.trim_end().to_owned(), json!(id))).collect();
    Ok((path, json!({"model": {"type": "WordPiece", "vocab": vocab}})))
}

fn byte_pairs(folder: &Path) -> Result<(PathBuf, Value), ModelError> {
    let path = folder.join(VOCABULARY_JSON_FILE);
    let refused = |path: &Path, message: String| ModelError::Tokenizer { path: path.to_owned(), message };
    let vocab: Map<_, _> =
        serde_json::from_str(&read_text(&path)?).map_err(|error| refused(&path, format!("{error}; fetch it again")))?;
    let merges_path = folder.join(MERGES_FILE);
    let text = read_text(&merges_path)?;
    let mut merges = Vec::new();
    for (line, pair) in (1..).zip(text.lines()).filter(|(_, pair)| !pair.starts_with("#version")) {
        let Some((left, right)) = pair.split_once(' ').filter(|(_, right)| !right.contains(' ')) else {
            let message = format!("line {line} is no pair of tokens with one space between them; fetch it again");
            return Err(refused(&merges_path, message));
        };
        merges.push(json!([left, right]));
    }
    Ok((path, json!({"model": {"type": "BPE", "vocab": vocab, "merges": merges}})))
}

fn absent(folder: &Path, class: TokenizerClass) -> ModelError {
    let refused = |name: &str, message: String| ModelError::Tokenizer { path: folder.join(name), message };
    let convert = format!(
        "transformers writes {TOKENIZER_FILE} (with sentencepiece and protobuf installed): `python -c \"from transformers import AutoTokenizer; \
         AutoTokenizer.from_pretrained('.').save_pretrained('.')\"` in the folder"
    );
    if let Some(name) = SENTENCEPIECE_FILES.into_iter().find(|name| folder.join(name).exists()) {
        return refused(name, format!("a sentencepiece model is not read; {convert}"));
    }
    let instead = match class {
        TokenizerClass::Bert => format!(", nor does {VOCABULARY_TEXT_FILE}"),
        TokenizerClass::Gpt2 | TokenizerClass::Roberta => {
            format!(", nor do {VOCABULARY_JSON_FILE} and {MERGES_FILE}, both of them")
        }
        _ => String::new(),
    };
    refused(TOKENIZER_FILE, format!("it does not exist{instead}; save it with `tokenizer.save_pretrained(folder)`"))
}
