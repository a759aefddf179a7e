//! Why a checkpoint cannot be used.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{AbsentWeights, ShardError};
use crate::files::FileError;

/// A checkpoint that cannot be used, and what to do about it.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ModelError {
    /// A file could not be read.
    #[error("{0}; a model is a folder with config.json, model.safetensors and tokenizer.json")]
    Io(#[from] FileError),
    /// `config.json` cannot be used.
    #[error("{path}: {message}")]
    Config { path: PathBuf, message: String },
    /// The tokenizer cannot be used.
    #[error("{path}: {message}")]
    Tokenizer { path: PathBuf, message: String },
    /// A model without next-token logits was asked for them.
    #[error(
        "model `{model}` is no language model: it has no logits of a last token; leave out the head, or write `head: hidden`"
    )]
    NoLanguageModel { model: String },
    /// A model was asked for a head that its family does not have.
    #[error(
        "model `{model}`: the family `{family}` has no head `{head}`; leave out the head, or write `hidden` or one of {heads}"
    )]
    NoHead { model: String, head: &'static str, family: &'static str, heads: String },
    /// A row holds the padding id of a model whose positions pass over it.
    #[error(
        "a text holds the token {id}, which pads the rows of `{family}` and has no position of its own there: what follows it would \
         stand elsewhere than in transformers; leave the token out of the text"
    )]
    Unplaced { id: u32, family: &'static str },
    /// A model without a tokenizer was asked for text.
    #[error(
        "model `{model}` has random weights and so no tokenizer; give it random ids without separators, or a checkpoint folder"
    )]
    NoTokenizer { model: String },
    /// No weights that can be read.
    #[error(transparent)]
    Absent(#[from] AbsentWeights),
    /// Weights in several files that do not belong together.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// The safetensors file is damaged.
    #[error("{path}: {message}; fetch it again")]
    Damaged { path: PathBuf, message: String },
    /// The header's metadata is not what safetensors allows.
    #[error("{path}: its `__metadata__` has the value {found} for `{key}`, not a string; save it again with strings")]
    Metadata { path: PathBuf, key: String, found: String },
    /// A tensor is there under two of its names.
    #[error(
        "{path}: `{first}` and `{second}` are both there, as of two models in one file; keep the tensors of one of them"
    )]
    TwoTensors { path: PathBuf, first: String, second: String },
    /// A tensor is absent.
    #[error(
        "{path}: tensor `{tensor}` is missing; the file's names are like `{example}`; save the whole model \
         again, or correct config.json"
    )]
    MissingTensor { path: PathBuf, tensor: String, example: String },
    /// A tensor has another shape than the configuration says.
    #[error("{path}: tensor `{tensor}` has shape {found:?}, config.json implies {expected:?}; correct the sizes in it")]
    TensorShape { path: PathBuf, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    /// A tensor is not floating-point.
    #[error("{path}: tensor `{tensor}` has dtype {dtype}; F32, F16, BF16 and F64 can be read: save it as one of them")]
    TensorDtype { path: PathBuf, tensor: String, dtype: String },
    /// An outlier for a layer or channel that the model does not have.
    #[error(
        "model `{model}`: cannot inject into layer {layer}, channel {channel}: it has {layers} layers of {hidden} channels, \
         counted from 0; correct `inject` in the manifest"
    )]
    Injection { model: String, layer: usize, channel: usize, layers: usize, hidden: usize },
    /// An outlier for a layer whose weights are those of others.
    #[error(
        "model `{model}`: cannot inject into layer {layer} alone: its weights are those of other layers; leave `inject` out of the \
         manifest"
    )]
    InjectionShared { model: String, layer: usize },
    /// The file is not the pinned one.
    #[error("{path}: sha256 is {found}, the manifest pins {expected}; fetch the pinned file or correct the pin")]
    Digest { path: PathBuf, found: String, expected: String },
    /// A hub checkpoint is not on this machine.
    #[error(
        "{path}: `{repository}` at {revision} has not been fetched to this folder, and the manifest names no fallback; run \
         `mixprec fetch` on the manifest"
    )]
    NotFetched { path: PathBuf, repository: String, revision: String },
    /// No source of a model is on this machine.
    #[error(
        "model `{model}`: none of its sources is on this machine ({places}), and the manifest names no random weights to \
         stand in; `mixprec doctor` says how to get one"
    )]
    NoSource { model: String, places: String },
}

impl ModelError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        FileError::at(path)(source).into()
    }
}
