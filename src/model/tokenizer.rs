//! A folder's tokenizer, which gives the ids that transformers 5 gives, through the `tokenizers` crate. The padding and
//! truncation that `tokenizer.json` may define are switched off, because the experiment decides the length of a row.

mod class;
mod document;
mod entries;
mod frame;
mod pair;
mod settings;
mod spelling;
mod vocabulary;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{AddedToken, NormalizedString, Normalizer};

use super::damage::instead_of_a_file;
use super::{Family, Head, ModelError, ModelSource, config_here};
use crate::files::read_text;
use crate::panics::catch;
pub use pair::{FramedText, TokenPlace, TokenizedText};
use settings::TokenizerSettings;

const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
const ADDED_TOKENS_FILE: &str = "added_tokens.json";

const VOCABULARY_TEXT_FILE: &str = "vocab.txt";
const VOCABULARY_JSON_FILE: &str = "vocab.json";
const MERGES_FILE: &str = "merges.txt";

/// The files of a checkpoint folder that may decide token ids, as in transformers 5.
pub const TOKENIZER_FILES: [&str; 7] = [
    TOKENIZER_FILE,
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    ADDED_TOKENS_FILE,
    VOCABULARY_TEXT_FILE,
    VOCABULARY_JSON_FILE,
    MERGES_FILE,
];

/// The files of `folder` that decide token ids, in the order of [`TOKENIZER_FILES`]: beside `tokenizer.json` no other vocabulary
/// is read.
pub(super) fn files_read(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let is_read = |name: &&str| name.ends_with(".json") && *name != VOCABULARY_JSON_FILE;
    let has_document = folder.join(TOKENIZER_FILE).exists();
    let names = TOKENIZER_FILES.into_iter().filter(move |name| !has_document || is_read(name));
    names.map(|name| folder.join(name)).filter(|path| path.exists())
}

/// `model_max_length` of a folder. A longer text is computed as it is, with a notice, as in transformers; ids have no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongestSequence {
    tokens: usize,
    path: PathBuf,
}

impl LongestSequence {
    fn of(folder: &Path, settings: &TokenizerSettings) -> Result<Option<Self>, ModelError> {
        Ok(settings.longest_sequence()?.map(|tokens| LongestSequence { tokens, path: folder.join(CONFIG_FILE) }))
    }

    /// The notice of a text that makes a sequence of `tokens`; `None` where that is within the limit.
    pub fn exceeded_by(&self, tokens: usize) -> Option<String> {
        let LongestSequence { tokens: longest, path } = self;
        (tokens > *longest).then(|| {
            format!(
                "{}: model_max_length is {longest}, fewer than the {tokens} tokens of a sequence; a longer text is computed as it \
                 is, as in transformers",
                path.display()
            )
        })
    }
}

/// The limit of a checkpoint that is on this machine; `None` without a limit, and where the settings cannot be read, which rows
/// of its tokenizer say.
pub fn longest_sequence_here(source: &ModelSource, base_dir: &Path) -> Option<LongestSequence> {
    let folder = source.checkpoint_here(base_dir)?.folder(base_dir)?;
    let config = config_here(source, base_dir, Head::Natural)?;
    LongestSequence::of(&folder, &TokenizerSettings::read(&folder, config.family, &Value::Null).ok()?).ok()?
}

/// Text to token ids.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    vocabulary: usize,
    family: Family,
    longest_sequence: Option<LongestSequence>,
    /// Whether transformers gives the model the types of tokens.
    gives_token_types: bool,
    /// Whether a text is cut at its beginning.
    cuts_left: bool,
    mask: Option<u32>,
}

impl Tokenizer {
    /// Reads the tokenizer of `folder` for a model of `vocabulary` ids.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a file is absent, unreadable or contradicts itself, when `tokenizer.json` has tokens
    /// beyond the model's embeddings that nobody added, or when BERT's sentences come without markers.
    pub fn open(folder: &Path, vocabulary: usize, family: Family) -> Result<Self, ModelError> {
        let document = document(folder)?;
        let has_document = document.is_some();
        let in_file = document.as_ref().map_or(&Value::Null, |document| &document["added_tokens"]);
        let settings = TokenizerSettings::read(folder, family, in_file)?;
        let (path, document) = match document {
            Some(document) => (folder.join(TOKENIZER_FILE), document),
            None => vocabulary::read(folder, settings.class)?,
        };
        let failed = |message: String| ModelError::Tokenizer { path: path.clone(), message };
        let added = settings.added_tokens()?;
        let document = document::rebuilt(document, &settings)?;
        let read = || {
            let mut inner = tokenizers::Tokenizer::from_bytes(document.to_string())?;
            inner.with_padding(None);
            inner.with_truncation(None)?;
            inner.add_tokens(&added);
            Ok::<_, tokenizers::Error>(inner)
        };
        let mut inner = catch(read).map_err(failed)?.map_err(|error| failed(error.to_string()))?;
        if let Some((one, other)) = same_once_normalized(&inner, &added) {
            let reason = format!("`{one}` and `{other}` are the same once normalized; remove one of them");
            return Err(settings.refused("added_tokens_decoder", &reason));
        }
        frame::frame(&mut inner, &settings, has_document)?;
        inner.set_encode_special_tokens(settings.flag("split_special_tokens", false)?);
        let tokenizer = Tokenizer {
            mask: settings.mask_id(&inner)?,
            inner,
            path: path.clone(),
            vocabulary,
            family,
            longest_sequence: LongestSequence::of(folder, &settings)?,
            gives_token_types: settings.gives_token_types(),
            cuts_left: settings.cuts_left()?,
        };
        let outside = tokenizer.tokens_outside();
        if outside > 0 {
            let size = tokenizer.inner.get_vocab_size(true);
            return Err(failed(format!(
                "it has {size} tokens but the model embeds {vocabulary}, and {outside} of the others are no added tokens: it \
                 belongs to another model"
            )));
        }
        match (family, tokenizer.markers()?) {
            (family, None) if family.is_encoder() => {
                let name = family.name();
                Err(failed(format!(
                    "it puts no markers around a sentence, as [CLS] and [SEP]: it is not a {name} tokenizer"
                )))
            }
            _ => Ok(tokenizer),
        }
    }

    /// Tokens of the vocabulary outside the model's embeddings. Tokens that somebody added are not counted: nothing is wrong
    /// until a text uses them.
    fn tokens_outside(&self) -> usize {
        let added = self.inner.get_added_vocabulary().get_vocab();
        let vocabulary = self.inner.get_vocab(false);
        let outside = |(token, id): &(&String, &u32)| **id as usize >= self.vocabulary && !added.contains_key(*token);
        vocabulary.iter().filter(outside).count()
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

    /// The markers of a window of running text: those of a sentence for BERT, none for a language model.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn window_markers(&self) -> Result<Option<(u32, u32)>, ModelError> {
        if self.family.is_encoder() { self.markers() } else { Ok(None) }
    }

    /// The longest sequence that the folder allows; `None` where it sets no limit.
    pub fn longest_sequence(&self) -> Option<&LongestSequence> {
        self.longest_sequence.as_ref()
    }

    /// The id that stands for a masked token; `None` where the folder names none.
    pub fn mask_token(&self) -> Option<u32> {
        self.mask.filter(|&id| (id as usize) < self.vocabulary)
    }

    /// Whether an id is that of a special token.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        self.inner.id_to_token(id).is_some_and(|token| added.is_special_token(&token))
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
        let encoding = self.caught(|| self.inner.encode_fast(text, special))?;
        self.check_ids(encoding.get_ids())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Refuses a token that the model does not embed.
    fn check_ids(&self, ids: &[u32]) -> Result<(), ModelError> {
        let failed = |message: String| ModelError::Tokenizer { path: self.path.clone(), message };
        match ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(&id) => Err(failed(format!(
                "the text uses `{}`, id {id}, outside the model's {} embeddings; leave the token out of the text, or resize the \
                 embeddings",
                self.inner.id_to_token(id).unwrap_or_default(),
                self.vocabulary
            ))),
            None => Ok(()),
        }
    }
}

/// `tokenizer.json`; `None` if the folder has none.
fn document(folder: &Path) -> Result<Option<Value>, ModelError> {
    let path = folder.join(TOKENIZER_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |message: String| ModelError::Tokenizer { path: path.clone(), message };
    let text = read_text(&path)?;
    if let Some(found) = instead_of_a_file(text.as_bytes()) {
        return Err(failed(format!("{found}; fetch it again")));
    }
    let cure = "fetch it again, or save it with `tokenizer.save_pretrained(folder)`";
    let file: Value =
        serde_json::from_str(&text).map_err(|error| failed(format!("it is no JSON ({error}); {cure}")))?;
    if file.is_object() { Ok(Some(file)) } else { Err(failed(format!("it is no JSON object; {cure}"))) }
}

/// Two added tokens that the normalizer makes one: which of them a text uses is not defined.
fn same_once_normalized<'a>(inner: &tokenizers::Tokenizer, added: &'a [AddedToken]) -> Option<(&'a str, &'a str)> {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for token in added.iter().filter(|token| token.normalized) {
        let mut text = NormalizedString::from(token.content.as_str());
        // A token that cannot be normalized is found by nobody.
        inner.get_normalizer().map(|normalizer| normalizer.normalize(&mut text)).transpose().ok()?;
        match seen.iter().find(|(normalized, _)| normalized == text.get()) {
            Some((_, other)) => return Some((other, &token.content)),
            None => seen.push((text.get().to_owned(), &token.content)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What transformers made of folders whose files agree or not; `tests/golden/tokenizers/record.py` wrote it.
    pub(super) const FOLDERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tokenizers/folders.json");

    /// Writes the folder of a recorded case and opens its tokenizer.
    pub(super) fn opened(folder: &Path, recorded: &Value, case: &Value) -> Result<Tokenizer, ModelError> {
        let mut document = recorded["bases"][case["base"].as_str().unwrap()].clone();
        for (key, value) in case["tokenizer"].as_object().unwrap() {
            document[key] = value.clone();
        }
        std::fs::write(folder.join(TOKENIZER_FILE), document.to_string()).unwrap();
        for (name, content) in case["files"].as_object().unwrap() {
            std::fs::write(folder.join(name), content.as_str().unwrap()).unwrap();
        }
        let family = if case["base"] == "bert" { Family::Bert } else { Family::Gpt2 };
        Tokenizer::open(folder, 10_000, family)
    }

    #[test]
    fn ids_are_those_of_transformers_or_the_key_is_named() {
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(FOLDERS).unwrap()).unwrap();
        let texts: Vec<&str> = recorded["texts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let (mut same, mut refused, mut wrong) = (0, 0, Vec::new());
        for (index, case) in recorded["cases"].as_array().unwrap().iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let ids = opened(folder.path(), &recorded, case)
                .and_then(|tokenizer| texts.iter().map(|text| tokenizer.sentence(text)).collect::<Result<Vec<_>, _>>());
            match ids {
                Ok(ids) if json!(ids) == case["ids"] => same += 1,
                Err(error) if case["ids"].is_null() => {
                    refused += 1;
                    assert!(error.to_string().contains("tokenizer"), "{error}");
                }
                Err(error) if error.to_string().contains("tokenizer_config.json: ") => refused += 1,
                found => wrong.push(format!("{index}: {case}: {found:?}")),
            }
        }
        assert!(wrong.is_empty(), "{} of {same} + {refused}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(same > 70 && refused > 3, "{same} {refused}");
    }

    /// What transformers made of folders of every class, with `tokenizer.json` and without; `vocabularies.py` beside it wrote it.
    #[test]
    fn vocabularies_of_every_class_give_the_ids_of_transformers() {
        let path = FOLDERS.replace("folders", "vocabularies");
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let list = |of: &Value| of.as_array().unwrap().clone();
        let text = |of: &Value| of.as_str().unwrap().to_owned();
        let (mut same, mut refused, mut wrong) = (0, 0, Vec::new());
        for case in list(&recorded["cases"]) {
            let folder = tempfile::tempdir().unwrap();
            for (name, number) in case["files"].as_object().unwrap() {
                let content = &recorded["contents"][number.as_u64().unwrap() as usize];
                std::fs::write(folder.path().join(name), text(content)).unwrap();
            }
            // The class follows from the files; the family asks for nothing of it.
            let found = Tokenizer::open(folder.path(), 10_000, Family::Gpt2).map(|tokenizer| {
                let pair = |pair: &Value| {
                    let [first, second] = [0, 1].map(|index| tokenizer.tokenized(&text(&pair[index])).unwrap());
                    tokenizer.framed(&first, Some(&second), None).unwrap().ids
                };
                let ids: Vec<_> =
                    list(&recorded["texts"]).iter().map(|one| tokenizer.sentence(&text(one)).unwrap()).collect();
                (json!(ids), json!(list(&recorded["pairs"]).iter().map(pair).collect::<Vec<_>>()))
            });
            match found {
                Ok((ids, pairs)) if ids == case["ids"] && pairs == case["pairs"] => same += 1,
                Err(ModelError::Tokenizer { .. }) if case["ids"].is_null() => refused += 1,
                found => {
                    wrong.push(format!("{} {}: {found:?}, not {}", case["model_type"], case["files"], case["ids"]))
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {same} + {refused}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(same > 100 && refused > 10, "{same} {refused}");
    }

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
        let config = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        let error = Tokenizer::open(folder.path(), 10, Family::Bert).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: its reader gave up"), "{error}");
    }
}
