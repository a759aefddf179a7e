//! Calls of the fused attention kernel.

use std::f64::consts::LOG2_E;

use serde::{Deserialize, Serialize};

use super::{DeviceCall, KernelCall, Placement, assertion};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Attention, AttentionShape, Stages};
use crate::graph::{Format, Mask};

/// A kernel with its template arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) enum AttentionTile {
    /// Of `kernels/attention.cu`.
    Mma { row_tiles: usize, row_warps: usize, key_groups: usize, keys: usize },
    /// Of `kernels/attention_wgmma.cu`.
    Wgmma { row_groups: usize, key_groups: usize, keys: usize, slots: usize, blocks: usize },
}

/// From tiles for one short sequence to tiles for many long ones. On an H200 each was among the fastest for some shape.
const MMA_TILES: [AttentionTile; 10] = [
    mma(1, 1, 1, 64),
    mma(1, 1, 4, 16),
    mma(1, 1, 4, 32),
    mma(1, 2, 2, 16),
    mma(1, 2, 2, 32),
    mma(1, 2, 2, 64),
    mma(1, 4, 2, 64),
    mma(1, 4, 1, 64),
    mma(1, 8, 1, 64),
    mma(2, 4, 1, 32),
];

/// The same for the `wgmma` kernel, for heads of 64 elements.
const WGMMA_TILES: [AttentionTile; 9] = [
    wgmma(1, 4, 64, 2, 1),
    wgmma(1, 2, 128, 2, 1),
    wgmma(1, 2, 64, 2, 2),
    wgmma(2, 2, 64, 2, 1),
    wgmma(1, 1, 128, 2, 2),
    wgmma(1, 1, 64, 2, 3),
    wgmma(1, 1, 64, 2, 4),
    wgmma(1, 1, 64, 3, 4),
    wgmma(2, 1, 64, 4, 2),
];

/// For heads of 80 and 96: a thread holds more sums, so that fewer blocks share a multiprocessor's registers.
const WGMMA_TILES_TO_96: [AttentionTile; 8] = [
    wgmma(1, 2, 64, 2, 1),
    wgmma(1, 2, 128, 2, 1),
    wgmma(1, 1, 128, 2, 2),
    wgmma(1, 1, 64, 2, 3),
    wgmma(1, 1, 64, 3, 3),
    wgmma(2, 1, 64, 3, 1),
    wgmma(2, 1, 128, 2, 1),
    wgmma(3, 1, 64, 2, 1),
];

/// For heads of 128.
const WGMMA_TILES_OF_128: [AttentionTile; 6] = [
    wgmma(1, 2, 64, 2, 1),
    wgmma(1, 1, 128, 2, 1),
    wgmma(1, 1, 64, 2, 2),
    wgmma(1, 1, 64, 3, 2),
    wgmma(2, 1, 64, 2, 1),
    wgmma(2, 1, 128, 2, 1),
];

/// Largest head size of which a thread of the `mma.sync` kernel holds two row tiles in registers.
const TWO_ROW_TILES_SIZE: usize = 96;

/// The tiles of the `wgmma` kernel for a head size.
fn wgmma_tiles(size: usize) -> &'static [AttentionTile] {
    match size {
        64 => &WGMMA_TILES,
        80 | 96 => &WGMMA_TILES_TO_96,
        128 => &WGMMA_TILES_OF_128,
        _ => &[],
    }
}

const fn mma(row_tiles: usize, row_warps: usize, key_groups: usize, keys: usize) -> AttentionTile {
    AttentionTile::Mma { row_tiles, row_warps, key_groups, keys }
}

const fn wgmma(row_groups: usize, key_groups: usize, keys: usize, slots: usize, blocks: usize) -> AttentionTile {
    AttentionTile::Wgmma { row_groups, key_groups, keys, slots, blocks }
}

impl AttentionTile {
    /// Query rows that a block computes.
    fn queries(self) -> usize {
        match self {
            AttentionTile::Mma { row_tiles, row_warps, .. } => 16 * row_tiles * row_warps,
            AttentionTile::Wgmma { row_groups, .. } => 64 * row_groups,
        }
    }

    fn key_groups(self) -> (usize, usize) {
        match self {
            AttentionTile::Mma { key_groups, keys, .. } | AttentionTile::Wgmma { key_groups, keys, .. } => {
                (key_groups, keys)
            }
        }
    }

    fn threads(self) -> usize {
        match self {
            AttentionTile::Mma { row_warps, key_groups, .. } => 32 * row_warps * key_groups,
            AttentionTile::Wgmma { row_groups, key_groups, .. } => 128 * row_groups * key_groups,
        }
    }

    /// Dynamic shared memory, bytes, by the formulas at the top of the kernels' files.
    fn shared_bytes(self, size: usize) -> usize {
        match self {
            AttentionTile::Mma { row_tiles, row_warps, key_groups, keys } => {
                let tiles = 2 * size * 4 * key_groups * keys;
                let merge = 4 * 32 * row_warps * (key_groups - 1) * row_tiles * (size / 2 + 4);
                2 * size * self.queries() + tiles.max(merge)
            }
            AttentionTile::Wgmma { key_groups, keys, slots, .. } => {
                2 * size * (self.queries() + 2 * key_groups * slots * keys)
            }
        }
    }
}

/// Everything that the speed of its kernels depends on.
pub(super) fn key(stages: &Stages, stage: &Attention) -> String {
    let shape = stage.shape;
    let (element, rounded) = (stages.tensor(stage.packed).element, stage.arithmetic == Format::Fp16);
    let rounded = if rounded { " rounded" } else { "" };
    let AttentionShape { batch, sequence, heads, size, mask } = shape;
    let accumulator = stage.accumulator;
    format!("attention[{batch}x{sequence} {heads}x{size} {mask:?} {element:?} {accumulator:?}{rounded}]")
}

/// The tiles worth timing. Key groups need enough keys to share, and large tiles need enough queries to fill them.
pub(super) fn choices(placement: &Placement<'_>, stage: &Attention) -> Vec<AttentionTile> {
    let shape = stage.shape;
    let fits = |tile: &AttentionTile| {
        let queries = tile.queries();
        let (key_groups, keys) = tile.key_groups();
        let filled = queries <= shape.sequence.next_multiple_of(16) || queries == 16 || queries == 64;
        let shared = key_groups == 1 || shape.sequence > keys * (key_groups - 1);
        let two_row_tiles = matches!(tile, AttentionTile::Mma { row_tiles: 2, .. });
        let held = !two_row_tiles || shape.size <= TWO_ROW_TILES_SIZE;
        // With so many blocks the small tiles cannot win.
        let blocks = shape.sequence.div_ceil(queries) * shape.heads * shape.batch;
        filled && shared && held && (queries >= 64 || blocks <= 16 * placement.multiprocessors)
    };
    let wgmma = if placement.architecture.has_warpgroup_products() { wgmma_tiles(shape.size) } else { &[] };
    MMA_TILES.iter().chain(wgmma).copied().filter(fits).collect()
}

/// The tile where nothing has been timed: the fastest on an H200 for heads of 64, by the number of blocks of 64 queries. It
/// fits the shared memory of every GPU.
pub(super) fn default_tile(placement: &Placement<'_>, stage: &Attention) -> AttentionTile {
    let shape = stage.shape;
    let blocks = shape.batch * shape.heads * shape.sequence.div_ceil(64);
    let wgmma_here = placement.architecture.has_warpgroup_products() && !wgmma_tiles(shape.size).is_empty();
    match (shape.sequence, blocks, shape.size) {
        (0..=32, ..) => mma(1, 2, 2, 16),
        (_, 0..=24, 0..=96) => mma(1, 1, 4, 32),
        (_, 0..=24, _) => mma(1, 2, 2, 32),
        (_, 25..=96, 64) if wgmma_here => wgmma(1, 2, 64, 2, 2),
        (_, 25..=96, _) if wgmma_here => wgmma(1, 2, 64, 2, 1),
        (_, _, 64) if wgmma_here => wgmma(1, 1, 64, 2, 4),
        (_, _, 80 | 96) if wgmma_here => wgmma(1, 1, 64, 2, 3),
        _ if wgmma_here => wgmma(1, 1, 64, 2, 2),
        _ => mma(1, 4, 1, 64),
    }
}

/// The arguments of a fused attention kernel; `scale` is that of the exponents' base.
pub(super) fn arguments(placement: &Placement<'_>, stage: &Attention, scale: f64) -> Arguments {
    Arguments::default()
        .pointer(placement.tensor(stage.packed))
        .pointer(placement.tensor(stage.context))
        .pointer(placement.lengths)
        .int(stage.shape.sequence)
        .int(stage.shape.heads)
        .float(scale)
}

/// The call of the kernel with a tile.
pub(super) fn call(placement: &Placement<'_>, stage: &Attention, tile: AttentionTile) -> DeviceCall {
    let shape = stage.shape;
    let arguments = arguments(placement, stage, stage.scale * LOG2_E);
    DeviceCall::Kernel(KernelCall {
        instance: instance(placement.element(stage.packed), shape, tile, &arguments),
        shared_bytes: tile.shared_bytes(shape.size),
        grid: Grid {
            blocks: (shape.sequence.div_ceil(tile.queries()), shape.heads, shape.batch),
            threads: tile.threads(),
        },
        maps: Vec::new(),
        arguments,
    })
}

fn instance(element: ElementType, shape: AttentionShape, tile: AttentionTile, arguments: &Arguments) -> Instance {
    let causal = shape.mask == Mask::Causal;
    let mask = if causal { "causal" } else { "padding" };
    let size = shape.size;
    let (source, name, macro_call, c_shape) = match tile {
        AttentionTile::Mma { row_tiles, row_warps, key_groups, keys } => {
            let name = format!("attention_{size}_{row_tiles}x{row_warps}_{key_groups}x{keys}_{mask}");
            let shape = format!("{size}, {row_tiles}, {row_warps}, {key_groups}, {keys}");
            let line = format!("ATTENTION({name}, {shape}, {causal})");
            (KernelSource::Attention(element), name, line, format!("AttentionShape<{shape}>"))
        }
        AttentionTile::Wgmma { row_groups, key_groups, keys, slots, blocks } => {
            let name = format!("attention_wgmma_{size}_{row_groups}x{key_groups}_{keys}_{slots}_{blocks}_{mask}");
            let shape = format!("{size}, {row_groups}, {key_groups}, {keys}, {slots}");
            let line = format!("ATTENTION_WGMMA({name}, {shape}, {blocks}, {causal})");
            (KernelSource::AttentionWgmma(element), name, line, format!("WgmmaAttentionShape<{shape}>"))
        }
    };
    let line = format!(
        "{macro_call}\n{}\n{}",
        arguments.assertion("AttentionArguments"),
        assertion(&c_shape, tile.shared_bytes(size), tile.threads())
    );
    Instance { source, name, line }
}
