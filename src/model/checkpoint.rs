//! A safetensors file read tensor by tensor, so that loading never holds more than the file and one tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::ModelError;
use crate::digest::sha256_file;
use crate::graph::{Param, TensorPart};

/// Headers beyond this are refused; BERT-large's is under 100 KB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Elements converted at a time.
const CHUNK: usize = 1 << 16;

/// An open checkpoint. Its header has been read and checked, its tensors have not.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
    prefix: &'static str,
}

impl Checkpoint {
    /// Opens `folder/model.safetensors` and checks its header against its size. A tensor name that is not found is tried
    /// again with `prefix` in front.
    ///
    /// # Errors
    /// [`ModelError`] naming the file: a pickle checkpoint, a damaged header or a truncated file.
    pub fn open(folder: &Path, prefix: &'static str) -> Result<Self, ModelError> {
        let path = folder.join("model.safetensors");
        if !path.exists() {
            return Err(absent(folder, path));
        }
        let mut file = File::open(&path).map_err(|source| ModelError::io(&path, source))?;
        let size = file.metadata().map_err(|source| ModelError::io(&path, source))?.len();
        let damaged = |message: String| ModelError::Damaged { path: path.clone(), message };
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(|_| damaged("it ends inside the 8-byte header length".to_owned()))?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || 8 + header_bytes > size {
            return Err(damaged(format!("its header claims {header_bytes} bytes of {size}")));
        }
        let mut header = vec![0u8; header_bytes as usize];
        file.read_exact(&mut header).map_err(|source| ModelError::io(&path, source))?;
        // Deserialising checks that offsets are in order, without gaps, and match shapes and dtypes.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| damaged(format!("its header is unreadable: {error}")))?;
        let tensors: BTreeMap<String, TensorInfo> =
            metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let data_bytes = tensors.values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        let data_start = 8 + header_bytes;
        if data_start.checked_add(data_bytes) != Some(size) {
            let expected = data_start.saturating_add(data_bytes);
            return Err(damaged(format!("it is {size} bytes long but its header describes {expected}")));
        }
        Ok(Checkpoint { path, data_start, tensors, prefix })
    }

    /// SHA-256 of the file, hexadecimal.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn sha256(&self) -> Result<String, ModelError> {
        sha256_file(&self.path).map_err(|source| ModelError::io(&self.path, source))
    }

    /// Checks that every part of `param` is there with the right shape and a float dtype.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::TensorShape`] or [`ModelError::TensorDtype`], naming the tensor.
    pub fn check(&self, param: &Param) -> Result<(), ModelError> {
        let rows = param.dims[0] / param.parts.len();
        for part in &param.parts {
            let (name, info) = self.find(part)?;
            let mut expected = param.dims.clone();
            expected[0] = rows;
            if part.transposed {
                expected.reverse();
            }
            if info.shape != expected {
                let (path, tensor, found) = (self.path.clone(), name.to_owned(), info.shape.clone());
                return Err(ModelError::TensorShape { path, tensor, found, expected });
            }
            if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
                let dtype = format!("{:?}", info.dtype);
                return Err(ModelError::TensorDtype { path: self.path.clone(), tensor: name.to_owned(), dtype });
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
        let mut file = File::open(&self.path).map_err(|source| ModelError::io(&self.path, source))?;
        let mut values = Vec::with_capacity(param.elements());
        for part in &param.parts {
            let (_, info) = self.find(part)?;
            let start = values.len();
            self.read_tensor(&mut file, info, &mut values)?;
            if part.transposed {
                let transposed = transpose(&values[start..], info.shape[0], info.shape[1]);
                values.truncate(start);
                values.extend_from_slice(&transposed);
            }
        }
        Ok(values)
    }

    fn read_tensor(&self, file: &mut File, info: &TensorInfo, values: &mut Vec<f32>) -> Result<(), ModelError> {
        let io = |source| ModelError::io(&self.path, source);
        file.seek(SeekFrom::Start(self.data_start + info.data_offsets.0 as u64)).map_err(io)?;
        let width = info.dtype.bitsize() / 8;
        let mut bytes = vec![0u8; CHUNK * width];
        let mut left = info.data_offsets.1 - info.data_offsets.0;
        while left > 0 {
            let chunk = &mut bytes[..left.min(CHUNK * width)];
            file.read_exact(chunk).map_err(io)?;
            left -= chunk.len();
            let elements = chunk.chunks_exact(width);
            match info.dtype {
                Dtype::F16 => values.extend(elements.map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())),
                Dtype::BF16 => values.extend(elements.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
                Dtype::F64 => values.extend(
                    elements.map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32),
                ),
                _ => values.extend(elements.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            }
        }
        Ok(())
    }

    /// A part's tensor: by its name, with the family's prefix, or under the pre-2019 layer-norm names that
    /// `bert-base-uncased` still carries (`LayerNorm.gamma`, `LayerNorm.beta`).
    fn find(&self, part: &TensorPart) -> Result<(&str, &TensorInfo), ModelError> {
        let modern = &part.tensor;
        let old = modern.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let candidates =
            [modern.clone(), format!("{}{modern}", self.prefix), old.clone(), self.prefix.to_owned() + &old];
        candidates.iter().find_map(|name| self.tensors.get_key_value(name.as_str())).map_or_else(
            || {
                let example = self.tensors.keys().next().cloned().unwrap_or_else(|| "nothing".to_owned());
                Err(ModelError::MissingTensor { path: self.path.clone(), tensor: modern.clone(), example })
            },
            |(name, info)| Ok((name.as_str(), info)),
        )
    }
}

/// Why there is no model.safetensors: a pickle checkpoint, a sharded one, or nothing.
fn absent(folder: &Path, path: PathBuf) -> ModelError {
    let found = |name: &str| folder.join(name).exists();
    if let Some(pickle) = ["pytorch_model.bin", "model.bin", "model.pt", "model.pth"].into_iter().find(|n| found(n)) {
        return ModelError::Pickle { path: folder.join(pickle) };
    }
    if found("model.safetensors.index.json") {
        let message = "the checkpoint is sharded; save it as one file with `model.save_pretrained(folder, \
                       max_shard_size=\"10GB\")`";
        return ModelError::Damaged { path, message: message.to_owned() };
    }
    ModelError::io(&path, std::io::Error::from(std::io::ErrorKind::NotFound))
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
    use super::*;
    use crate::graph::Init;

    fn write(folder: &Path, header: &str, data: &[u8]) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
    }

    fn param(dims: Vec<usize>, parts: &[(&str, bool)]) -> Param {
        let parts = parts.iter().map(|&(t, transposed)| TensorPart { tensor: t.to_owned(), transposed }).collect();
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
        let checkpoint = Checkpoint::open(folder.path(), "bert.").unwrap();
        let transposed = checkpoint.read(&param(vec![3, 2], &[("w", true)])).unwrap();
        assert_eq!(transposed, [1., 4., 2., 5., 3., 6.]);
        assert_eq!(checkpoint.read(&param(vec![4, 3], &[("w", false), ("w", false)])).unwrap().len(), 12);
        assert_eq!(checkpoint.read(&param(vec![2], &[("LayerNorm.weight", false)])).unwrap(), [7., 8.]);
        let error = checkpoint.read(&param(vec![2, 2], &[("w", false)])).unwrap_err().to_string();
        assert!(error.contains("`bert.w`") && error.contains("[2, 3]") && error.contains("[2, 2]"), "{error}");
        let error = checkpoint.read(&param(vec![2, 2], &[("absent", false)])).unwrap_err().to_string();
        assert!(error.contains("`absent`") && error.contains("bert."), "{error}");
    }

    #[test]
    fn truncated_damaged_and_pickle_checkpoints_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let open = || Checkpoint::open(folder.path(), "").unwrap_err().to_string();
        write(folder.path(), header, &[0; 7]);
        assert!(open().contains("describes"), "{}", open());
        write(folder.path(), &header.replace("[0,8]", "[0,9]"), &[0; 9]);
        assert!(open().contains("header is unreadable"), "{}", open());
        std::fs::write(folder.path().join("model.safetensors"), [255; 12]).unwrap();
        assert!(open().contains("header claims"), "{}", open());
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        assert!(open().contains("model.safetensors"), "{}", open());
        std::fs::write(folder.path().join("pytorch_model.bin"), b"x").unwrap();
        assert!(open().contains("pickle") && open().contains("save_pretrained"), "{}", open());
    }

    #[test]
    fn integer_tensors_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), r#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
        let checkpoint = Checkpoint::open(folder.path(), "").unwrap();
        let error = checkpoint.read(&param(vec![1], &[("w", false)])).unwrap_err().to_string();
        assert!(error.contains("`w`") && error.contains("I64"), "{error}");
    }
}
