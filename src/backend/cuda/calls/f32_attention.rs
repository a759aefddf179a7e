//! Calls of the fused attention kernel over FP32 tensors, with products in FP32 or TF32.

use std::f64::consts::LOG2_E;

use serde::{Deserialize, Serialize};

use super::{DeviceCall, KernelCall, Placement, assertion, attention};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::launch::Grid;
use crate::backend::cuda::stage::{Accumulator, Attention, AttentionShape};
use crate::graph::Mask;

/// Template arguments of `kernels/attention_f32.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct F32AttentionTile {
    row_tiles: usize,
    row_warps: usize,
    key_groups: usize,
    keys: usize,
}

/// From tiles for one short sequence to tiles for many long ones.
const TILES: [F32AttentionTile; 8] = [
    tile(1, 1, 4, 16),
    tile(1, 1, 4, 32),
    tile(1, 2, 2, 32),
    tile(1, 4, 1, 32),
    tile(1, 4, 1, 64),
    tile(1, 8, 1, 32),
    tile(2, 4, 1, 32),
    tile(1, 4, 1, 16),
];

/// Largest head size that has tiles of 32 keys for four warps in the shared memory of every GPU.
const TILES_OF_32_SIZE: usize = 96;

/// Largest head size of which a thread holds two row tiles, or one warp's share of four key groups of 32 keys, in registers.
const LARGE_TILES_SIZE: usize = 64;

const fn tile(row_tiles: usize, row_warps: usize, key_groups: usize, keys: usize) -> F32AttentionTile {
    F32AttentionTile { row_tiles, row_warps, key_groups, keys }
}

impl F32AttentionTile {
    /// Query rows that a block computes.
    fn queries(self) -> usize {
        16 * self.row_tiles * self.row_warps
    }

    fn threads(self) -> usize {
        32 * self.row_warps * self.key_groups
    }

    /// Dynamic shared memory, bytes, by the formulas of `F32Shape` in the kernel's file.
    fn shared_bytes(self, size: usize, tf32: bool) -> usize {
        let F32AttentionTile { row_tiles, row_warps, key_groups, keys } = self;
        let (key_pitch, columns) = (size + if tf32 { (size + 16) % 32 } else { 4 }, size.next_multiple_of(32));
        let tiles = key_groups * 2 * keys * (key_pitch + columns + 4) * 4;
        let merge = (key_groups - 1) * row_tiles * (columns / 8 + 1) * 32 * row_warps * 16;
        let probabilities = if tf32 { 0 } else { row_warps * key_groups * 16 * row_tiles * (keys + 4) * 4 };
        self.queries() * key_pitch * 4 + tiles.max(merge) + probabilities
    }
}

/// The tiles worth timing. Key groups need enough keys to share, and large tiles need enough queries to fill them.
pub(super) fn choices(placement: &Placement<'_>, stage: &Attention) -> Vec<F32AttentionTile> {
    let shape = stage.shape;
    let fits = |tile: &F32AttentionTile| {
        let queries = tile.queries();
        let filled = queries <= shape.sequence.next_multiple_of(16) || queries == 16 || queries == 64;
        let shared = tile.key_groups == 1 || shape.sequence > tile.keys * (tile.key_groups - 1);
        // With so many blocks the small tiles cannot win.
        let blocks = shape.sequence.div_ceil(queries) * shape.heads * shape.batch;
        // The kernel holds one row tile's queries in registers for TF32.
        let one_row_tile = tile.row_tiles == 1 || stage.accumulator != Accumulator::Tf32;
        let large = tile.row_tiles > 1 || (tile.row_warps, tile.keys) == (1, 32);
        let registers = one_row_tile && (!large || shape.size <= LARGE_TILES_SIZE);
        let of_size = (tile.row_warps, tile.keys) != (4, 16) || shape.size > TILES_OF_32_SIZE;
        filled && shared && registers && of_size && (queries >= 64 || blocks <= 16 * placement.multiprocessors)
    };
    TILES.into_iter().filter(fits).collect()
}

/// The tile where nothing has been timed. It fits the shared memory of every GPU.
pub(super) fn default_tile(stage: &Attention) -> F32AttentionTile {
    match (stage.shape.size, stage.shape.sequence) {
        (..=64, ..=32) => tile(1, 1, 4, 16),
        (..=TILES_OF_32_SIZE, _) => tile(1, 4, 1, 32),
        _ => tile(1, 4, 1, 16),
    }
}

/// The call of the kernel with a tile.
pub(super) fn call(placement: &Placement<'_>, stage: &Attention, tile: F32AttentionTile) -> DeviceCall {
    let AttentionShape { batch, sequence, heads, size, mask } = stage.shape;
    let tf32 = stage.accumulator == Accumulator::Tf32;
    let arguments = attention::arguments(placement, stage, stage.scale * LOG2_E);
    let F32AttentionTile { row_tiles, row_warps, key_groups, keys } = tile;
    let causal = mask == Mask::Causal;
    let (products, masked) = (if tf32 { "tf32" } else { "fp32" }, if causal { "causal" } else { "padding" });
    let name = format!("attention_{products}_{size}_{row_tiles}x{row_warps}_{key_groups}x{keys}_{masked}");
    let shape = format!("{size}, {row_tiles}, {row_warps}, {key_groups}, {keys}, {tf32}");
    let shared_bytes = tile.shared_bytes(size, tf32);
    let line = format!(
        "ATTENTION_F32({name}, {shape}, {causal})\n{}\n{}",
        arguments.assertion("AttentionF32Arguments"),
        assertion(&format!("F32Shape<{shape}>"), shared_bytes, tile.threads())
    );
    DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::AttentionF32, name, line },
        shared_bytes,
        grid: Grid { blocks: (sequence.div_ceil(tile.queries()), heads, batch), threads: tile.threads() },
        maps: Vec::new(),
        arguments,
    })
}
