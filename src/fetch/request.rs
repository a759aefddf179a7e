//! The checkpoints that a manifest names on a hub.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::FetchError;
use super::download::short;
use crate::manifest::LoadedManifest;
use crate::model::{CHECKPOINT_FILES, INDEX_FILE, ModelSource, WEIGHTS_FILE, hub_folder, optional_files};

/// The file that a vocabulary may stand for.
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";

/// One revision of one repository, for one or several models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckpointRequest {
    /// The first model that names it.
    pub model: String,
    pub repository: String,
    pub revision: String,
    /// Folder that it is fetched into.
    pub folder: PathBuf,
    /// Its files by name, with their pins.
    pub files: BTreeMap<String, Option<String>>,
    /// Whether random weights stand in while it is absent.
    pub fallback: bool,
}

/// A file of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestedFile<'a> {
    pub name: &'a str,
    /// Its digest in the manifest.
    pub pin: Option<&'a str>,
    /// Whether the checkpoint is whole without it.
    pub optional: bool,
}

impl CheckpointRequest {
    /// Every hub checkpoint of the manifest, each once.
    ///
    /// # Errors
    /// [`FetchError::Pins`] when two models disagree about a file.
    pub fn of(loaded: &LoadedManifest) -> Result<Vec<CheckpointRequest>, FetchError> {
        let mut all: Vec<CheckpointRequest> = Vec::new();
        let named = loaded.manifest.models.iter();
        for (entry, source) in named.flat_map(|entry| entry.source.candidates().iter().map(move |one| (entry, one))) {
            let ModelSource::Hub { repository, revision, sha256, files, .. } = source else { continue };
            let mut pins: BTreeMap<String, Option<String>> =
                CHECKPOINT_FILES.into_iter().chain(optional_files()).map(|name| (name.to_owned(), None)).collect();
            pins.insert(WEIGHTS_FILE.to_owned(), Some(sha256.clone()));
            // Weights in several files: the digest is that of all, and each of them has its own pin.
            if files.contains_key(INDEX_FILE) {
                pins.remove(WEIGHTS_FILE);
            }
            pins.extend(files.iter().map(|(name, digest)| (name.clone(), Some(digest.clone()))));
            let request = CheckpointRequest {
                model: entry.name.clone(),
                folder: hub_folder(&loaded.base_dir, repository, revision),
                repository: repository.clone(),
                revision: revision.clone(),
                files: pins,
                fallback: entry.source.stand_in().is_some() && entry.source.checkpoint_here(&loaded.base_dir).is_none(),
            };
            match all.iter_mut().find(|other| other.folder == request.folder) {
                Some(other) => other.join(request)?,
                None => all.push(request),
            }
        }
        Ok(all)
    }

    /// Adds the pins of another model of the same revision.
    fn join(&mut self, other: CheckpointRequest) -> Result<(), FetchError> {
        self.fallback &= other.fallback;
        for (file, pin) in other.files {
            let known = self.files.entry(file.clone()).or_default();
            if known.is_some() && pin.is_some() && *known != pin {
                let (first, second) = (self.model.clone(), other.model);
                return Err(FetchError::Pins { first, second, file, repository: self.repository.clone() });
            }
            *known = known.take().or(pin);
        }
        Ok(())
    }

    /// `openai-community/gpt2 607a30d783df`
    pub fn label(&self) -> String {
        format!("{} {}", self.repository, short(&self.revision))
    }

    /// The same with a vocabulary of these files in the place of tokenizer.json, which the repository lacks; `None` if tokenizer.json
    /// is pinned.
    pub fn with_vocabulary(&self, names: &[&str]) -> Option<CheckpointRequest> {
        let mut request = self.clone();
        if request.files.remove(TOKENIZER_FILE)?.is_some() {
            return None;
        }
        for &name in names {
            request.files.entry(name.to_owned()).or_default();
        }
        Some(request)
    }

    /// The files in the order they are fetched: the weights last, so that a mistake in the manifest shows early, and before
    /// them the files that the repository may lack.
    pub fn in_order(&self) -> impl Iterator<Item = RequestedFile<'_>> {
        let files = self.files.iter().map(|(name, pin)| RequestedFile {
            name: name.as_str(),
            pin: pin.as_deref(),
            optional: pin.is_none() && optional_files().any(|optional| optional == name),
        });
        let mut files: Vec<RequestedFile<'_>> = files.collect();
        files.sort_by_key(|file| (file.name.ends_with(".safetensors"), file.optional));
        files.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::Manifest;

    fn request(models: &str) -> Result<Vec<CheckpointRequest>, FetchError> {
        let text = format!(
            "schema: 1\nname: m\nquestion: q\nmodels: {{{models}, tiny: {{random: 1, architecture: bert-tiny}}}}\n\
             backends: [reference]\nprecisions: [fp32]\nbatch_sizes: [1]\nsequence_lengths: [8]\n\
             inputs: {{r: {{random: 1}}}}\nexpect_configurations: {}\n",
            models.matches("hub:").count() + 1
        );
        let manifest = Manifest::parse(&text, "m.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        CheckpointRequest::of(&LoadedManifest {
            manifest,
            sha256: String::new(),
            base_dir: PathBuf::from("experiments"),
        })
    }

    fn hub(more: &str) -> String {
        format!("{{hub: a/b, revision: '{}', sha256: '{}'{more}}}", "0".repeat(40), "1".repeat(64))
    }

    #[test]
    fn models_of_one_revision_are_one_checkpoint_with_all_their_pins() {
        let pin = |name: &str, digit: &str| format!(", files: {{{name}: '{}'}}", digit.repeat(64));
        let models = |second: &str| format!("one: {}, two: {}", hub(&pin("config.json", "2")), hub(second));
        let found = request(&models(&pin("vocab.json", "3"))).unwrap();
        assert_eq!((found.len(), found[0].model.as_str(), found[0].fallback), (1, "one", false));
        assert!(found[0].folder.ends_with(format!("runs/hub/a--b/{}", "0".repeat(40))));
        let file =
            |file: RequestedFile<'_>| (file.name.to_owned(), file.pin.map(|pin| pin[..1].to_owned()), file.optional);
        let files: Vec<_> = found[0].in_order().map(file).collect();
        let expected = [
            ("config.json", Some("2"), false),
            ("tokenizer.json", None, false),
            ("vocab.json", Some("3"), false),
            ("added_tokens.json", None, true),
            ("special_tokens_map.json", None, true),
            ("tokenizer_config.json", None, true),
            ("model.safetensors", Some("1"), false),
        ]
        .map(|(name, pin, optional)| (name.to_owned(), pin.map(str::to_owned), optional));
        assert_eq!(files, expected);
        let message = request(&models(&pin("config.json", "4"))).unwrap_err().to_string();
        assert!(message.contains("`one` and `two` pin different digests of config.json"), "{message}");
        let index = pin("model.safetensors.index.json", "2");
        let shards = index.replace('}', &format!(", model-00001-of-00001.safetensors: '{}'}}", "3".repeat(64)));
        let names: Vec<String> = request(&format!("one: {}", hub(&shards))).unwrap()[0]
            .in_order()
            .filter(|file| !file.optional)
            .map(|file| file.name.to_owned())
            .collect();
        let shard = "model-00001-of-00001.safetensors";
        assert_eq!(names, ["config.json", "model.safetensors.index.json", "tokenizer.json", shard]);
    }
}
