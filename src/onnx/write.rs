//! Writes a model without ever holding it whole: lengths are computed first, then the weights are written one at a time.
//!
//! The graph is written as one protobuf field, never as several that a reader would have to merge.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::proto::{GRAPH_INITIALIZER_TAG, MODEL_GRAPH_TAG, TENSOR_RAW_DATA_TAG};
use super::{Export, ExportError, Initializer};
use crate::files::{FileError, replace_with};

/// The files that [`Export::write`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenModel {
    /// The model and, if the weights are not inside it, their file.
    pub files: Vec<PathBuf>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Why writing one file failed.
enum WriteError {
    Io(io::Error),
    Weight(ExportError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

impl From<ExportError> for WriteError {
    fn from(error: ExportError) -> Self {
        WriteError::Weight(error)
    }
}

impl WriteError {
    fn at(self, path: &Path) -> ExportError {
        match self {
            WriteError::Io(source) => FileError::at(path)(source).into(),
            WriteError::Weight(error) => error,
        }
    }
}

impl Export<'_> {
    /// Length of the model with its weights inside, bytes.
    pub fn total_bytes(&self) -> u64 {
        let graph = self.graph_bytes();
        let field = field_bytes(MODEL_GRAPH_TAG, graph);
        self.shell().encoded_len() as u64 + field
    }

    /// The model with its weights inside.
    ///
    /// # Errors
    /// [`ExportError::TooLarge`] above protobuf's 2 GiB, [`ExportError::Model`] when a weight cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>, ExportError> {
        let bytes = self.total_bytes();
        if bytes > self.inline_limit {
            return Err(ExportError::TooLarge { bytes, limit: self.inline_limit });
        }
        let mut out = Vec::with_capacity(bytes as usize);
        // Writing to memory fails only if a weight cannot be read.
        self.stream(&mut out).map_err(|fault| fault.at(Path::new("memory")))?;
        Ok(out)
    }

    /// Writes the model to `path` in one step: the file of that name is either complete or as it was. A model above
    /// protobuf's 2 GiB keeps its weights in a second file, `path` with `.data` appended. The old model is then removed
    /// first, so that it never refers to the new weights. One weight at a time is in memory.
    ///
    /// # Errors
    /// [`ExportError::Io`], [`ExportError::Model`], [`ExportError::FileName`].
    pub fn write(&self, path: &Path) -> Result<WrittenModel, ExportError> {
        let bytes = self.total_bytes();
        if bytes <= self.inline_limit {
            replace_with(path, |file| self.stream(file)).map_err(|fault: WriteError| fault.at(path))?;
            return Ok(WrittenModel { files: vec![path.to_owned()], bytes });
        }
        let mut data_path = OsString::from(path);
        data_path.push(".data");
        let data_path = PathBuf::from(data_path);
        let location = data_path.file_name().and_then(|name| name.to_str());
        let location = location.ok_or_else(|| ExportError::FileName { path: path.to_owned() })?;
        let model = self.with_weights_in(location).encode_to_vec();
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(WriteError::Io(error).at(path)),
            _ => {}
        }
        replace_with(&data_path, |file| self.data(file)).map_err(|fault: WriteError| fault.at(&data_path))?;
        replace_with(path, |file| Ok(file.write_all(&model)?)).map_err(|fault: WriteError| fault.at(path))?;
        let data_bytes = self.weights.last().map_or(0, |last| last.offset() + last.byte_count());
        Ok(WrittenModel { files: vec![path.to_owned(), data_path], bytes: data_bytes + model.len() as u64 })
    }

    fn graph_bytes(&self) -> u64 {
        let weights: u64 =
            self.weights.iter().map(|weight| field_bytes(GRAPH_INITIALIZER_TAG, tensor_bytes(weight))).sum();
        self.graph.encoded_len() as u64 + weights
    }

    fn stream(&self, out: &mut impl Write) -> Result<(), WriteError> {
        let mut head = self.shell().encode_to_vec();
        open_field(&mut head, MODEL_GRAPH_TAG, self.graph_bytes());
        head.extend(self.graph.encode_to_vec());
        out.write_all(&head)?;
        for weight in &self.weights {
            let mut head = Vec::new();
            open_field(&mut head, GRAPH_INITIALIZER_TAG, tensor_bytes(weight));
            head.extend(weight.declaration().encode_to_vec());
            open_field(&mut head, TENSOR_RAW_DATA_TAG, weight.byte_count());
            out.write_all(&head)?;
            out.write_all(&weight.bytes()?)?;
        }
        Ok(())
    }

    /// The weights at their offsets.
    fn data(&self, out: &mut impl Write) -> Result<(), WriteError> {
        let mut end = 0;
        for weight in &self.weights {
            out.write_all(&vec![0; (weight.offset() - end) as usize])?;
            out.write_all(&weight.bytes()?)?;
            end = weight.offset() + weight.byte_count();
        }
        Ok(())
    }
}

/// Bytes of a weight's `TensorProto` with its elements.
fn tensor_bytes(weight: &Initializer<'_>) -> u64 {
    weight.declaration().encoded_len() as u64 + field_bytes(TENSOR_RAW_DATA_TAG, weight.byte_count())
}

/// Bytes of a field of `length` bytes with its key and length.
fn field_bytes(tag: u32, length: u64) -> u64 {
    (key_len(tag) + encoded_len_varint(length)) as u64 + length
}

/// Appends the key and length of a field whose bytes follow.
fn open_field(out: &mut Vec<u8>, tag: u32, length: u64) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length, out);
}

#[cfg(test)]
mod tests {
    use super::super::Extent;
    use super::super::proto::{EXTERNAL, ModelProto};
    use super::*;
    use crate::graph::{PrecisionPolicy, Preset, Shape};
    use crate::model::{Architecture, ModelSource};
    use crate::model::{Head, Model};

    /// The hand-written keys and lengths, read by a protobuf reader: the model is the skeleton with elements in it.
    #[test]
    fn the_streamed_model_is_the_skeleton_with_its_weights_inside() {
        let source = ModelSource::Random { seed: 1, architecture: Architecture::Gpt2Tiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let extent = Extent::Static(Shape { batch: 1, sequence: 8 });
        let export = Export::new(&model, &PrecisionPolicy::preset(Preset::Hybrid), extent).unwrap();
        let whole = ModelProto::decode(export.bytes().unwrap().as_slice()).unwrap();
        let mut skeleton = ModelProto::decode(export.skeleton().as_slice()).unwrap();
        let mut elements = export.initializers().map(|weight| weight.bytes().unwrap());
        for tensor in &mut skeleton.graph.as_mut().unwrap().initializer {
            if tensor.data_location == Some(EXTERNAL) {
                tensor.raw_data = elements.next();
                (tensor.data_location, tensor.external_data) = (None, Vec::new());
            }
        }
        assert_eq!(elements.next(), None);
        assert!(whole == skeleton, "decoded models differ");
    }
}
