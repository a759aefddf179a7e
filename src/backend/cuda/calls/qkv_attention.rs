//! Calls of the kernel that computes a packed QKV projection and the attention over it, in the place of a product and an
//! attention kernel. Q, K and V are then in no tensor.

use std::f64::consts::LOG2_E;

use serde::{Deserialize, Serialize};

use super::tiles::sm90::blocks_of_shared_memory;
use super::{DeviceCall, KernelCall, MapSpec, Placement, assertion};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Accumulator, Attention, AttentionShape, Epilogue, Linear};
use crate::engine::BackendError;
use crate::graph::{Format, Mask};

/// Template arguments of `kernels/qkv_attention.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct QkvAttentionTile {
    /// Rows of a unit of work, 64 or 128.
    pub rows: usize,
    /// Rows that attend to each other, 64 or 128. They hold as many whole sequences as fit.
    pub keys: usize,
    pub stages: usize,
}

/// The last is for two blocks on a multiprocessor: the product of one overlaps with the attention of the other.
const TILES: [QkvAttentionTile; 4] = [tile(128, 128, 4), tile(128, 64, 4), tile(64, 64, 6), tile(64, 64, 2)];

/// Head size of the kernel.
const SIZE: usize = 64;

/// Columns of Q, K and V of one head.
const COLUMNS: usize = 3 * SIZE;

const fn tile(rows: usize, keys: usize, stages: usize) -> QkvAttentionTile {
    QkvAttentionTile { rows, keys, stages }
}

impl QkvAttentionTile {
    /// Threads of a block: a warpgroup for every 64 rows, and a producer as in `gemm_wgmma.cu`.
    fn threads(self) -> usize {
        if self.rows == 128 { 384 } else { 160 }
    }

    /// Dynamic shared memory, bytes, by the formula at the end of the kernel's file.
    fn shared_bytes(self) -> usize {
        1040 + self.stages * (128 * (self.rows + COLUMNS) + 16) + 400 * self.rows
    }

    /// Units of work. A sequence is no longer than the tile's keys.
    fn units(self, shape: AttentionShape) -> usize {
        shape.batch.div_ceil(self.rows / self.keys * (self.keys / shape.sequence)) * shape.heads
    }
}

/// The tiles worth timing. Empty where no tile computes what the stages say.
pub(super) fn choices(placement: &Placement<'_>, linear: &Linear, attention: &Attention) -> Vec<QkvAttentionTile> {
    if !computes(placement, linear, attention) {
        return Vec::new();
    }
    let shape = attention.shape;
    let fits = |tile: &QkvAttentionTile| {
        // Two warpgroups need rows of their own, two blocks units of their own.
        shape.sequence <= tile.keys
            && (tile.rows == 64 || shape.batch * shape.sequence > 64)
            && (tile.stages > 2 || tile.units(shape) > placement.multiprocessors)
    };
    TILES.into_iter().filter(fits).collect()
}

/// Whether the kernel computes what the stages say, on this device.
pub(super) fn computes(placement: &Placement<'_>, linear: &Linear, attention: &Attention) -> bool {
    let AttentionShape { batch, sequence, heads, size, .. } = attention.shape;
    let element = placement.element(linear.x);
    let elements = [linear.output, attention.context].map(|id| placement.element(id));
    placement.architecture.has_warpgroup_products()
        && element != ElementType::F32
        && elements == [element; 2]
        && [linear.accumulator, attention.accumulator] == [Accumulator::F32; 2]
        && (linear.epilogue, linear.bias.is_some()) == (Epilogue::Store, true)
        && attention.arithmetic == Format::Fp32
        && size == SIZE
        && (linear.width, linear.tokens) == (COLUMNS * heads, batch * sequence)
        && linear.depth.is_multiple_of(64)
}

/// The call of the kernel with a tile.
///
/// # Errors
/// [`BackendError::Execution`] when a parameter was not loaded.
pub(super) fn call(
    placement: &Placement<'_>,
    linear: &Linear,
    attention: &Attention,
    tile: QkvAttentionTile,
) -> Result<DeviceCall, BackendError> {
    let QkvAttentionTile { rows, keys, stages } = tile;
    let AttentionShape { batch, sequence, heads, mask, .. } = attention.shape;
    let arguments = Arguments::default()
        .optional(linear.bias.map(|bias| placement.weight(bias.widened())).transpose()?)
        .pointer(placement.tensor(attention.context))
        .pointer(placement.lengths)
        .int(batch)
        .int(sequence)
        .int(heads)
        .int(linear.depth)
        .float(attention.scale * LOG2_E);
    let causal = mask == Mask::Causal;
    let name = format!("qkv_attention_{rows}x{keys}_s{stages}_{}", if causal { "causal" } else { "padding" });
    let line = format!(
        "QKV_ATTENTION({name}, {rows}, {keys}, {stages}, {causal})\n{}\n{}",
        arguments.assertion("QkvAttentionArguments"),
        assertion(&format!("QkvAttentionTile<{rows}, {keys}, {stages}>"), tile.shared_bytes(), tile.threads())
    );
    let resident = placement.multiprocessors * blocks_of_shared_memory(tile.shared_bytes());
    let map = |address, rows, box_rows| MapSpec { address, columns: linear.depth, rows, box_rows };
    Ok(DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::QkvAttention(placement.element(linear.x)), name, line },
        shared_bytes: tile.shared_bytes(),
        // A block walks over the units of work with the stride of the grid.
        grid: Grid { blocks: (tile.units(attention.shape).min(resident.max(1)), 1, 1), threads: tile.threads() },
        maps: vec![
            map(placement.tensor(linear.x), linear.tokens, keys),
            map(placement.weight(linear.weight)?, linear.width, SIZE),
        ],
        arguments,
    }))
}
