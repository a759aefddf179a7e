//! Turns stages into calls of kernels and of cuBLASLt. Calls are plain data, so they can be made and inspected without
//! a device.

mod attention;
mod embedding;
mod f32_attention;
mod linear;
mod norm;
mod qkv_attention;
mod qkv_cluster;
mod rounded_attention;
mod stepwise;
mod tally;
#[cfg(test)]
pub(super) mod tests;
mod tiles;

pub(super) use attention::AttentionTile;
pub(super) use f32_attention::F32AttentionTile;
pub(super) use linear::{LIBRARY_ALGORITHMS, ProductChoice};
pub(super) use norm::{NORM_WIDTH_STEP, narrow};
pub(super) use qkv_attention::QkvAttentionTile;
pub(super) use qkv_cluster::QkvClusterTile;
pub(super) use rounded_attention::RoundedAttentionTile;
pub(super) use tally::{Tally, TallyWords};
#[cfg(test)]
pub(super) use tiles::ProductTile;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::catalogue::{Instance, KernelSource};
use super::compile::GpuArchitecture;
use super::element::ElementType;
use super::error::execution;
use super::launch::{Arguments, Grid};
use super::matmul::{Algorithm, MatmulAddresses, MatmulSpec};
use super::stage::{Stage, Stages, TensorId, WeightKey, projection_of_attention};
use crate::engine::{BackendError, Launches};
use crate::graph::Format;

/// Description of a tensor map: rows of 16-bit elements, which are fetched in boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapSpec {
    pub address: u64,
    /// Elements of a row. There is no padding between rows.
    pub columns: usize,
    pub rows: usize,
    /// Rows of a box, which is 64 columns wide.
    pub box_rows: usize,
}

/// A call of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KernelCall {
    pub instance: Instance,
    /// Dynamic shared memory, bytes.
    pub shared_bytes: usize,
    pub grid: Grid,
    pub maps: Vec<MapSpec>,
    pub arguments: Arguments,
}

/// A call of cuBLASLt.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProductCall {
    pub spec: MatmulSpec,
    pub addresses: MatmulAddresses,
    /// `None` for the library's first choice.
    pub algorithm: Option<Algorithm>,
}

/// One piece of work on the stream.
#[derive(Debug, Clone)]
pub(super) enum DeviceCall {
    Kernel(KernelCall),
    Product(ProductCall),
}

/// The way to execute a group of stages that can be executed in several ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Choice {
    /// For a linear layer, and the layer norm after it if that can add partial sums.
    Product(ProductChoice),
    /// For an attention block.
    Attention(AttentionTile),
    /// For an attention block over FP32 tensors.
    F32Attention(F32AttentionTile),
    /// For an attention block that rounds to FP16 inside.
    RoundedAttention(RoundedAttentionTile),
    /// For a packed QKV projection and its attention together.
    QkvAttention(QkvAttentionTile),
    /// The same by clusters of blocks.
    QkvCluster(QkvClusterTile),
}

/// Stages placed on a device: the addresses of their tensors and parameters, and the properties of the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement<'a> {
    pub stages: &'a Stages,
    /// Address of every parameter.
    pub weights: &'a BTreeMap<WeightKey, u64>,
    /// Address of every tensor.
    pub tensors: &'a [u64],
    /// Address of the `[batch, sequence]` token ids, 32-bit.
    pub ids: u64,
    /// Address of the `[batch]` lengths, 32-bit.
    pub lengths: u64,
    /// Address of the `[batch, sequence]` token types, 32-bit; `None` where all are 0.
    pub types: Option<u64>,
    pub sequence: usize,
    /// Address of scratch for partial sums. It is free between any two groups.
    pub scratch: u64,
    pub scratch_bytes: usize,
    pub architecture: GpuArchitecture,
    /// Multiprocessors of the device.
    pub multiprocessors: usize,
}

/// Stages that are executed together: one, a linear layer and the layer norm that reads its residual stream, or a packed QKV
/// projection and its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StageGroup {
    /// Index of the first stage.
    pub first: usize,
    /// Number of stages, one or two.
    pub count: usize,
}

/// The groups of a forward pass, in order. No projection is with its attention: see [`with_attention`].
pub(super) fn groups(stages: &Stages) -> Vec<StageGroup> {
    let mut groups = Vec::new();
    let mut first = 0;
    while first < stages.stages.len() {
        let count = if linear::pairs_with_norm(stages, first) { 2 } else { 1 };
        groups.push(StageGroup { first, count });
        first += count;
    }
    groups
}

/// The group of a packed QKV projection, which is `group`, and its attention. Its choices compute both at once, so that no
/// tensor holds Q, K and V.
pub(super) fn with_attention(stages: &Stages, group: StageGroup) -> Option<StageGroup> {
    projection_of_attention(&stages.stages, group.first).map(|_| StageGroup { count: 2, ..group })
}

/// The groups of a forward pass, in order. A projection is with its attention where `together` says so of their group.
pub(super) fn groups_together(stages: &Stages, together: impl Fn(StageGroup) -> bool) -> Vec<StageGroup> {
    let mut found: Vec<StageGroup> = Vec::new();
    for group in groups(stages) {
        if found.last().is_none_or(|last| last.first + last.count <= group.first) {
            found.push(with_attention(stages, group).filter(|&both| together(both)).unwrap_or(group));
        }
    }
    found
}

/// Everything that the speed of each choice depends on. Groups with equal keys are executed in the same way.
pub(super) fn group_key(stages: &Stages, group: StageGroup) -> String {
    let mut key = String::new();
    for stage in &stages.stages[group.first..group.first + group.count] {
        key.push_str(&match stage {
            Stage::Linear(stage) => linear::key(stages, stage),
            Stage::Attention(stage) => attention::key(stages, stage),
            Stage::LayerNorm(stage) => norm::key(stages, stage),
            _ => "stepwise".to_owned(),
        });
        key.push(' ');
    }
    key.trim_end().to_owned()
}

/// The choices for a group. Empty if there is only one way to execute it.
pub(super) fn choices(placement: &Placement<'_>, group: StageGroup) -> Vec<Choice> {
    match &placement.stages.stages[group.first..group.first + group.count] {
        [Stage::Linear(linear), Stage::Attention(attention)] => {
            let of_blocks = qkv_attention::choices(placement, linear, attention).into_iter().map(Choice::QkvAttention);
            let of_clusters = qkv_cluster::choices(placement, linear, attention).map(Choice::QkvCluster);
            of_blocks.chain(of_clusters).collect()
        }
        [Stage::Linear(stage), after @ ..] => {
            linear::choices(placement, stage, !after.is_empty()).into_iter().map(Choice::Product).collect()
        }
        [Stage::Attention(stage)] if stage.arithmetic == Format::Fp16 => {
            rounded_attention::choices(placement, stage).into_iter().map(Choice::RoundedAttention).collect()
        }
        [Stage::Attention(stage)] if placement.element(stage.packed) == ElementType::F32 => {
            f32_attention::choices(placement, stage).into_iter().map(Choice::F32Attention).collect()
        }
        [Stage::Attention(stage)] => attention::choices(placement, stage).into_iter().map(Choice::Attention).collect(),
        _ => Vec::new(),
    }
}

/// The calls of a group.
///
/// # Errors
/// [`BackendError::Execution`] when a parameter was not loaded.
pub(super) fn calls(
    placement: &Placement<'_>,
    group: StageGroup,
    choice: Option<Choice>,
) -> Result<Vec<DeviceCall>, BackendError> {
    let stages = &placement.stages.stages[group.first..group.first + group.count];
    match (stages, choice) {
        ([Stage::Linear(linear), Stage::Attention(attention)], Some(Choice::QkvAttention(tile))) => {
            Ok(vec![qkv_attention::call(placement, linear, attention, tile)?])
        }
        ([Stage::Linear(linear), Stage::Attention(attention)], Some(Choice::QkvCluster(tile))) => {
            Ok(vec![qkv_cluster::call(placement, linear, attention, tile)?])
        }
        // Without a choice it is the pair.
        ([Stage::Linear(_), Stage::Attention(_)], _) => {
            let one = |first| calls(placement, StageGroup { first, count: 1 }, None);
            Ok([one(group.first)?, one(group.first + 1)?].concat())
        }
        ([Stage::Linear(product), Stage::LayerNorm(norm)], choice) => {
            linear::calls(placement, product, Some(norm), product_choice(choice))
        }
        ([Stage::Linear(product)], choice) => linear::calls(placement, product, None, product_choice(choice)),
        ([Stage::Attention(stage)], choice) if stage.arithmetic == Format::Fp16 => {
            let tile = match choice {
                Some(Choice::RoundedAttention(tile)) => tile,
                _ => rounded_attention::default_tile(stage),
            };
            Ok(vec![rounded_attention::call(placement, stage, tile)])
        }
        ([Stage::Attention(stage)], choice) if placement.element(stage.packed) == ElementType::F32 => {
            let tile = match choice {
                Some(Choice::F32Attention(tile)) => tile,
                _ => f32_attention::default_tile(stage),
            };
            Ok(vec![f32_attention::call(placement, stage, tile)])
        }
        ([Stage::Attention(stage)], choice) => {
            let tile = match choice {
                Some(Choice::Attention(tile)) => tile,
                _ => attention::default_tile(placement, stage),
            };
            Ok(vec![attention::call(placement, stage, tile)])
        }
        ([stage], _) => one(placement, stage),
        _ => Err(execution("no kernel executes this group of stages")),
    }
}

fn product_choice(choice: Option<Choice>) -> ProductChoice {
    match choice {
        Some(Choice::Product(choice)) => choice,
        _ => ProductChoice::Library(None),
    }
}

fn one(placement: &Placement<'_>, stage: &Stage) -> Result<Vec<DeviceCall>, BackendError> {
    let call = match stage {
        Stage::Embedding(stage) => embedding::call(placement, stage)?,
        Stage::LayerNorm(stage) => norm::layer_norm(placement, stage, None)?,
        Stage::SplitHeads { packed, split, shape } => stepwise::split_heads(placement, *packed, *split, *shape),
        Stage::HeadProduct(stage) => stepwise::head_product(placement, stage),
        Stage::Softmax(stage) => stepwise::softmax(placement, stage),
        Stage::MergeHeads { split, outputs, shape } => stepwise::merge_heads(placement, *split, *outputs, *shape),
        Stage::Elementwise(stage) => stepwise::elementwise(placement, stage),
        Stage::Select(stage) => stepwise::select(placement, stage),
        Stage::Linear(_) | Stage::Attention(_) => {
            return Err(execution("this stage is executed only as part of a group"));
        }
    };
    Ok(vec![call])
}

impl Placement<'_> {
    fn tensor(&self, id: TensorId) -> u64 {
        self.tensors[id.0]
    }

    fn weight(&self, key: WeightKey) -> Result<u64, BackendError> {
        self.weights.get(&key).copied().ok_or_else(|| execution(format!("parameter {} was not loaded", key.param)))
    }

    fn element(&self, id: TensorId) -> ElementType {
        self.stages.tensor(id).element
    }
}

/// A line of CUDA that does not compile if a tile's kernel needs other threads or shared memory than it is launched
/// with.
fn assertion(tile: &str, shared_bytes: usize, threads: usize) -> String {
    format!(
        "static_assert({tile}::SHARED_BYTES == {shared_bytes} && {tile}::THREADS == {threads}, \
         \"the host launches it otherwise\");"
    )
}

/// What the calls of a forward launch. cuBLASLt may launch a second kernel for a product, which is not counted.
pub(super) fn launches(calls: &[DeviceCall]) -> Launches {
    let single = |call: &&DeviceCall| match call {
        DeviceCall::Kernel(call) => matches!(call.instance.source, KernelSource::Stepwise | KernelSource::HeadProduct),
        DeviceCall::Product(_) => false,
    };
    Launches { kernels: calls.len(), single_operations: calls.iter().filter(single).count() }
}

/// The instances of kernels that calls need.
pub(super) fn instances<'a>(calls: impl IntoIterator<Item = &'a DeviceCall>) -> BTreeSet<&'a Instance> {
    let kernels = calls.into_iter().filter_map(|call| match call {
        DeviceCall::Kernel(call) => Some(&call.instance),
        DeviceCall::Product(_) => None,
    });
    kernels.collect()
}
