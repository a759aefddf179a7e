//! Why a folder holds no weights that can be read, and what brings them.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::hub::WEIGHTS_FILE;
use super::tensor_file::file_name;

/// What is there instead of a model's folder or of its weights.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum AbsentWeights {
    /// No such folder.
    #[error(
        "{path}: there is no such folder; a model is a folder with config.json, model.safetensors and tokenizer.json; a \
         model of a hub is named in a manifest, `hub: {repository}` with its revision and sha256, and `mixprec fetch` \
         brings it"
    )]
    Folder { path: PathBuf, repository: String },
    /// A file, not its folder.
    #[error("{path}: it is a file; name the folder that holds config.json, model.safetensors and tokenizer.json")]
    File { path: PathBuf },
    /// An adapter.
    #[error(
        "{path}: the folder holds an adapter without the model that it adapts; merge the two with peft: \
         `model.merge_and_unload().save_pretrained(folder)`"
    )]
    Adapter { path: PathBuf },
    /// A pickle checkpoint.
    #[error(
        "{path}: pickle checkpoints are refused because unpickling runs code from the file; PyTorch loads the weights \
         alone, and this keeps every tensor; run it once, in the folder: `{cure}`",
        cure = conversion(path)
    )]
    Pickle { path: PathBuf },
    /// Weights of another framework.
    #[error("{path}: these weights are for {framework}; save them with PyTorch as model.safetensors")]
    Framework { path: PathBuf, framework: &'static str },
    /// Safetensors under another name.
    #[error("{path}: the weights are read from model.safetensors; rename the file if it holds the whole model")]
    Name { path: PathBuf },
}

/// Reads pickles without running their code, keeps config.json as it is, and writes one file. A tensor that others share
/// memory with is stored once for each, which safetensors would otherwise refuse.
fn conversion(pickle: &Path) -> String {
    let load = "torch.load(f,weights_only=True,map_location='cpu')";
    let files = match pickle.extension().is_some_and(|extension| extension == "json") {
        true => "glob.glob('pytorch_model-*.bin')".to_owned(),
        false => format!("['{}']", file_name(pickle)),
    };
    format!(
        "python -c \"import glob,torch,safetensors.torch as s; s.save_file({{k:v.clone().contiguous() for f in {files} for \
         k,v in {load}.items()}},'{WEIGHTS_FILE}',{{'format':'pt'}})\""
    )
}

/// Files that hold weights which are not read, and what they are for.
const PICKLES: [&str; 5] = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "model.pt", "model.pth"];
const FRAMEWORKS: [(&str, &str); 4] = [
    ("tf_model.h5", "TensorFlow"),
    ("bert_model.ckpt.index", "TensorFlow"),
    ("flax_model.msgpack", "Flax"),
    ("rust_model.ot", "rust-bert"),
];

/// Why `folder` is no model's, before any of its files is read.
pub(super) fn no_folder(folder: &Path) -> Option<AbsentWeights> {
    let path = folder.to_owned();
    if folder.is_file() {
        return Some(AbsentWeights::File { path });
    }
    if !folder.exists() {
        // `google-bert/bert-base-uncased`: two names, and no folder of the first.
        let typed = folder.strip_prefix(".").unwrap_or(folder).to_string_lossy();
        // As a manifest has it, or alone.
        let text = typed.strip_prefix("hub:").unwrap_or(&typed).trim_start();
        let owner = text.split_once('/').filter(|(owner, name)| !owner.is_empty() && !name.contains('/'));
        let named = owner.is_some_and(|(owner, _)| !Path::new(owner).exists());
        let repository = if named { text.to_owned() } else { "owner/name".to_owned() };
        return Some(AbsentWeights::Folder { path, repository });
    }
    let adapter = folder.join("adapter_config.json").exists() && !folder.join("config.json").exists();
    adapter.then_some(AbsentWeights::Adapter { path })
}

/// Why `folder` has no weights; `None` where nothing explains it.
pub(super) fn no_weights(folder: &Path) -> Option<AbsentWeights> {
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    if let Some(path) = PICKLES.into_iter().find_map(there) {
        return Some(AbsentWeights::Pickle { path });
    }
    if there("adapter_model.safetensors").or_else(|| there("adapter_config.json")).is_some() {
        return Some(AbsentWeights::Adapter { path: folder.to_owned() });
    }
    let other = FRAMEWORKS.into_iter().find_map(|(name, framework)| Some((there(name)?, framework)));
    if let Some((path, framework)) = other {
        return Some(AbsentWeights::Framework { path, framework });
    }
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let named = files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    named.min().map(|path| AbsentWeights::Name { path })
}
