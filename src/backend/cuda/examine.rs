//! Examines a forward: executes it operation by operation, and tallies the output of every operation before a later call
//! overwrites it. This needs a policy that rounds inside its operations, as `fp16`: then single operations have the bits of
//! the fused kernels of a timed forward. Where a policy leaves out the stores between fused operations, some of their
//! outputs never exist, and nothing is examined.

use std::collections::BTreeMap;
use std::slice::from_ref;

use super::arena::lay_out;
use super::calls::{Choice, DeviceCall, Placement, Tally, TallyWords, calls, groups};
use super::error::failed;
use super::gpu::{GpuRuntime, Prepared};
use super::memory::DeviceMemory;
use super::stage::{OpOutput, Stage, Stages, WeightKey};
use crate::engine::{BackendError, Examination, OpTally, TensorTally};
use crate::graph::{Graph, Mask, OpKind};

/// A forward with a stage for every operation. Its products are computed as in the timed forward of the same engine.
#[derive(Debug)]
pub(super) struct StepwiseForward {
    stages: Stages,
    /// The choice for the product with each weight.
    products: BTreeMap<WeightKey, Choice>,
}

impl StepwiseForward {
    /// The forward of `stages`, which `lower_stepwise` has made. `None` if an operation shares its kernel with another one.
    pub fn new(stages: Stages) -> Option<StepwiseForward> {
        let all = stages.ops.iter().all(Option::is_some);
        all.then_some(StepwiseForward { stages, products: BTreeMap::new() })
    }

    /// Takes the timed forward's choice for a product.
    pub fn choose(&mut self, timed: &Stage, choice: Option<Choice>) {
        if let (Stage::Linear(linear), Some(choice @ Choice::Product(_))) = (timed, choice) {
            self.products.insert(linear.weight, choice);
        }
    }

    /// The calls, and the number of calls up to the end of every stage.
    ///
    /// # Errors
    /// [`BackendError::Execution`] when a parameter was not loaded.
    pub fn calls(&self, placement: &Placement<'_>) -> Result<(Vec<DeviceCall>, Vec<usize>), BackendError> {
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for group in groups(&self.stages) {
            let choice = match &self.stages.stages[group.first] {
                Stage::Linear(linear) => self.products.get(&linear.weight).copied(),
                _ => None,
            };
            all.extend(calls(placement, group, choice)?);
            ends.resize(group.first + group.count, all.len());
        }
        Ok((all, ends))
    }

    /// Executes the forward over the bound batch and tallies its tensors. They are in memory that is allocated here and
    /// freed at the end. `timed` is the placement of the timed forward.
    ///
    /// # Errors
    /// [`BackendError`]: the device has no memory left, a kernel does not compile, or the device fails.
    pub fn examine(
        &self,
        gpu: &GpuRuntime,
        timed: &Placement<'_>,
        graph: &Graph,
    ) -> Result<Option<Examination>, BackendError> {
        let stages = &self.stages;
        let layout = lay_out(&stages.tensors, &stages.stages, &stages.output.map_or(Vec::new(), |output| vec![output]));
        let arena = DeviceMemory::take(&gpu.device.context, layout.bytes, "the tensors of every operation")?;
        arena.poison()?;
        let tensors = layout.addresses(arena.address());
        let placement = Placement { stages, tensors: &tensors, ..*timed };
        let (calls, ends) = self.calls(&placement)?;
        let Some(tallies) = ForwardTallies::new(&placement, graph, &ends) else { return Ok(None) };
        tallies.examine(gpu, &gpu.prepare(&calls)?, graph).map(Some)
    }
}

/// The tallies of a forward, in the order of its calls.
#[derive(Debug)]
pub(super) struct ForwardTallies {
    tallies: Vec<PendingTally>,
}

/// A tally that waits for some of the calls.
#[derive(Debug)]
struct PendingTally {
    /// Index of the operation.
    op: usize,
    /// Number of calls before it.
    calls: usize,
    tally: Tally,
}

impl ForwardTallies {
    /// The tallies of a forward. `ends` has the number of calls up to the end of every stage. `None` if an operation shares
    /// its kernel with another one.
    pub fn new(placement: &Placement<'_>, graph: &Graph, ends: &[usize]) -> Option<ForwardTallies> {
        let outputs: Vec<OpOutput> = placement.stages.ops.iter().copied().collect::<Option<_>>()?;
        let masks = |kind: &OpKind| match kind {
            OpKind::Softmax(mask) => Some(*mask),
            _ => None,
        };
        // Every layer of a model has the same mask.
        let mask = graph.ops.iter().find_map(|op| masks(&op.kind)).unwrap_or(Mask::Padding);
        let mut tallies = Vec::new();
        for (index, (op, output)) in graph.ops.iter().zip(&outputs).enumerate() {
            if let Stage::LayerNorm(stage) = &placement.stages.stages[output.stage] {
                // Before the layer norm, which may overwrite its input.
                let calls = output.stage.checked_sub(1).map_or(0, |before| ends[before]);
                let tally = Tally::of_layer_norm(placement, stage, graph.value(op.output).shape);
                tallies.push(PendingTally { op: index, calls, tally });
            }
            let tally = Tally::of_output(placement, output, graph.value(op.output).shape, mask);
            tallies.push(PendingTally { op: index, calls: ends[output.stage], tally });
        }
        tallies.is_sorted_by_key(|pending| pending.calls).then_some(ForwardTallies { tallies })
    }

    /// The calls that tally, if the words of the first operation are at `words`.
    pub fn calls(&self, words: u64) -> Vec<DeviceCall> {
        let address = |op: usize| words + (op * TallyWords::BYTES) as u64;
        self.tallies.iter().map(|pending| pending.tally.call(address(pending.op))).collect()
    }

    /// Executes the `calls` of a forward over the bound batch and tallies its tensors. The words are in memory that is
    /// allocated here and freed at the end.
    ///
    /// # Errors
    /// [`BackendError`]: the device has no memory left, a kernel does not compile, or the device fails.
    pub fn examine(&self, gpu: &GpuRuntime, calls: &[Prepared], graph: &Graph) -> Result<Examination, BackendError> {
        let mut words = vec![TallyWords::EMPTY.0; graph.ops.len()];
        let memory = DeviceMemory::take(&gpu.device.context, size_of_val(words.as_slice()), "tallies")?;
        memory.fill(0, &words)?;
        let tallies = gpu.prepare(&self.calls(memory.address()))?;
        let mut done = 0;
        for (pending, tally) in self.tallies.iter().zip(&tallies) {
            gpu.enqueue(&calls[done..pending.calls])?;
            gpu.enqueue(from_ref(tally))?;
            done = pending.calls;
        }
        gpu.enqueue(&calls[done..])?;
        gpu.stream.synchronize().map_err(failed)?;
        memory.read(0, &mut words)?;
        Ok(examination(graph, &words))
    }
}

/// The examination of a forward from the words of every operation.
fn examination(graph: &Graph, words: &[[u64; 7]]) -> Examination {
    let mut outputs = vec![TensorTally::default(); graph.values.len()];
    let ops = graph.ops.iter().zip(words).map(|(op, &words)| {
        let words = TallyWords(words);
        outputs[op.output.0] = words.tensor();
        let layer_norm = match op.kind {
            OpKind::LayerNorm { epsilon, .. } => Some(words.layer_norm(graph.value(op.output).shape.width(), epsilon)),
            _ => None,
        };
        // What an operation reads is what an earlier one has stored.
        let input = op.inputs.iter().map(|value| outputs[value.0]).reduce(TensorTally::and);
        OpTally { input, output: words.tensor(), layer_norm }
    });
    Examination { ops: ops.collect() }
}
