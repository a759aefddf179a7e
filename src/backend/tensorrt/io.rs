//! Inputs and outputs of an engine as its host sees them: their types and sizes, and the bytes of ids, mask and values.

use half::{bf16, f16};

use super::binding::Executable;
use crate::engine::BackendError;
use crate::engine::checks::{IdRange, check_rows, output_dims, token_types};
use crate::graph::{Format, Graph, OutputKind, Shape};
use crate::input::Batch;
use crate::onnx::{ATTENTION_MASK, DataType, Export, INPUT_IDS, TOKEN_TYPE_IDS};

/// The engine's inputs and outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interface {
    pub shape: Shape,
    /// Token ids and types that the model embeds.
    pub range: IdRange,
    /// Type of ids and mask.
    pub ids: DataType,
    /// Whether there is a mask. Without one, every row must be full.
    pub masked: bool,
    /// Whether the types of tokens are an input.
    pub typed: bool,
    /// Name of the output.
    pub output: &'static str,
    /// Its type, as the engine says.
    pub format: Format,
    pub kind: OutputKind,
    /// Output vectors.
    pub rows: usize,
    /// Elements of one.
    pub width: usize,
}

impl Interface {
    /// The interface of the engine of an export for one shape.
    pub fn of(graph: &Graph, shape: Shape, export: &Export<'_>) -> Self {
        let (rows, width) = output_dims(graph, shape);
        Interface {
            shape,
            range: IdRange::of(graph),
            ids: export.dialect().ids(),
            masked: export.dialect().attention_mask,
            typed: export.dialect().token_types,
            output: export.output_name(),
            format: export.output_format(),
            kind: graph.output_kind,
            rows,
            width,
        }
    }

    /// Checks that the batch has the engine's shape, and no padding where the engine has no mask.
    pub fn check(self, batch: &Batch) -> Result<(), BackendError> {
        check_rows(self.range, self.shape, batch)?;
        token_types(batch, self.typed)?;
        let padded = batch.lengths.iter().find(|&&length| !self.masked && length < self.shape.sequence);
        padded.map_or(Ok(()), |length| {
            let sequence = self.shape.sequence;
            Err(BackendError::Inputs(format!(
                "a row of {length} tokens for an engine without an attention mask, which takes rows of {sequence} alone"
            )))
        })
    }

    /// Names of the inputs of token ids' shape.
    pub fn inputs(self) -> impl Iterator<Item = &'static str> {
        let types = self.typed.then_some(TOKEN_TYPE_IDS);
        std::iter::once(INPUT_IDS).chain(self.masked.then_some(ATTENTION_MASK)).chain(types)
    }

    /// Size of the output, bytes.
    pub fn output_bytes(self) -> usize {
        self.rows * self.width * self.format.bytes() as usize
    }
}

/// Checks that the engine has the expected inputs and output. Returns the output's type, which the builder of a weakly typed
/// network has the last word on.
pub(super) fn output_format(engine: &dyn Executable, interface: Interface) -> Result<Format, String> {
    for name in interface.inputs() {
        let found = engine.tensor(name)?;
        if found.element != Some(interface.ids) || found.elements != interface.shape.tokens() as i64 {
            return Err(format!("the engine's `{name}` is {found:?}, expected is {:?}", interface.ids));
        }
    }
    let found = engine.tensor(interface.output)?;
    if found.elements != (interface.rows * interface.width) as i64 {
        return Err(format!("the engine's `{}` has {} elements", interface.output, found.elements));
    }
    match found.element {
        Some(DataType::Fp32) => Ok(Format::Fp32),
        Some(DataType::Fp16) => Ok(Format::Fp16),
        Some(DataType::Bf16) => Ok(Format::Bf16),
        other => Err(format!("the engine's `{}` is {other:?}, expected is {:?}", interface.output, interface.format)),
    }
}

/// One row of the attention mask: ones for tokens, zeros for padding.
pub(super) fn mask_row(length: usize, sequence: usize) -> impl Iterator<Item = u32> {
    (0..sequence).map(move |position| u32::from(position < length))
}

/// Little-endian bytes of ids or a mask as int32 or int64.
pub(super) fn integers(element: DataType, values: impl Iterator<Item = u32>) -> Vec<u8> {
    match element {
        DataType::Int32 => values.flat_map(u32::to_le_bytes).collect(),
        _ => values.flat_map(|value| i64::from(value).to_le_bytes()).collect(),
    }
}

/// The output's elements as FP32. Its bytes are little-endian, like CUDA devices and this program's hosts.
pub(super) fn widen(bytes: &[u8], format: Format) -> Vec<f32> {
    let halves = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    match format {
        Format::Fp16 => halves().map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
        Format::Bf16 => halves().map(|pair| bf16::from_le_bytes(pair).to_f32()).collect(),
        _ => bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::graph::{PrecisionPolicy, Preset};
    use crate::model::{Architecture, Head, Model, ModelSource};
    use crate::onnx::Extent;

    #[test]
    fn the_mask_has_ones_for_tokens_only() {
        assert_eq!(mask_row(2, 4).collect::<Vec<_>>(), [1, 1, 0, 0]);
        assert_eq!(mask_row(4, 4).sum::<u32>(), 4);
        assert_eq!(integers(DataType::Int32, mask_row(1, 2)), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(integers(DataType::Int64, mask_row(1, 1)), [1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn outputs_of_every_type_are_widened() {
        assert_eq!(widen(&[0x00, 0x3c, 0x00, 0xfc], Format::Fp16), [1.0, f32::NEG_INFINITY]);
        assert_eq!(widen(&[0x80, 0x3f, 0x20, 0xc1], Format::Bf16), [1.0, -10.0]);
        assert_eq!(widen(&1.5f32.to_le_bytes(), Format::Fp32), [1.5]);
    }

    #[test]
    fn the_interface_has_the_rows_of_the_graphs_output() {
        let shape = Shape { batch: 3, sequence: 5 };
        let source = ModelSource::Random { seed: 1, architecture: Architecture::Gpt2Tiny };
        let model = Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap();
        let policy = PrecisionPolicy::preset(Preset::Fp16);
        let export = Export::new(&model, &policy, Extent::Static(shape)).unwrap();
        let interface = Interface::of(&model.graph, shape, &export);
        assert_eq!((interface.rows, interface.width), (15, 1000));
        assert_eq!(interface.output_bytes(), 30_000);
        let mut batch = Batch::new(shape, vec![0; 15], vec![5, 5, 4]);
        interface.check(&batch).unwrap();
        let unmasked = Interface { masked: false, ..interface };
        assert_eq!(unmasked.inputs().collect::<Vec<_>>(), [INPUT_IDS]);
        let refused = unmasked.check(&batch).unwrap_err().to_string();
        assert!(
            refused.ends_with("a row of 4 tokens for an engine without an attention mask, which takes rows of 5 alone")
        );
        batch.lengths.fill(5);
        unmasked.check(&batch).unwrap();
    }
}
