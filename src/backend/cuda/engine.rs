//! Builds and runs an engine: the chosen calls of all stages, one span of memory, one CUDA graph.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::CudaGraph;
use half::{bf16, f16};
use rayon::prelude::*;

use super::arena::lay_out;
use super::calls::{DeviceCall, Placement, calls, group_key, groups, launches};
use super::capture::capture;
use super::catalogue::{Instance, unit};
use super::element::ElementType;
use super::error::{execution, failed, unavailable};
use super::examine::StepwiseForward;
use super::gpu::{GpuRuntime, Prepared};
use super::libraries;
use super::matmul::WORKSPACE_BYTES;
use super::memory::{DeviceMemory, Pinned};
use super::stage::{Accumulator, DeviceTensor, Stage, Stages, WeightKey};
use super::tune::{Timing, tune};
use super::weights::DeviceWeights;
use crate::digest::sha256;
use crate::engine::checks::{check_batch, output_dims, token_types};
use crate::engine::{
    BackendError, BuildRequest, Ceilings, DeviceQueue, Engine, EngineDescription, Examination, Launches,
    MemoryBreakdown, Output,
};
use crate::graph::Shape;
use crate::input::Batch;
use crate::model::Model;

/// Pinned memory for copies of the output to the host, bytes: enough for one transfer at full speed.
const STAGING_BYTES: usize = 32 << 20;

/// What an engine is built from.
pub(super) struct EngineParts {
    pub gpu: Rc<GpuRuntime>,
    pub weights: Rc<DeviceWeights>,
    pub stages: Stages,
    /// The same forward operation by operation, where it can be examined.
    pub stepwise: Option<StepwiseForward>,
}

/// An engine on a CUDA device. Fields are dropped in their order: the graph goes before the memory that its kernels
/// use.
pub(super) struct CudaEngine {
    graph: CudaGraph,
    /// The calls that the graph was captured from. They hold its tensor maps and its descriptions of products.
    _calls: Vec<Prepared>,
    stages: Stages,
    stepwise: Option<StepwiseForward>,
    arena: DeviceMemory,
    inputs: DeviceMemory,
    staged_inputs: Pinned<i32>,
    staged_output: Pinned<u8>,
    output: (DeviceTensor, usize),
    weights: Rc<DeviceWeights>,
    gpu: Rc<GpuRuntime>,
    model: Arc<Model>,
    shape: Shape,
    /// Address of the token types, where they are an input.
    types: Option<u64>,
    bound: bool,
    library: String,
    largest_product: Option<(ElementType, Accumulator)>,
    digest: String,
    launches: Launches,
}

impl CudaEngine {
    /// Lays out memory, chooses kernels, and captures the forward pass.
    ///
    /// # Errors
    /// [`BackendError`]: the device has no memory left, a kernel does not compile, or the device fails.
    pub fn build(parts: EngineParts, request: &BuildRequest) -> Result<CudaEngine, BackendError> {
        let EngineParts { gpu, weights, stages, mut stepwise } = parts;
        let shape = request.shape;
        let output_id = stages.output.ok_or_else(|| execution("the graph has no output"))?;
        let largest_product = largest_product(&stages);
        let layout = lay_out(&stages.tensors, &stages.stages, &[output_id]);
        let context = &gpu.device.context;
        let arena = DeviceMemory::take(context, layout.bytes, "intermediate tensors")?;
        let typed = request.token_types && request.model.graph.token_types() > 0;
        let valid = valid_inputs(shape, request.model.graph.dimensions.vocabulary, typed);
        let inputs = DeviceMemory::take(context, size_of_val(valid.as_slice()), "token ids")?;
        let staged_inputs = Pinned::take(context, valid.len())?;
        let types = typed.then(|| inputs.address() + (size_of::<i32>() * (shape.tokens() + shape.batch)) as u64);
        let output = (stages.tensor(output_id).clone(), layout.offsets[output_id.0]);
        let staged_output = Pinned::take(context, output.0.bytes().min(STAGING_BYTES.max(row_bytes(&output.0))))?;
        let tensors = layout.addresses(arena.address());
        let but_tensors = placement(&gpu, weights.addresses(), &stages, &inputs, shape);
        let placement = Placement { tensors: &tensors, types, ..but_tensors };
        inputs.fill(0, &valid)?;
        let groups = groups(&stages);
        let choices = tune(&gpu, &placement, &groups, Timing { arena: &arena, progress: &request.progress })?;
        let mut all: Vec<DeviceCall> = Vec::new();
        for group in choices.groups(&stages) {
            let choice = choices.get(&group_key(&stages, group));
            all.extend(calls(&placement, group, choice)?);
            if let Some(stepwise) = &mut stepwise {
                stepwise.choose(&stages.stages[group.first], choice);
            }
        }
        let prepared = gpu.prepare(&all)?;
        // From here on, elements that no kernel writes are NaN, and so is everything computed from them.
        arena.poison()?;
        let graph = record(&gpu, &prepared)?;
        let library = describe()?;
        Ok(CudaEngine {
            graph,
            _calls: prepared,
            stages,
            stepwise,
            arena,
            inputs,
            staged_inputs,
            staged_output,
            output,
            weights,
            largest_product,
            digest: digest(&library, &all),
            library,
            launches: launches(&all),
            gpu,
            model: request.model.clone(),
            shape,
            types,
            bound: false,
        })
    }

    /// SHA-256 over all calls. It tells engines with different kernels apart.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn check_bound(&self) -> Result<(), BackendError> {
        if self.bound { Ok(()) } else { Err(BackendError::Inputs("no batch has been bound".to_owned())) }
    }
}

/// SHA-256 over everything that is enqueued but addresses: the libraries, the sources of the kernels, their launches and numbers.
/// Engines with equal digests compute the same bits of equal weights on equal GPUs.
fn digest(library: &str, calls: &[DeviceCall]) -> String {
    let mut sources: BTreeMap<&Instance, String> = BTreeMap::new();
    let mut text = format!("{library}\n");
    for call in calls {
        text += &match call {
            DeviceCall::Kernel(call) => {
                let source = |instance: &Instance| sha256(unit(instance.source, [instance]).source.as_bytes());
                let source = sources.entry(&call.instance).or_insert_with(|| source(&call.instance));
                let (numbers, bytes) = (call.arguments.without_pointers(), call.shared_bytes);
                format!("{source} {} {:?} {bytes} {numbers:?}\n", call.instance.name, call.grid)
            }
            DeviceCall::Product(call) => format!("{:?} {:?}\n", call.spec, call.algorithm),
        };
    }
    sha256(text.as_bytes())
}

/// Operand type and accumulator of the largest product, which has most of the operations.
fn largest_product(stages: &Stages) -> Option<(ElementType, Accumulator)> {
    let products = stages.stages.iter().filter_map(|stage| match stage {
        Stage::Linear(linear) => Some(linear),
        _ => None,
    });
    let largest = products.max_by_key(|linear| linear.tokens * linear.width * linear.depth)?;
    Some((stages.tensor(largest.x).element, largest.accumulator))
}

/// Everything of a placement but the addresses of the tensors and of token types.
pub(super) fn placement<'a>(
    gpu: &GpuRuntime,
    weights: &'a BTreeMap<WeightKey, u64>,
    stages: &'a Stages,
    inputs: &DeviceMemory,
    shape: Shape,
) -> Placement<'a> {
    Placement {
        stages,
        weights,
        tensors: &[],
        ids: inputs.address(),
        lengths: inputs.address() + (shape.tokens() * size_of::<i32>()) as u64,
        sequence: shape.sequence,
        types: None,
        scratch: gpu.library.workspace().address(),
        scratch_bytes: WORKSPACE_BYTES,
        architecture: gpu.architecture,
        multiprocessors: gpu.multiprocessors,
    }
}

/// Runs one eager forward pass, because nothing may be loaded or compiled during a capture. Then captures another.
fn record(gpu: &GpuRuntime, prepared: &[Prepared]) -> Result<CudaGraph, BackendError> {
    gpu.enqueue(prepared)?;
    gpu.stream.synchronize().map_err(failed)?;
    capture(&gpu.stream, || gpu.enqueue(prepared), failed)
}

/// Valid inputs for the forward passes before a batch is bound: the ids of all tokens, the lengths of all rows, and the types of
/// all tokens where they are an input. Ids differ, because equal rows everywhere take less power than those of a batch.
fn valid_inputs(shape: Shape, vocabulary: usize, typed: bool) -> Vec<i32> {
    let mut values: Vec<i32> = (0..shape.tokens()).map(|index| (index * 7919 % vocabulary.max(1)) as i32).collect();
    values.resize(shape.tokens() + shape.batch, shape.sequence as i32);
    values.resize(values.len() + if typed { shape.tokens() } else { 0 }, 0);
    values
}

fn describe() -> Result<String, BackendError> {
    Ok(format!(
        "cuda {} (cuBLASLt {}, NVRTC {}, CUDA graph)",
        env!("CARGO_PKG_VERSION"),
        libraries::cublaslt().map_err(unavailable)?.version,
        libraries::nvrtc().map_err(unavailable)?.version,
    ))
}

impl Engine for CudaEngine {
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError> {
        check_batch(&self.model.graph, self.shape, batch)?;
        let types = token_types(batch, self.types.is_some())?.unwrap_or_default();
        let lengths = batch.lengths.iter().map(|&length| length as i32);
        let [ids, types] = [&batch.ids, &types].map(|of| of.iter().map(|&id| id as i32));
        let values = ids.chain(lengths).chain(types);
        self.staged_inputs.values().iter_mut().zip(values).for_each(|(to, value)| *to = value);
        self.staged_inputs.send(&self.gpu.stream, self.inputs.address())?;
        self.bound = true;
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        self.check_bound()?;
        self.graph.launch().map_err(failed)
    }

    fn synchronize(&mut self) -> Result<(), BackendError> {
        self.gpu.stream.synchronize().map_err(failed)
    }

    fn device_queue(&self) -> Option<&dyn DeviceQueue> {
        Some(&self.gpu.stream)
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        let (tensor, offset) = &self.output;
        let (rows, width) = output_dims(&self.model.graph, self.shape);
        let mut values = vec![0.0; rows * width];
        let row_bytes = row_bytes(tensor);
        let rows_at_once = (STAGING_BYTES / row_bytes).max(1);
        for (index, wide) in values.chunks_mut(rows_at_once * width).enumerate() {
            let address = self.arena.address() + (offset + index * rows_at_once * row_bytes) as u64;
            let stored = self.staged_output.receive(&self.gpu.stream, address, wide.len() / width * row_bytes)?;
            widen_rows(tensor, stored, width, wide);
        }
        Ok(Output { kind: self.model.graph.output_kind, rows, width, values })
    }

    /// Nothing is examined where fused operations leave out a rounding of the policy.
    fn examine(&mut self) -> Result<Option<Examination>, BackendError> {
        let Some(stepwise) = &self.stepwise else { return Ok(None) };
        self.check_bound()?;
        let but_types = placement(&self.gpu, self.weights.addresses(), &self.stages, &self.inputs, self.shape);
        let timed = Placement { types: self.types, ..but_types };
        let examination = stepwise.examine(&self.gpu, &timed, &self.model.graph)?;
        // Leaves the outputs of this batch where `outputs` reads them.
        self.graph.launch().map_err(failed)?;
        Ok(examination)
    }

    fn launches(&self) -> Option<Launches> {
        Some(self.launches)
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown {
            weights_bytes: Some(self.weights.bytes() as u64),
            activations_bytes: Some((self.arena.bytes() + self.inputs.bytes()) as u64),
            workspace_bytes: Some(WORKSPACE_BYTES as u64),
            device_bytes: self.gpu.device_bytes_since_opening(),
        }
    }

    fn ceilings(&self) -> Option<Ceilings> {
        let (operand, accumulator) = self.largest_product?;
        self.gpu.ceilings(operand, accumulator)
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription {
            library: self.library.clone(),
            device: self.gpu.device.name.clone(),
            threads: None,
            emulated: false,
        }
    }
}

fn row_bytes(tensor: &DeviceTensor) -> usize {
    tensor.stride * tensor.element.bytes()
}

/// From this many values on, all processors widen them. One processor takes a millisecond for this many.
const WIDENED_TOGETHER: usize = 1 << 20;

/// Widens the first `width` elements of each stored row to FP32.
fn widen_rows(tensor: &DeviceTensor, stored: &[u8], width: usize, wide: &mut [f32]) {
    let row_bytes = row_bytes(tensor);
    let row = |(stored, wide): (&[u8], &mut [f32])| widen(tensor.element, stored, wide);
    if wide.len() < WIDENED_TOGETHER {
        stored.chunks_exact(row_bytes).zip(wide.chunks_exact_mut(width)).for_each(row);
    } else {
        stored.par_chunks_exact(row_bytes).zip(wide.par_chunks_exact_mut(width)).for_each(row);
    }
}

/// Widens stored elements to FP32, as many as `wide` has.
fn widen(element: ElementType, stored: &[u8], wide: &mut [f32]) {
    match element {
        ElementType::F32 => {
            let each = stored.chunks_exact(4).zip(wide);
            each.for_each(|(b, to)| *to = f32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        }
        ElementType::F16 => {
            let each = stored.chunks_exact(2).zip(wide);
            each.for_each(|(b, to)| *to = f16::from_ne_bytes([b[0], b[1]]).to_f32());
        }
        ElementType::Bf16 => {
            let each = stored.chunks_exact(2).zip(wide);
            each.for_each(|(b, to)| *to = bf16::from_ne_bytes([b[0], b[1]]).to_f32());
        }
    }
}
