//! A checkpoint as a graph whose weights are read tensor by tensor.

mod absent;
mod activation;
mod albert;
mod architecture;
mod argument;
mod bert;
mod checkpoint;
mod classes;
mod config;
#[cfg(test)]
mod cost_tests;
mod damage;
mod decoder;
mod distilbert;
mod electra;
mod encoder;
mod error;
mod family;
mod gpt2;
mod head;
mod heads;
mod hub;
mod keys;
mod layers;
mod opt;
mod provenance;
mod quantization;
mod random;
mod raw_files;
mod roberta;
mod shards;
mod source;
mod task;
mod tensor_file;
mod tokenizer;
mod unread;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use absent::AbsentWeights;
pub use architecture::Architecture;
pub use argument::ModelArgument;
pub use config::{ModelConfig, ScoreScale, SharedLayers, TaskHead};
pub use error::ModelError;
pub use family::Family;
pub use head::Head;
pub use hub::{
    CHECKPOINT_FILES, DIGESTS_FILE, INDEX_FILE, PART_SUFFIX, VOCABULARY_FILES, WEIGHTS_FILE, hub_folder, missing_files,
    optional_files,
};
pub use provenance::{LABEL_DIGITS, WeightsOrigin, WeightsProvenance};
pub use quantization::quantization_notice;
pub use raw_files::RawFiles;
pub use shards::ShardError;
pub use source::{INJECTED_SUFFIX, Injection, ModelSource};
pub use task::{
    ModelOutput, ProblemType, ScoreFunction, config_here, dropped_head_sentence, graph_here, output_notice,
};
pub use tokenizer::{
    FramedText, LongestSequence, TOKENIZER_FILES, TokenPlace, TokenizedText, Tokenizer, longest_sequence_here,
};
pub use unread::{unread_notice, unread_sentence};

use crate::digest::sha256_file;
use crate::files::{FileVersion, joined};
use crate::graph::{Graph, Op, OpKind, ParamId};
use checkpoint::{Checkpoint, weights_sha256};
use head::with_head;
pub(crate) use random::draw as draw_parameter;

/// A model ready to be built into engines.
#[derive(Debug)]
pub struct Model {
    /// Manifest name.
    pub name: String,
    /// Configuration.
    pub config: ModelConfig,
    /// Typed operations.
    pub graph: Graph,
    /// Where the weights came from.
    pub provenance: WeightsProvenance,
    /// The files that it was opened from, config.json first; none of random weights.
    pub files: Vec<FileVersion>,
    /// Names of the checkpoint's tensors that the model has no use for.
    pub unread: Vec<String>,
    weights: Weights,
    outlier: Option<Outlier>,
}

/// An [`Injection`] as it is applied.
#[derive(Debug)]
struct Outlier {
    bias: ParamId,
    injection: Injection,
}

#[derive(Debug)]
enum Weights {
    Random { seed: u64 },
    Checkpoint { checkpoint: Checkpoint, folder: PathBuf, sha256: String },
}

/// The graph of a named architecture with its natural head.
pub fn architecture_graph(architecture: Architecture) -> Graph {
    build_graph(&ModelConfig::of(architecture))
}

pub(crate) fn build_graph(config: &ModelConfig) -> Graph {
    (config.family.definition().graph)(config)
}

impl Model {
    /// Opens a model: reads its configuration, builds its graph and checks every tensor's presence, shape and dtype, but
    /// reads no weights yet. Relative paths start from `base_dir`.
    ///
    /// # Errors
    /// [`ModelError`] naming the file, key or tensor.
    pub fn open(name: &str, source: &ModelSource, base_dir: &Path, head: Head) -> Result<Model, ModelError> {
        match source {
            ModelSource::Random { seed, architecture } => Self::random(name, *seed, *architecture, head),
            ModelSource::Injected { source, inject } => Self::open(name, source, base_dir, head)?.with_outlier(*inject),
            ModelSource::Checkpoint { path, sha256 } => {
                Self::from_folder(name, &joined(base_dir, path), sha256.as_deref(), head)
            }
            ModelSource::Hub { .. } | ModelSource::FirstOf { .. } => {
                let head = source.head(base_dir, head);
                match (source.checkpoint_here(base_dir), source.stand_in()) {
                    (Some(ModelSource::Hub { repository, revision, sha256, files, .. }), _) => {
                        let folder = hub_folder(base_dir, repository, revision);
                        check_pins(&folder, files)?;
                        let model = Self::from_folder(name, &folder, Some(sha256), head)?;
                        let (repository, revision) = (repository.clone(), revision.clone());
                        Ok(model.with_origin(WeightsOrigin::Hub { repository, revision, sha256: sha256.clone() }))
                    }
                    (Some(folder), _) => Self::open(name, folder, base_dir, head),
                    (None, Some((seed, architecture))) => {
                        let model = Self::random(name, seed, architecture, head)?;
                        Ok(model.with_origin(stand_in(seed, source)))
                    }
                    (None, None) => Err(absent(name, source, base_dir)),
                }
            }
        }
    }

    fn with_origin(mut self, origin: WeightsOrigin) -> Model {
        self.provenance.origin = origin;
        self
    }

    /// The same model with the outlier, which its label names.
    fn with_outlier(mut self, injection: Injection) -> Result<Model, ModelError> {
        let Injection { layer, channel, .. } = injection;
        let biases = |op: &Op| match op.kind {
            OpKind::Linear { bias, .. } => bias,
            _ => None,
        };
        let name = format!("layer.{layer}/mlp/fc2");
        match self.graph.ops.iter().find(|op| op.name == name).and_then(biases) {
            Some(bias) if self.graph.ops.iter().filter(|op| biases(op) == Some(bias)).count() > 1 => {
                Err(ModelError::InjectionShared { model: self.name, layer })
            }
            Some(bias) if channel < self.graph.dimensions.hidden => {
                self.provenance.outlier = Some(injection);
                self.outlier = Some(Outlier { bias, injection });
                Ok(self)
            }
            _ => {
                let (layers, hidden) = (self.graph.dimensions.layers, self.graph.dimensions.hidden);
                Err(ModelError::Injection { model: self.name, layer, channel, layers, hidden })
            }
        }
    }

    fn random(name: &str, seed: u64, architecture: Architecture, head: Head) -> Result<Model, ModelError> {
        let config = with_head(name, ModelConfig::of(architecture), head)?;
        Ok(Model {
            name: name.to_owned(),
            graph: build_graph(&config),
            config,
            provenance: WeightsOrigin::Random { seed }.into(),
            files: Vec::new(),
            unread: Vec::new(),
            weights: Weights::Random { seed },
            outlier: None,
        })
    }

    fn from_folder(name: &str, folder: &Path, pin: Option<&str>, head: Head) -> Result<Model, ModelError> {
        let (natural, checkpoint, config_file) = open_folder(folder)?;
        let weights_files = checkpoint.versions()?;
        let found = weights_sha256(&weights_files);
        if let Some(expected) = pin.filter(|pin| *pin != found) {
            let path = checkpoint.path().to_owned();
            return Err(ModelError::Digest { path, found, expected: expected.to_owned() });
        }
        let unread = checkpoint.unread(&build_graph(&natural));
        let config = with_head(name, natural, head)?;
        let graph = build_graph(&config);
        graph.params.iter().try_for_each(|param| checkpoint.check(param))?;
        Ok(Model {
            name: name.to_owned(),
            config,
            graph,
            provenance: WeightsOrigin::Folder { sha256: found.clone() }.into(),
            files: [vec![config_file], weights_files].concat(),
            unread,
            weights: Weights::Checkpoint { checkpoint, folder: folder.to_owned(), sha256: found },
            outlier: None,
        })
    }

    /// One parameter as `[out, in]` f32, converted from the checkpoint's dtype or drawn at random.
    ///
    /// # Errors
    /// [`ModelError`] naming the tensor.
    pub fn param(&self, id: ParamId) -> Result<Vec<f32>, ModelError> {
        let param = self.graph.param(id);
        let mut values = match &self.weights {
            Weights::Random { seed } => random::draw(*seed, param),
            Weights::Checkpoint { checkpoint, .. } => checkpoint.read(param)?,
        };
        if let Some(Outlier { injection, .. }) = self.outlier.as_ref().filter(|outlier| outlier.bias == id) {
            values[injection.channel] += injection.magnitude as f32;
        }
        Ok(values)
    }

    /// What the weights are, exactly: `checkpoint sha256 ` and 64 digits, or `random seed N`, and the outlier where one was
    /// injected. With the graph it decides every bit of every parameter, which makes it part of cache keys.
    pub fn weights_identity(&self) -> String {
        let weights = match &self.weights {
            Weights::Random { seed } => format!("random seed {seed}"),
            Weights::Checkpoint { sha256, .. } => format!("checkpoint sha256 {sha256}"),
        };
        match &self.outlier {
            Some(Outlier { injection, .. }) => format!("{weights}, {injection}"),
            None => weights,
        }
    }

    /// SHA-256 of its config.json; `None` of random weights.
    pub fn config_sha256(&self) -> Option<&str> {
        self.files.first().map(|file| file.sha256.as_str())
    }

    /// The files of its folder that decide token ids, in the order of [`TOKENIZER_FILES`]; none of random weights.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn tokenizer_files(&self) -> Result<Vec<FileVersion>, ModelError> {
        let Weights::Checkpoint { folder, .. } = &self.weights else { return Ok(Vec::new()) };
        tokenizer::files_read(folder).map(|path| Ok(FileVersion::now(&path)?)).collect()
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// [`ModelError::NoTokenizer`] for random weights, [`ModelError::Tokenizer`] otherwise.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        match &self.weights {
            Weights::Random { .. } => Err(ModelError::NoTokenizer { model: self.name.clone() }),
            Weights::Checkpoint { folder, .. } => {
                Tokenizer::open(folder, self.config.dimensions.vocabulary, self.config.family)
            }
        }
    }
}

/// The configuration of a folder with the head that its class has, and its tensors.
fn open_folder(folder: &Path) -> Result<(ModelConfig, Checkpoint, FileVersion), ModelError> {
    if let Some(absent) = absent::no_folder(folder) {
        return Err(absent.into());
    }
    let path = folder.join("config.json");
    // Before it is read: a change meanwhile shows afterwards.
    let config_file = FileVersion::now(&path)?;
    let mut config = ModelConfig::read(&path)?;
    let checkpoint = Checkpoint::open(folder, &config)?;
    config.tied_head = config.tied_head && !checkpoint.has_own_head()?;
    Ok((config, checkpoint, config_file))
}

/// The origin of random weights that stand in for the first of the model's sources.
fn stand_in(seed: u64, source: &ModelSource) -> WeightsOrigin {
    let (repository, revision) = match source.candidates().first() {
        Some(ModelSource::Hub { repository, revision, .. }) => (repository.clone(), Some(revision.clone())),
        Some(ModelSource::Checkpoint { path, .. }) => {
            (path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(), None)
        }
        _ => (source.to_string(), None),
    };
    WeightsOrigin::StandIn { seed, repository, revision }
}

fn absent(name: &str, source: &ModelSource, base_dir: &Path) -> ModelError {
    match source {
        ModelSource::Hub { repository, revision, .. } => ModelError::NotFetched {
            path: hub_folder(base_dir, repository, revision),
            repository: repository.clone(),
            revision: revision.clone(),
        },
        several => ModelError::NoSource { model: name.to_owned(), places: several.places() },
    }
}

/// Compares the files that a model is read from with their pins. The pin of the weights is checked elsewhere.
fn check_pins(folder: &Path, pins: &BTreeMap<String, String>) -> Result<(), ModelError> {
    let is_read = |name: &str| CHECKPOINT_FILES.contains(&name) || TOKENIZER_FILES.contains(&name);
    for (name, expected) in pins.iter().filter(|(name, _)| is_read(name)) {
        let path = folder.join(name);
        let found = sha256_file(&path).map_err(|source| ModelError::io(&path, source))?;
        if found != *expected {
            return Err(ModelError::Digest { path, found, expected: expected.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::OutputKind;

    fn injected(layer: usize, channel: usize) -> Result<Model, ModelError> {
        let source = Box::new(ModelSource::Random { seed: 1, architecture: Architecture::Gpt2Tiny });
        let inject = Injection { layer, channel, magnitude: -3000.0 };
        Model::open("tiny", &ModelSource::Injected { source, inject }, Path::new("."), Head::Natural)
    }

    #[test]
    fn an_outlier_changes_one_value_and_every_label() {
        let source = ModelSource::Random { seed: 1, architecture: Architecture::Gpt2Tiny };
        let plain = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let model = injected(1, 63).unwrap();
        let mut changed = Vec::new();
        for index in 0..model.graph.params.len() {
            let (before, after) = (plain.param(ParamId(index)).unwrap(), model.param(ParamId(index)).unwrap());
            let differing = before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a != b);
            changed.extend(differing.map(|(at, (a, b))| (model.graph.params[index].name.clone(), at, b - a)));
        }
        assert_eq!(changed, [("layer.1/mlp/fc2/bias".to_owned(), 63, -3000.0)]);
        let label = model.provenance.to_string();
        assert_eq!(label, "random weights, seed 1, injected outlier of -3000 in layer 1, channel 63");
        assert_ne!(model.weights_identity(), plain.weights_identity());
        assert_ne!(model.weights_identity(), injected(1, 62).unwrap().weights_identity());
    }

    #[test]
    fn random_weights_have_every_head_of_their_family_and_no_other() {
        let open = |architecture, head| {
            let source = ModelSource::Random { seed: 1, architecture };
            Model::open("model", &source, Path::new("."), head)
        };
        let kind = |architecture, head| open(architecture, head).map(|model| model.graph.output_kind);
        let kinds = [
            (Architecture::RobertaBase, Head::Natural, OutputKind::Hidden),
            (Architecture::AlbertBase, Head::MaskedLm, OutputKind::MaskedTokenLogits),
            (Architecture::ElectraSmall, Head::SequenceClassification, OutputKind::ClassLogits),
            (Architecture::DistilbertBase, Head::QuestionAnswering, OutputKind::SpanLogits),
            (Architecture::Gpt2Medium, Head::TokenClassification, OutputKind::TokenClassLogits),
            // It sees the tokens after each.
            (Architecture::BertLarge, Head::CausalLm, OutputKind::MaskedTokenLogits),
            (Architecture::Opt125m, Head::LastToken, OutputKind::LastTokenLogits),
        ];
        for (architecture, head, expected) in kinds {
            assert_eq!(kind(architecture, head).unwrap(), expected, "{architecture:?} {head:?}");
        }
        let error = kind(Architecture::Opt125m, Head::MaskedLm).unwrap_err().to_string();
        let says =
            "`opt` has no head `masked-lm`; leave out the head, or write `hidden` or one of `sequence-classification`";
        assert!(error.contains(says), "{error}");
        assert!(
            kind(Architecture::BertLarge, Head::LastToken).unwrap_err().to_string().contains("is no language model")
        );
    }

    #[test]
    fn an_outlier_in_shared_weights_is_refused() {
        let source = Box::new(ModelSource::Random { seed: 1, architecture: Architecture::AlbertBase });
        let inject = Injection { layer: 3, channel: 0, magnitude: -3000.0 };
        let source = ModelSource::Injected { source, inject };
        let message = Model::open("albert", &source, Path::new("."), Head::Natural).unwrap_err().to_string();
        assert!(
            message.contains("cannot inject into layer 3 alone: its weights are those of other layers"),
            "{message}"
        );
    }

    #[test]
    fn an_outlier_beyond_the_model_names_what_it_has() {
        for (layer, channel) in [(2, 0), (0, 64)] {
            let message = injected(layer, channel).unwrap_err().to_string();
            assert!(message.contains("it has 2 layers of 64 channels"), "{message}");
        }
    }
}
