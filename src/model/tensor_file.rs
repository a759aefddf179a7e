//! One safetensors file, read tensor by tensor, so that loading never holds more than the file and one tensor.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use super::ModelError;
use super::damage::instead_of_a_file;
use super::keys::quoted;
use crate::files::{self, FileStamp, FileVersion};

/// Headers beyond this are refused; BERT-large's is under 100 KB.
pub(super) const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Bytes that show whether a file is text.
const START_BYTES: u64 = 64;

/// Elements converted at a time.
const CHUNK: usize = 1 << 16;

/// A file whose header has been read and checked, its tensors have not.
#[derive(Debug)]
pub(super) struct TensorFile {
    pub path: PathBuf,
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The header's `__metadata__`.
    pub metadata: HashMap<String, String>,
    data_start: u64,
    /// Taken before anything was read.
    stamp: FileStamp,
}

impl TensorFile {
    /// Opens a file and checks its header against its size.
    ///
    /// # Errors
    /// [`ModelError::Damaged`], [`ModelError::Metadata`] and [`ModelError::Io`], naming the file.
    pub fn open(path: PathBuf) -> Result<Self, ModelError> {
        let io = |source| ModelError::io(&path, source);
        let damaged = |message: String| ModelError::Damaged { path: path.clone(), message };
        let mut file = files::open(&path).map_err(io)?;
        let found = file.metadata().map_err(io)?;
        let (size, stamp) = (found.len(), FileStamp::of(&found));
        let mut start = Vec::new();
        (&mut file).take(START_BYTES).read_to_end(&mut start).map_err(io)?;
        // A length that fits has zeros in its upper half, which no text has.
        let length = start.split_first_chunk::<8>().map(|(length, _)| u64::from_le_bytes(*length));
        let header_bytes = match length.filter(|&length| length <= MAX_HEADER_BYTES && 8 + length <= size) {
            Some(length) => length,
            None => {
                return Err(damaged(match (instead_of_a_file(&start), length) {
                    (Some(found), _) => found.to_owned(),
                    (None, Some(length)) => format!("its header claims {length} bytes of {size}"),
                    (None, None) => "it ends inside the 8-byte header length".to_owned(),
                }));
            }
        };
        let mut header = vec![0u8; header_bytes as usize];
        file.seek(SeekFrom::Start(8)).and_then(|_| file.read_exact(&mut header)).map_err(io)?;
        // Deserialising checks that offsets are in order, without gaps, and match shapes and dtypes.
        let contents: Metadata = match serde_json::from_slice(&header) {
            Ok(contents) => contents,
            Err(error) => match value_of_another_type(&header) {
                Some((key, found)) => return Err(ModelError::Metadata { path, key, found }),
                None => return Err(damaged(format!("its header is unreadable: {error}"))),
            },
        };
        let tensors: BTreeMap<String, TensorInfo> =
            contents.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let data_bytes = tensors.values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        let data_start = 8 + header_bytes;
        if data_start.checked_add(data_bytes) != Some(size) {
            let expected = data_start.saturating_add(data_bytes);
            return Err(damaged(format!("it is {size} bytes long but its header describes {expected}")));
        }
        let metadata = contents.metadata().clone().unwrap_or_default();
        Ok(TensorFile { path, tensors, metadata, data_start, stamp })
    }

    /// Which version of the file it is.
    pub fn version(&self) -> Result<FileVersion, ModelError> {
        Ok(FileVersion::since(self.stamp, &self.path)?)
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        file_name(&self.path)
    }

    /// Reads a tensor of this file, of a [`is_float`] dtype, from its start.
    pub fn reader(&self, info: &TensorInfo) -> Result<TensorReader<'_>, ModelError> {
        let start = SeekFrom::Start(self.data_start + info.data_offsets.0 as u64);
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(start)?;
            Ok(file)
        };
        let file = open().map_err(|source| ModelError::io(&self.path, source))?;
        let (dtype, left_bytes) = (info.dtype, info.data_offsets.1 - info.data_offsets.0);
        Ok(TensorReader { file, path: &self.path, dtype, left_bytes })
    }
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether tensors of this dtype can be read.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

/// Where a tensor is being read.
pub(super) struct TensorReader<'a> {
    file: File,
    path: &'a Path,
    dtype: Dtype,
    left_bytes: usize,
}

impl TensorReader<'_> {
    /// Appends the next elements as f32; `false` at the end. All readers of tensors of one shape take equal steps.
    pub fn step(&mut self, values: &mut Vec<f32>) -> Result<bool, ModelError> {
        let width = self.dtype.bitsize() / 8;
        let mut bytes = vec![0u8; self.left_bytes.min(CHUNK * width)];
        self.file.read_exact(&mut bytes).map_err(|source| ModelError::io(self.path, source))?;
        self.left_bytes -= bytes.len();
        let elements = bytes.chunks_exact(width);
        match self.dtype {
            Dtype::F16 => values.extend(elements.map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())),
            Dtype::BF16 => values.extend(elements.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
            Dtype::F64 => values
                .extend(elements.map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)),
            _ => values.extend(elements.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        }
        Ok(!bytes.is_empty())
    }
}

/// Key and value of the first entry of `__metadata__` that is no string.
fn value_of_another_type(header: &[u8]) -> Option<(String, String)> {
    let header: Value = serde_json::from_slice(header).ok()?;
    let entries = header.get("__metadata__")?.as_object()?;
    entries.iter().find(|(_, value)| !value.is_string()).map(|(key, value)| (key.clone(), quoted(value)))
}
