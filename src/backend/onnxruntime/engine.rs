//! An engine: one session whose inputs and output are bound once, so that the timed path is the run and nothing else.

use std::sync::Arc;

use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::affinity::Affinities;
use super::runtime::failure;
use super::weights::SessionWeights;
use crate::engine::checks::{check_batch, output_dims, token_types};
use crate::engine::{BackendError, BackendKind, Engine, EngineDescription, MemoryBreakdown, Output};
use crate::graph::Shape;
use crate::input::Batch;
use crate::model::Model;
use crate::onnx::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};

/// The parts that an engine is made of.
pub(super) struct SessionParts {
    /// The session, built for `shape`.
    pub session: Session,
    /// Its weights, which it refers to.
    pub weights: Arc<SessionWeights>,
    /// Its model.
    pub model: Arc<Model>,
    /// Batch size and sequence length.
    pub shape: Shape,
    /// Whether the types of tokens are an input.
    pub token_types: bool,
    /// The name of its output.
    pub output: &'static str,
    /// Where its threads stay.
    pub affinities: Option<Affinities>,
    /// The engine's description.
    pub description: EngineDescription,
}

/// A session with its bindings.
pub(super) struct OnnxRuntimeEngine {
    parts: SessionParts,
    binding: IoBinding,
    output: DynTensor,
    bound: bool,
}

impl OnnxRuntimeEngine {
    /// Allocates and binds the output.
    pub fn new(parts: SessionParts) -> Result<Self, BackendError> {
        let dims: Vec<i64> = {
            let graph = &parts.model.graph;
            graph.value(graph.output).shape.dims(parts.shape).into_iter().map(|dim| dim as i64).collect()
        };
        let typed = parts.session.outputs().iter().find(|outlet| outlet.name() == parts.output);
        let element = typed.and_then(|outlet| outlet.dtype().tensor_type()).unwrap_or(TensorElementType::Float32);
        let mut output = DynTensor::new(&Allocator::default(), element, dims.as_slice()).map_err(failure)?;
        let mut binding = parts.session.create_binding().map_err(failure)?;
        binding.bind_output(parts.output, &mut output).map_err(failure)?;
        Ok(OnnxRuntimeEngine { parts, binding, output, bound: false })
    }

    fn values(&self) -> Result<Vec<f32>, ort::Error> {
        let tensor = &self.output;
        Ok(match tensor.data_type() {
            TensorElementType::Float16 => tensor.try_extract_tensor::<f16>()?.1.iter().map(|x| x.to_f32()).collect(),
            TensorElementType::Bfloat16 => tensor.try_extract_tensor::<bf16>()?.1.iter().map(|x| x.to_f32()).collect(),
            TensorElementType::Float64 => tensor.try_extract_tensor::<f64>()?.1.iter().map(|&x| x as f32).collect(),
            _ => tensor.try_extract_tensor::<f32>()?.1.to_vec(),
        })
    }
}

impl Engine for OnnxRuntimeEngine {
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let shape = self.parts.shape;
        check_batch(&self.parts.model.graph, shape, batch)?;
        let ids: Vec<i64> = batch.ids.iter().map(|&id| i64::from(id)).collect();
        let positions = batch.lengths.iter().flat_map(|&length| (0..shape.sequence).map(move |at| at < length));
        let mask: Vec<i64> = positions.map(i64::from).collect();
        let types = token_types(batch, self.parts.token_types)?;
        let types = types.map(|types| (TOKEN_TYPE_IDS, types.into_iter().map(i64::from).collect()));
        for (name, values) in [(INPUT_IDS, ids), (ATTENTION_MASK, mask)].into_iter().chain(types) {
            let tensor = Tensor::from_array(([shape.batch, shape.sequence], values)).map_err(failure)?;
            self.binding.bind_input(name, &tensor).map_err(failure)?;
        }
        self.bound = true;
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        if !self.bound {
            return Err(BackendError::Inputs("no batch has been bound".to_owned()));
        }
        let SessionParts { session, affinities, .. } = &mut self.parts;
        Affinities::keep_caller(affinities.as_ref(), || session.run_binding(&self.binding).map(drop)).map_err(failure)
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        let graph = &self.parts.model.graph;
        let (rows, width) = output_dims(graph, self.parts.shape);
        let values = self.values().map_err(failure)?;
        if values.len() != rows * width {
            let message = format!("{} output elements where {rows} x {width} were expected", values.len());
            return Err(BackendError::Execution { backend: BackendKind::OnnxRuntime, message });
        }
        Ok(Output { kind: graph.output_kind, rows, width, values })
    }

    /// The weights as given to the session. The library does not report the copies that it packs for its kernels, nor its
    /// arena.
    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown { weights_bytes: Some(self.parts.weights.bytes()), ..MemoryBreakdown::default() }
    }

    fn describe(&self) -> EngineDescription {
        self.parts.description.clone()
    }
}
