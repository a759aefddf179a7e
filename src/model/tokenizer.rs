//! `tokenizer.json` through the `tokenizers` crate. The padding and truncation that it may define are switched off, because
//! the experiment decides the length of a row.

use std::path::{Path, PathBuf};

use super::{Family, ModelError};
use crate::panics::catch;

/// The files of a checkpoint folder that decide token ids, as in transformers 5; all but the first may be absent.
pub const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Text to token ids.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    vocabulary: usize,
}

impl Tokenizer {
    /// Reads `folder/tokenizer.json` for a model of `vocabulary` ids.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it is absent, unreadable, has more ids than the model has embeddings, or does not mark
    /// sentences as the family does.
    pub fn open(folder: &Path, vocabulary: usize, family: Family) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer.json");
        let failed = |message: String| ModelError::Tokenizer { path: path.clone(), message };
        if !path.exists() {
            return Err(failed("it does not exist; save it with `tokenizer.save_pretrained(folder)`".to_owned()));
        }
        let read = || {
            let mut inner = tokenizers::Tokenizer::from_file(&path)?;
            inner.with_padding(None);
            inner.with_truncation(None)?;
            let size = inner.get_vocab_size(true);
            Ok::<_, tokenizers::Error>((inner, size))
        };
        let (inner, size) = catch(read).map_err(failed)?.map_err(|error| failed(error.to_string()))?;
        if size > vocabulary {
            return Err(failed(format!(
                "it has {size} tokens but the model embeds {vocabulary}: it belongs to another model"
            )));
        }
        let tokenizer = Tokenizer { inner, path: path.clone(), vocabulary };
        match (family, tokenizer.markers()?) {
            (Family::Bert, Some(_)) | (Family::Gpt2, None) => Ok(tokenizer),
            (Family::Bert, None) => Err(failed("it adds no [CLS] and [SEP]: it is not a BERT tokenizer".to_owned())),
            (Family::Gpt2, Some(_)) => {
                Err(failed("it marks sentences with special tokens: it is not a GPT-2 tokenizer".to_owned()))
            }
        }
    }

    /// The ids before and after a sentence, BERT's `[CLS]` and `[SEP]`; `None` if there are none.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn markers(&self) -> Result<Option<(u32, u32)>, ModelError> {
        Ok(match self.sentence("")?[..] {
            [first, last] => Some((first, last)),
            _ => None,
        })
    }

    /// Ids of `text` with the special tokens the model expects around a sentence.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn sentence(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.encode(text, true)
    }

    /// Ids of `text` alone, for windows cut out of a running text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn running_text(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.encode(text, false)
    }

    /// The text of one token in a readable form: GPT-2's byte alphabet is decoded.
    pub fn token(&self, id: u32) -> String {
        let raw = self.inner.id_to_token(id).unwrap_or_else(|| format!("<{id}>"));
        match catch(|| self.inner.decode(&[id], false)) {
            Ok(Ok(text)) if !text.is_empty() && !raw.starts_with("##") => {
                format!("{text:?}").trim_matches('"').to_owned()
            }
            _ => raw,
        }
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, ModelError> {
        let failed = |message: String| ModelError::Tokenizer { path: self.path.clone(), message };
        let encode = || self.inner.encode_fast(text, special);
        let encoding = catch(encode).map_err(failed)?.map_err(|error| failed(error.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        match ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(id) => Err(failed(format!("it produced id {id}, outside the model's {} embeddings", self.vocabulary))),
            None => Ok(ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: the library checks a template's tokens when it is built, not when it is read.
    #[test]
    fn a_template_with_a_token_that_it_does_not_list_is_an_error() {
        let text = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":null,"decoder":null,"post_processor":{"type":"TemplateProcessing","single":[
            {"SpecialToken":{"id":"[CPS]","type_id":1}},{"Sequence":{"id":"A","type_id":0}}],
            "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],"special_tokens":{}},
            "model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        let error = Tokenizer::open(folder.path(), 10, Family::Bert).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: its reader gave up"), "{error}");
    }
}
