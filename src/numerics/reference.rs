//! FP32 outputs of an input's first sequences, in a file shared by all backends, policies and batch sizes.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::NumericsError;
use crate::backend::reference::ReferenceBackend;
use crate::digest::sha256;
use crate::engine::{Backend, BuildRequest, Output};
use crate::graph::{OutputKind, PrecisionPolicy, Preset, Shape};
use crate::input::{Batch, InputStream};
use crate::manifest::schema::Numerics;
use crate::model::Model;
use crate::plan::Configuration;

/// Name of the only tensor in a reference file, and of the only entry of its metadata. With a second entry, the order
/// and so the bytes would vary.
const TENSOR: &str = "output";

/// The metadata of a reference file's tensor.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    kind: OutputKind,
    origin: String,
    /// SHA-256 of the tensor's bytes.
    sha256: String,
}

/// Reference outputs, sequence by sequence.
#[derive(Debug, PartialEq)]
pub struct ReferenceOutputs {
    /// Which weights saw which token ids.
    pub origin: String,
    /// `sequences * tokens` vectors, or one per sequence for class logits.
    pub output: Output,
}

impl ReferenceOutputs {
    /// Path of the reference of `configuration` under `dir`. Its key is the model, sequence length, input and number of
    /// sequences, so every backend, policy and batch size shares it.
    pub fn path(dir: &Path, configuration: &Configuration, settings: Numerics) -> PathBuf {
        let key = format!(
            "{:?} {:?} {} {}",
            configuration.model_source,
            configuration.input_source,
            configuration.shape.sequence,
            settings.compare_sequences
        );
        dir.join(format!("{}.safetensors", &sha256(key.as_bytes())[..16]))
    }

    /// Ensures that `path` holds the outputs of this model for this input. Computes them when the file is absent,
    /// damaged, or made from other weights or token ids. A checkpoint without a pinned digest may have been replaced
    /// since, and a fetched checkpoint may have replaced random stand-in weights.
    ///
    /// # Errors
    /// As [`ReferenceOutputs::compute`].
    pub fn ensure(
        path: &Path,
        model: &Arc<Model>,
        input: &InputStream,
        sequence: usize,
        settings: Numerics,
    ) -> Result<(), NumericsError> {
        match Self::of(path, model, input, sequence, settings) {
            Err(NumericsError::File { .. }) => Self::compute(path, model, input, sequence, settings),
            other => other.map(drop),
        }
    }

    /// Reads the outputs in `path`, which must be those of this model for this input. Computes nothing.
    ///
    /// # Errors
    /// [`NumericsError::File`] when the file is absent, damaged, or made from other weights or token ids.
    pub fn of(
        path: &Path,
        model: &Model,
        input: &InputStream,
        sequence: usize,
        settings: Numerics,
    ) -> Result<Self, NumericsError> {
        let shape = Shape { batch: settings.compare_sequences, sequence };
        let wanted = origin(model, &input.batch(shape, 0)?);
        let stored = Self::read(path)?;
        if stored.origin == wanted {
            return Ok(stored);
        }
        let message = format!("was made from {}, not from {wanted}", stored.origin);
        Err(NumericsError::File { path: path.to_owned(), message })
    }

    /// Computes the outputs with the reference backend in FP32 and writes them atomically to `path`.
    ///
    /// # Errors
    /// [`NumericsError`]; nothing half-written is left.
    pub fn compute(
        path: &Path,
        model: &Arc<Model>,
        input: &InputStream,
        sequence: usize,
        settings: Numerics,
    ) -> Result<(), NumericsError> {
        let shape = Shape { batch: settings.compare_sequences, sequence };
        let batch = input.batch(shape, 0)?;
        let origin = origin(model, &batch);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let policy = PrecisionPolicy::preset(Preset::Fp32);
        let request = BuildRequest::new(model.clone(), policy, shape, threads);
        let mut engine = ReferenceBackend::default().build(&request)?.engine?;
        engine.bind(&batch)?;
        engine.enqueue()?;
        let outputs = ReferenceOutputs { origin, output: engine.outputs()? };
        write(path, &outputs).map_err(|message| NumericsError::File { path: path.to_owned(), message })
    }

    /// Reads what [`ReferenceOutputs::compute`] wrote.
    ///
    /// # Errors
    /// [`NumericsError::File`] when the file is absent or damaged.
    pub fn read(path: &Path) -> Result<Self, NumericsError> {
        read(path).map_err(|message| NumericsError::File { path: path.to_owned(), message })
    }
}

/// A text that identifies the weights and the token ids.
fn origin(model: &Model, batch: &Batch) -> String {
    let lengths = batch.lengths.iter().flat_map(|&length| (length as u64).to_le_bytes());
    let ids = batch.ids.iter().flat_map(|id| id.to_le_bytes());
    format!("{}, ids {}", model.provenance, &sha256(&lengths.chain(ids).collect::<Vec<u8>>())[..16])
}

fn write(path: &Path, ReferenceOutputs { origin, output }: &ReferenceOutputs) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let bytes: &[u8] = bytemuck::cast_slice(&output.values);
    let view = TensorView::new(Dtype::F32, vec![output.rows, output.width], bytes).map_err(|e| text(&e))?;
    let label = Label { kind: output.kind, origin: origin.clone(), sha256: sha256(bytes) };
    let label = serde_json::to_string(&label).map_err(|e| text(&e))?;
    let metadata = HashMap::from([(TENSOR.to_owned(), label)]);
    let data = safetensors::serialize([(TENSOR, view)], Some(metadata)).map_err(|e| text(&e))?;
    let folder = path.parent().ok_or("it has no parent folder")?;
    std::fs::create_dir_all(folder).map_err(|e| text(&e))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| text(&e))?;
    file.write_all(&data).map_err(|e| text(&e))?;
    file.as_file().sync_data().map_err(|e| text(&e))?;
    file.persist(path).map_err(|e| text(&e))?;
    Ok(())
}

fn read(path: &Path) -> Result<ReferenceOutputs, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let data = std::fs::read(path).map_err(|e| text(&e))?;
    let tensors = SafeTensors::deserialize(&data).map_err(|e| text(&e))?;
    let (_, metadata) = SafeTensors::read_metadata(&data).map_err(|e| text(&e))?;
    let label = metadata.metadata().as_ref().and_then(|map| map.get(TENSOR));
    let label = label.ok_or("it does not say what it was computed from")?;
    let Label { kind, origin, sha256: expected } = serde_json::from_str(label).map_err(|e| text(&e))?;
    let tensor = tensors.tensor(TENSOR).map_err(|e| text(&e))?;
    let &[rows, width] = tensor.shape() else { return Err("its tensor is not a matrix".to_owned()) };
    if sha256(tensor.data()) != expected {
        return Err("its data do not match their SHA-256".to_owned());
    }
    // The data of a safetensors file need not be aligned.
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
    Ok(ReferenceOutputs { origin, output: Output { kind, rows, width, values } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::InputSource;
    use crate::model::Head;
    use crate::model::{Architecture, ModelSource};

    #[test]
    fn outputs_survive_the_file_and_a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/reference.safetensors");
        let values = vec![1.5, -0.0, f32::MIN_POSITIVE, 4.0, 5.0, 6.0];
        let output = Output { kind: OutputKind::TokenLogits, rows: 2, width: 3, values };
        let outputs = ReferenceOutputs { origin: "seed 1".to_owned(), output };
        write(&path, &outputs).unwrap();
        assert_eq!(ReferenceOutputs::read(&path).unwrap(), outputs);
        let whole = std::fs::read(&path).unwrap();
        let error = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            ReferenceOutputs::read(&path).unwrap_err().to_string()
        };
        let cut = error(&whole[..40]);
        assert!(cut.contains("reference.safetensors"), "{cut}");
        for position in whole.len() - 24..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << (position % 8);
            let message = error(&flipped);
            assert!(message.contains("do not match their SHA-256"), "byte {position}: {message}");
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_model_is_refused_and_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reference.safetensors");
        let random = |seed| {
            let source = ModelSource::Random { seed, architecture: Architecture::BertTiny };
            Arc::new(Model::open("tiny", &source, folder.path(), Head::Natural).unwrap())
        };
        let (model, other) = (random(1), random(2));
        let input = InputStream::open(&InputSource::Random { seed: 7 }, folder.path(), &model).unwrap();
        let settings = Numerics { compare_sequences: 1, score_windows: 0, forwards: None };
        let ensure = |model| ReferenceOutputs::ensure(&path, model, &input, 4, settings).unwrap();
        let of = |model: &Model| ReferenceOutputs::of(&path, model, &input, 4, settings);
        assert!(of(&model).is_err() && !path.exists());
        ensure(&model);
        let whole = std::fs::read(&path).unwrap();
        assert!(of(&model).is_ok());
        let refused = of(&other).unwrap_err().to_string();
        assert!(
            refused.contains("was made from random weights, seed 1, ids ") && refused.contains("seed 2"),
            "{refused}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), whole, "reading computes nothing");
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(of(&model).is_err());
        ensure(&model);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        ensure(&other);
        assert!(of(&other).is_ok() && of(&model).is_err());
    }
}
