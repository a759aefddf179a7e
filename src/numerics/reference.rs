//! FP32 outputs of an input's sequences, in files shared by all backends, policies and batch sizes.
//!
//! One file holds the whole outputs of the first sequences, for the distances of the measured batch. Where the manifest
//! examines several forwards, further files hold the outputs of their sequences, a fixed number in each: a file is one
//! request to a worker, so that its time and its memory stay small, and what is done survives a kill. A sequence of wide
//! rows (GPT-2's 128 x 50257 logits take 26 MB) keeps evenly spaced ones of them only, up to a fixed size. The last
//! row is always among them: under causal attention it sees whatever broke before it.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::NumericsError;
use crate::backend::reference::ReferenceBackend;
use crate::digest::sha256;
use crate::engine::{Backend, BackendKind, BuildRequest, Output};
use crate::graph::{OutputKind, PrecisionPolicy, Preset, Shape};
use crate::input::{Batch, InputStream};
use crate::manifest::schema::Numerics;
use crate::model::{Head, Model};
use crate::plan::Configuration;
use crate::provenance::arithmetic;

/// Sequences of forwards whose reference outputs share a file.
const SEQUENCES_PER_FILE: usize = 4;
/// Most values that a sequence of a forward keeps: 2 MiB, enough for every row of 512 tokens x 1024.
const MAX_VALUES_PER_SEQUENCE: usize = 1 << 19;

/// Digits of each digest in the text that identifies what a reference was made from.
const ORIGIN_DIGITS: usize = 16;

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

/// Which sequences of an input a reference file covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The first so many, with every row.
    Compared(usize),
    /// Those of the forwards, `SEQUENCES_PER_FILE` from this multiple on, with as many rows as fit.
    Forwards(usize),
}

impl Part {
    /// The parts that the forwards of batches of this size read; none where the manifest asks for no forwards.
    pub fn of_forwards(settings: Numerics, batch_size: usize) -> impl Iterator<Item = Part> {
        let sequences = settings.forwards.unwrap_or(0).saturating_mul(batch_size);
        (0..sequences.div_ceil(SEQUENCES_PER_FILE)).map(Part::Forwards)
    }

    /// The part of the forwards with this sequence, and the sequence's place in it.
    pub(super) fn with(sequence: usize) -> (Part, usize) {
        (Part::Forwards(sequence / SEQUENCES_PER_FILE), sequence % SEQUENCES_PER_FILE)
    }
}

/// What a reference file is made from.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceSource<'a> {
    /// The weights.
    pub model: &'a Arc<Model>,
    /// The token ids.
    pub input: &'a InputStream,
    /// Padded length, tokens.
    pub sequence: usize,
    /// The sequences.
    pub part: Part,
}

/// Reference outputs, sequence by sequence.
#[derive(Debug, PartialEq)]
pub struct ReferenceOutputs {
    /// Which weights and graph saw which token ids.
    pub origin: String,
    /// `sequences * tokens` vectors, or one per sequence for class logits; those kept, for sequences of forwards.
    pub output: Output,
}

impl ReferenceSource<'_> {
    /// Ensures that `path` holds the outputs of this model for this input. Computes them when the file is absent,
    /// damaged, or made from other weights or token ids, for another graph or by another arithmetic. A file of a
    /// checkpoint may have been replaced since, and a fetched checkpoint may have replaced random stand-in weights. No file
    /// is made for sequences beyond the end of a text, which no forward reads.
    ///
    /// # Errors
    /// As [`ReferenceSource::compute`].
    pub fn ensure(&self, path: &Path, backend: &ReferenceBackend) -> Result<(), NumericsError> {
        if self.sequences().1 == 0 {
            return Ok(());
        }
        match self.read(path) {
            Err(NumericsError::File { .. }) => self.compute(path, backend),
            other => other.map(drop),
        }
    }

    /// Reads the outputs in `path`, which must be those of this model for this input. Computes nothing.
    ///
    /// # Errors
    /// [`NumericsError::File`] when the file is absent, damaged, or made from other weights or token ids.
    pub fn read(&self, path: &Path) -> Result<ReferenceOutputs, NumericsError> {
        let batch = self.batch()?;
        let wanted = origin(self.model, &batch);
        let stored = ReferenceOutputs::read(path)?;
        let Output { kind, rows, width, .. } = stored.output;
        let kept: usize = batch.lengths.iter().map(|&length| self.kept(kind, width, length).len()).sum();
        let message = match (stored.origin == wanted, rows == kept) {
            (true, true) => return Ok(stored),
            (true, false) => format!("holds {rows} rows, not {kept}"),
            (false, _) => format!("was made from {}, not from {wanted}", stored.origin),
        };
        Err(NumericsError::File { path: path.to_owned(), message })
    }

    /// Computes the outputs with the reference backend in FP32 and writes them atomically to `path`.
    ///
    /// # Errors
    /// [`NumericsError`]; nothing half-written is left.
    pub fn compute(&self, path: &Path, backend: &ReferenceBackend) -> Result<(), NumericsError> {
        let (first, sequences) = self.sequences();
        let together = match self.part {
            Part::Compared(sequences) => sequences,
            Part::Forwards(_) => 1,
        };
        let shape = Shape { batch: together, sequence: self.sequence };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let policy = PrecisionPolicy::preset(Preset::Fp32);
        let mut engine = backend.build(&BuildRequest::new(self.model.clone(), policy, shape, threads))?.engine?;
        let mut kept: Option<Output> = None;
        for start in (first..first + sequences).step_by(together) {
            let batch = self.input.batch(shape, start)?;
            engine.bind(&batch)?;
            engine.enqueue()?;
            let output = self.keep(engine.outputs()?, &batch);
            match &mut kept {
                None => kept = Some(output),
                Some(all) => {
                    all.rows += output.rows;
                    all.values.extend(output.values);
                }
            }
        }
        let origin = origin(self.model, &self.batch()?);
        let outputs = kept.map(|output| ReferenceOutputs { origin, output }).ok_or_else(|| "no sequence".to_owned());
        let written = outputs.and_then(|outputs| write(path, &outputs));
        written.map_err(|message| NumericsError::File { path: path.to_owned(), message })
    }

    /// The first sequence, and how many there are.
    fn sequences(&self) -> (usize, usize) {
        match self.part {
            Part::Compared(sequences) => (0, sequences),
            Part::Forwards(index) => {
                let first = index * SEQUENCES_PER_FILE;
                let left = self.input.len(self.sequence).map_or(SEQUENCES_PER_FILE, |len| len.saturating_sub(first));
                (first, left.min(SEQUENCES_PER_FILE))
            }
        }
    }

    pub(super) fn batch(&self) -> Result<Batch, NumericsError> {
        let (first, sequences) = self.sequences();
        Ok(self.input.batch(Shape { batch: sequences, sequence: self.sequence }, first)?)
    }

    /// The rows that are kept of a sequence with so many tokens before the padding.
    pub(super) fn kept(&self, kind: OutputKind, width: usize, length: usize) -> Vec<usize> {
        match (kind, self.part) {
            (kind, _) if kind.is_by_sequence() => vec![0],
            (_, Part::Compared(_)) => (0..self.sequence).collect(),
            (_, Part::Forwards(_)) => {
                let rows = (MAX_VALUES_PER_SEQUENCE / width.max(1)).max(1).min(length);
                (1..=rows).map(|row| row * length / rows - 1).collect()
            }
        }
    }

    fn keep(&self, output: Output, batch: &Batch) -> Output {
        let Output { kind, rows, width, values } = output;
        let of_sequence = rows / batch.shape.batch * width;
        let sequences = values.chunks(of_sequence).zip(&batch.lengths);
        let kept = sequences.flat_map(|(rows, &length)| {
            self.kept(kind, width, length).into_iter().flat_map(move |row| &rows[row * width..][..width])
        });
        let values: Vec<f32> = kept.copied().collect();
        Output { kind, rows: values.len() / width.max(1), width, values }
    }
}

impl ReferenceOutputs {
    /// Path of a part of the reference of `configuration` under `dir`. Its key is the model, sequence length, input and
    /// part, so every backend, policy and batch size shares it.
    pub fn path(dir: &Path, configuration: &Configuration, part: Part) -> PathBuf {
        let head = match configuration.head {
            Head::Natural => String::new(),
            head => format!(" {}", head.name()),
        };
        let part = match part {
            Part::Compared(sequences) => sequences.to_string(),
            Part::Forwards(index) => {
                format!("forwards {index} of {SEQUENCES_PER_FILE}, at most {MAX_VALUES_PER_SEQUENCE} values")
            }
        };
        let key = format!(
            "{:?} {:?} {} {part}{head}",
            configuration.model_source, configuration.input_source, configuration.shape.sequence,
        );
        dir.join(format!("{}.safetensors", &sha256(key.as_bytes())[..16]))
    }

    /// Reads what [`ReferenceSource::compute`] wrote.
    ///
    /// # Errors
    /// [`NumericsError::File`] when the file is absent or damaged.
    pub fn read(path: &Path) -> Result<Self, NumericsError> {
        read(path).map_err(|message| NumericsError::File { path: path.to_owned(), message })
    }
}

/// A text that identifies the weights, the token ids, the graph as it is built, and the arithmetic that computes it.
fn origin(model: &Model, batch: &Batch) -> String {
    let lengths = batch.lengths.iter().flat_map(|&length| (length as u64).to_le_bytes());
    let ids = batch.ids.iter().flat_map(|id| id.to_le_bytes());
    // Types of tokens only where there are any: older files have none.
    let types = batch.token_types.iter().flatten().flat_map(|of| of.to_le_bytes());
    let ids = sha256(&lengths.chain(ids).chain(types).collect::<Vec<u8>>());
    let arithmetic = arithmetic::sha256(BackendKind::Reference).unwrap_or("unknown");
    let short = |digest: &str| digest.chars().take(ORIGIN_DIGITS).collect::<String>();
    format!(
        "{}, ids {}, graph {}, arithmetic {}",
        model.provenance,
        short(&ids),
        short(&model.graph.sha256()),
        short(arithmetic)
    )
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
    let data = crate::files::read(path).map_err(|e| text(&e))?;
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
    fn wide_rows_are_kept_evenly_and_always_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let source = ModelSource::Random { seed: 1, architecture: Architecture::BertTiny };
        let model = Arc::new(Model::open("tiny", &source, folder.path(), Head::Natural).unwrap());
        let input = InputStream::open(&InputSource::Random { seed: 7 }, folder.path(), &model).unwrap();
        let source = |part| ReferenceSource { model: &model, input: &input, sequence: 128, part };
        let forwards = |width, length| source(Part::Forwards(0)).kept(OutputKind::TokenLogits, width, length);
        // 2^19 / 50257 = 10.4 rows of GPT-2's vocabulary.
        assert_eq!(forwards(50_257, 128), [11, 24, 37, 50, 63, 75, 88, 101, 114, 127]);
        assert_eq!(forwards(50_257, 3), [0, 1, 2]);
        assert_eq!(forwards(768, 128), (0..128).collect::<Vec<_>>());
        assert_eq!(forwards(1 << 20, 128), [127], "one row is kept however wide it is");
        assert_eq!(source(Part::Forwards(0)).kept(OutputKind::ClassLogits, 2, 128), [0]);
        assert_eq!(source(Part::Compared(2)).kept(OutputKind::TokenLogits, 50_257, 3).len(), 128, "padding, too");
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
        let source = |model| ReferenceSource { model, input: &input, sequence: 4, part: Part::Compared(1) };
        let ensure = |model| source(model).ensure(&path, &ReferenceBackend::default()).unwrap();
        let of = |model| source(model).read(&path);
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
