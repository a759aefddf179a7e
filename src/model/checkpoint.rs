//! The tensors of a checkpoint by name, in one safetensors file or in several.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;

use super::absent::no_weights;
use super::hub::{INDEX_FILE, WEIGHTS_FILE};
use super::tensor_file::{TensorFile, is_float};
use super::{Family, ModelConfig, ModelError, shards};
use crate::digest::sha256;
use crate::files::FileVersion;
use crate::graph::{Graph, Param};

/// An open checkpoint. The headers of its files have been read and checked, its tensors have not.
#[derive(Debug)]
pub struct Checkpoint {
    /// The file that stands for all: the only one, or the index of several.
    path: PathBuf,
    files: Vec<TensorFile>,
    family: Family,
    /// Whether the word table and the language-model head are one tensor.
    tied: bool,
}

/// SHA-256 of weights, hexadecimal: of the only file, or of the lines that `sha256sum` prints of the shards and their index in
/// the order of their names.
pub fn weights_sha256(versions: &[FileVersion]) -> String {
    match versions {
        [one] => one.sha256.clone(),
        several => {
            let lines = several.iter().map(|version| format!("{}  {}\n", version.sha256, version.name()));
            sha256(lines.collect::<String>().as_bytes())
        }
    }
}

/// A tensor and the file that holds it.
struct Stored<'a> {
    name: &'a str,
    info: &'a TensorInfo,
    file: &'a TensorFile,
}

impl Checkpoint {
    /// Opens `folder/model.safetensors`, or without it the files that `folder/model.safetensors.index.json` names, and checks
    /// their headers. A tensor name that is not found is tried again with the family's prefix in front.
    ///
    /// # Errors
    /// [`ModelError`] naming the file: a pickle checkpoint, a damaged header, a truncated file, or an absent shard.
    pub fn open(folder: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        let (one, index) = (folder.join(WEIGHTS_FILE), folder.join(INDEX_FILE));
        let (path, files) = if one.exists() {
            (one.clone(), vec![TensorFile::open(one)?])
        } else if index.exists() {
            let files = shards::open(&index)?;
            (index, files)
        } else {
            let unexplained = || ModelError::io(&one, std::io::ErrorKind::NotFound.into());
            return Err(no_weights(folder).map_or_else(unexplained, Into::into));
        };
        Ok(Checkpoint { path, files, family: config.family, tied: config.tied_head })
    }

    /// The file that stands for all: model.safetensors, or the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The versions of the files whose bytes decide every tensor, in the order of their names.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn versions(&self) -> Result<Vec<FileVersion>, ModelError> {
        let mut versions: Vec<FileVersion> = self.files.iter().map(TensorFile::version).collect::<Result<_, _>>()?;
        if versions.iter().all(|version| version.path != self.path) {
            versions.push(FileVersion::now(&self.path)?);
        }
        versions.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(versions)
    }

    /// Checks that every part of `param` is there, once, with the right shape and a float dtype.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::TwoTensors`], [`ModelError::TensorShape`] or
    /// [`ModelError::TensorDtype`], naming the tensor.
    pub fn check(&self, param: &Param) -> Result<(), ModelError> {
        let rows = param.dims[0] / param.parts.len();
        for part in &param.parts {
            let Stored { name, info, file } = self.find(&part.tensor)?;
            let mut expected = param.dims.clone();
            expected[0] = rows + part.first_row;
            if part.transposed {
                expected.reverse();
            }
            let (path, tensor) = (file.path.clone(), name.to_owned());
            if info.shape != expected {
                return Err(ModelError::TensorShape { path, tensor, found: info.shape.clone(), expected });
            }
            if !is_float(info.dtype) {
                return Err(ModelError::TensorDtype { path, tensor, dtype: format!("{:?}", info.dtype) });
            }
        }
        Ok(())
    }

    /// Reads a parameter: its parts one after the other, each as `[out, in]` f32.
    ///
    /// # Errors
    /// Those of [`Checkpoint::check`], and [`ModelError::Io`].
    pub fn read(&self, param: &Param) -> Result<Vec<f32>, ModelError> {
        self.check(param)?;
        let mut values = Vec::with_capacity(param.elements());
        for part in &param.parts {
            let Stored { info, file, .. } = self.find(&part.tensor)?;
            let start = values.len();
            let mut reader = file.reader(info)?;
            while reader.step(&mut values)? {}
            values.drain(start..start + part.first_row * param.elements() / param.dims[0]);
            if part.transposed {
                let transposed = transpose(&values[start..], info.shape[0], info.shape[1]);
                values.truncate(start);
                values.extend_from_slice(&transposed);
            }
        }
        Ok(values)
    }

    /// Whether a language-model head is stored beside the word table with other values. transformers 5 does not tie such a
    /// head, whatever config.json says.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn has_own_head(&self) -> Result<bool, ModelError> {
        let stored = self.family.tied()[0].map(|name| self.stored(name));
        let ([table], [head]) = (stored[0].as_slice(), stored[1].as_slice()) else { return Ok(false) };
        // What cannot be compared is left to `check`, which refuses it.
        let comparable = table.info.shape == head.info.shape && is_float(table.info.dtype) && is_float(head.info.dtype);
        Ok(!comparable || !same_values(table, head)?)
    }

    /// Tensors that no operation of `graph` reads, without those that never matter: buffers of positions and masks that old
    /// versions of transformers saved, the tied copy of the word table, and a pooler below no head.
    pub fn unread(&self, graph: &Graph) -> Vec<String> {
        let parts = graph.params.iter().flat_map(|param| &param.parts);
        let read: BTreeSet<&str> = parts.filter_map(|part| Some(self.find(&part.tensor).ok()?.name)).collect();
        let all = self.files.iter().flat_map(|file| file.tensors.keys());
        all.filter(|name| !read.contains(name.as_str()) && !self.never_matters(name)).cloned().collect()
    }

    fn never_matters(&self, name: &str) -> bool {
        const ENDINGS: [&str; 8] = [
            "position_ids",
            ".attn.bias",
            "attn.masked_bias",
            ".crossattention.bias",
            "pooler.dense.weight",
            "pooler.dense.bias",
            "pooler.weight",
            "pooler.bias",
        ];
        let own_name = name.strip_prefix(self.family.prefix()).unwrap_or(name);
        let copy = self.tied().flatten().any(|name| *name == own_name);
        copy || ENDINGS.iter().any(|ending| name.ends_with(ending))
    }

    fn get(&self, name: &str) -> Option<Stored<'_>> {
        self.files
            .iter()
            .find_map(|file| file.tensors.get_key_value(name).map(|(name, info)| Stored { name, info, file }))
    }

    /// The names that a tensor may have: with and without the family's prefix, and those before 2019 of layer norms, which
    /// `bert-base-uncased` still has (`LayerNorm.gamma`, `LayerNorm.beta`).
    fn names(&self, tensor: &str) -> Vec<String> {
        let old = tensor.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let mut names = vec![tensor.to_owned(), old];
        names.dedup();
        let prefixed: Vec<String> = names.iter().map(|name| format!("{}{name}", self.family.prefix())).collect();
        names.extend(prefixed);
        names
    }

    /// What is stored under any of a tensor's names.
    fn stored(&self, tensor: &str) -> Vec<Stored<'_>> {
        self.names(tensor).iter().filter_map(|name| self.get(name)).collect()
    }

    /// The one tensor of that name, or the one that it is the same as.
    fn find(&self, tensor: &str) -> Result<Stored<'_>, ModelError> {
        let mut stored = self.stored(tensor).into_iter();
        match (stored.next(), stored.next()) {
            (Some(one), None) => Ok(one),
            (Some(first), Some(second)) => {
                let (first, second) = (first.name.to_owned(), second.name.to_owned());
                Err(ModelError::TwoTensors { path: self.path.clone(), first, second })
            }
            (None, _) => self.shared(tensor).ok_or_else(|| {
                let example = self.files.iter().find_map(|file| file.tensors.keys().next());
                let example = example.map_or_else(|| "nothing".to_owned(), String::clone);
                ModelError::MissingTensor { path: self.path.clone(), tensor: tensor.to_owned(), example }
            }),
        }
    }

    /// Pairs of names of one tensor.
    fn tied(&self) -> impl Iterator<Item = &'static [&'static str; 2]> {
        self.family.tied().iter().skip(usize::from(!self.tied))
    }

    /// The stored tensor that an absent one is the same as: safetensors' `save_model` names it in the metadata, and of a tied
    /// pair either is enough, as in transformers 5.
    fn shared(&self, tensor: &str) -> Option<Stored<'_>> {
        let names = self.names(tensor);
        let kept = names.iter().find_map(|name| self.files.iter().find_map(|file| file.metadata.get(name)));
        let other = || {
            self.tied().find_map(|[one, other]| match tensor {
                tensor if tensor == *one => self.stored(other).into_iter().next(),
                tensor if tensor == *other => self.stored(one).into_iter().next(),
                _ => None,
            })
        };
        kept.and_then(|name| self.get(name)).or_else(other)
    }
}

fn same_values(first: &Stored<'_>, second: &Stored<'_>) -> Result<bool, ModelError> {
    let (mut one, mut other) = (first.file.reader(first.info)?, second.file.reader(second.info)?);
    let (mut values, mut others) = (Vec::new(), Vec::new());
    while one.step(&mut values)? | other.step(&mut others)? {
        if values != others {
            return Ok(false);
        }
        values.clear();
        others.clear();
    }
    Ok(true)
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    for (row, line) in values.chunks_exact(columns).enumerate() {
        for (column, value) in line.iter().enumerate() {
            out[column * rows + row] = *value;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::graph::{Init, TensorPart};
    use crate::model::Architecture;

    fn open(folder: &Path) -> Result<Checkpoint, ModelError> {
        Checkpoint::open(folder, &ModelConfig::of(Architecture::BertTiny))
    }

    fn write(folder: &Path, header: &str, data: &[u8]) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
    }

    fn param(dims: Vec<usize>, parts: &[(&str, bool)]) -> Param {
        let parts = parts.iter().map(|&(t, transposed)| TensorPart { transposed, ..TensorPart::whole(t) }).collect();
        Param { name: "p".into(), dims, parts, init: Init::Zeros }
    }

    #[test]
    fn parts_are_converted_transposed_and_concatenated() {
        let folder = tempfile::tempdir().unwrap();
        let mut data: Vec<u8> = [1f32, 2., 3., 4., 5., 6.].iter().flat_map(|v| v.to_le_bytes()).collect();
        data.extend([f16::from_f32(7.), f16::from_f32(8.)].iter().flat_map(|v| v.to_le_bytes()));
        let header = r#"{"bert.w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
                         "bert.LayerNorm.gamma":{"dtype":"F16","shape":[2],"data_offsets":[24,28]}}"#;
        write(folder.path(), header, &data);
        let checkpoint = open(folder.path()).unwrap();
        let transposed = checkpoint.read(&param(vec![3, 2], &[("w", true)])).unwrap();
        assert_eq!(transposed, [1., 4., 2., 5., 3., 6.]);
        assert_eq!(checkpoint.read(&param(vec![4, 3], &[("w", false), ("w", false)])).unwrap().len(), 12);
        assert_eq!(checkpoint.read(&param(vec![2], &[("LayerNorm.weight", false)])).unwrap(), [7., 8.]);
        let last_row = TensorPart { first_row: 1, ..TensorPart::whole("w") };
        let of_rows = |rows| Param { parts: vec![last_row.clone()], ..param(vec![rows, 3], &[]) };
        assert_eq!(checkpoint.read(&of_rows(1)).unwrap(), [4., 5., 6.]);
        let error = checkpoint.read(&of_rows(2)).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.contains("[3, 3]"), "{error}");
        let error = checkpoint.read(&param(vec![2, 2], &[("w", false)])).unwrap_err().to_string();
        assert!(error.contains("`bert.w`") && error.contains("[2, 3]") && error.contains("[2, 2]"), "{error}");
        let error = checkpoint.read(&param(vec![2, 2], &[("absent", false)])).unwrap_err().to_string();
        assert!(error.contains("`absent`") && error.contains("bert."), "{error}");
    }

    #[test]
    fn truncated_damaged_and_pickle_checkpoints_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let open = || open(folder.path()).unwrap_err().to_string();
        write(folder.path(), header, &[0; 7]);
        assert!(open().contains("describes"), "{}", open());
        write(folder.path(), &header.replace("[0,8]", "[0,9]"), &[0; 9]);
        assert!(open().contains("header is unreadable"), "{}", open());
        std::fs::write(folder.path().join("model.safetensors"), [255; 12]).unwrap();
        assert!(open().contains("header claims"), "{}", open());
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        assert!(open().contains("model.safetensors"), "{}", open());
        std::fs::write(folder.path().join("pytorch_model.bin"), b"x").unwrap();
        assert!(open().contains("pickle") && open().contains("weights_only=True"), "{}", open());
    }

    /// Its length begins like a web page: a space and `<`.
    #[test]
    fn a_header_whose_length_looks_like_text_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        write(folder.path(), &format!("{header:<15392}"), &[0; 8]);
        let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
        assert_eq!(&bytes[..3], b" <\0");
        assert!(open(folder.path()).is_ok());
    }

    #[test]
    fn integer_tensors_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), r#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
        let checkpoint = open(folder.path()).unwrap();
        let error = checkpoint.read(&param(vec![1], &[("w", false)])).unwrap_err().to_string();
        assert!(error.contains("`w`") && error.contains("I64"), "{error}");
    }
}
