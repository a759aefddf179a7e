//! A checkpoint in several safetensors files: `model.safetensors.index.json` says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use super::ModelError;
use super::damage::instead_of_a_file;
use super::tensor_file::{MAX_HEADER_BYTES, TensorFile};
use crate::files::{open as open_file, text};

/// An index and its shards that do not belong together.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ShardError {
    /// The index cannot be read.
    #[error("{path}: {message}; fetch it again")]
    Index { path: PathBuf, message: String },
    /// A name that leads out of the folder.
    #[error("{path}: weight_map names `{shard}`, which is no name of a file beside it; write the file's name alone")]
    Outside { path: PathBuf, shard: String },
    /// A shard is not there.
    #[error("{path}: weight_map names `{shard}`, which is not there; fetch every file that it names")]
    Absent { path: PathBuf, shard: String },
    /// A shard lacks a tensor.
    #[error("{path}: weight_map puts tensor `{tensor}` into `{shard}`, which does not hold it; fetch both files again")]
    Lacking { path: PathBuf, tensor: String, shard: String },
    /// Two shards hold one tensor.
    #[error(
        "{path}: tensor `{tensor}` is in `{first}` and in `{second}`; save the checkpoint again, with each tensor once"
    )]
    Twice { path: PathBuf, tensor: String, first: String, second: String },
}

/// Opens the shards that an index names, in the order of their names.
///
/// # Errors
/// [`ShardError`] naming the index and the shard, or what is wrong with a shard itself.
pub(super) fn open(index: &Path) -> Result<Vec<TensorFile>, ModelError> {
    let weight_map = read(index)?;
    let path = || index.to_owned();
    let folder = index.parent().unwrap_or(Path::new(""));
    let mut files: Vec<TensorFile> = Vec::new();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        let mut parts = Path::new(shard).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) || shard.contains(['/', '\\']) {
            return Err(ShardError::Outside { path: path(), shard: shard.clone() }.into());
        }
        let file = folder.join(shard);
        if !file.exists() {
            return Err(ShardError::Absent { path: path(), shard: shard.clone() }.into());
        }
        files.push(TensorFile::open(file)?);
    }
    let mut holders: BTreeMap<&str, String> = BTreeMap::new();
    for (tensor, second) in files.iter().flat_map(|file| file.tensors.keys().map(|tensor| (tensor, file.name()))) {
        if let Some(first) = holders.insert(tensor, second.clone()) {
            return Err(ShardError::Twice { path: path(), tensor: tensor.clone(), first, second }.into());
        }
    }
    match weight_map.iter().find(|(tensor, shard)| holders.get(tensor.as_str()) != Some(shard)) {
        Some((tensor, shard)) => {
            Err(ShardError::Lacking { path: path(), tensor: tensor.clone(), shard: shard.clone() }.into())
        }
        None => Ok(files),
    }
}

/// The shards that an index names.
///
/// # Errors
/// [`ShardError`] naming the index.
pub(super) fn names(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    Ok(read(index)?.into_values().collect())
}

/// The shard of every tensor.
fn read(index: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    let failed = |source| ModelError::io(index, source);
    let wrong = |message: String| ShardError::Index { path: index.to_owned(), message };
    let mut bytes = Vec::new();
    open_file(index).and_then(|file| file.take(MAX_HEADER_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    if let Some(found) = instead_of_a_file(&bytes) {
        return Err(wrong(found.to_owned()).into());
    }
    let text = text(&bytes).map_err(|error| failed(io::Error::new(ErrorKind::InvalidData, error)))?;
    let json: Value = serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON ({error})")))?;
    let entries = json.get("weight_map").and_then(Value::as_object).filter(|entries| !entries.is_empty());
    let Some(entries) = entries else {
        return Err(wrong("it has no weight_map from tensors to files".to_owned()).into());
    };
    let shard = |(tensor, file): (&String, &Value)| match file.as_str() {
        Some(file) => Ok((tensor.clone(), file.to_owned())),
        None => Err(wrong(format!("weight_map names no file for tensor `{tensor}`")).into()),
    };
    entries.iter().map(shard).collect()
}
