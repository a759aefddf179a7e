//! Calls of the fused attention kernels that round every step to FP16.

use half::f16;
use serde::{Deserialize, Serialize};

use super::tiles::sm90::MOST_SHARED_BYTES;
use super::{DeviceCall, KernelCall, Placement, assertion, attention};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Attention, AttentionShape};
use crate::graph::Mask;

/// A kernel with its template arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) enum RoundedAttentionTile {
    /// Of `kernels/attention_halves.cu`.
    Mma { row_warps: usize, key_groups: usize, keys: usize },
    /// Of `kernels/attention_halves_wgmma.cu`.
    Wgmma { slots: usize, blocks: usize },
}

/// From tiles for one short sequence to tiles for many long ones.
const MMA_TILES: [RoundedAttentionTile; 17] = [
    mma(1, 1, 64),
    mma(1, 2, 16),
    mma(1, 4, 16),
    mma(1, 4, 32),
    mma(1, 4, 64),
    mma(2, 2, 16),
    mma(2, 2, 64),
    mma(2, 4, 32),
    mma(4, 4, 32),
    mma(4, 2, 64),
    mma(4, 1, 64),
    mma(8, 1, 64),
    // For heads of more than 64.
    mma(1, 1, 32),
    mma(1, 3, 16),
    mma(1, 3, 32),
    mma(1, 5, 16),
    mma(1, 5, 32),
];

/// Largest head size whose tiles of 64 keys fit the shared memory of every GPU.
const TILES_OF_64_SIZE: usize = 64;

/// The same for the `wgmma` kernel.
const WGMMA_TILES: [RoundedAttentionTile; 3] = [wgmma(2, 4), wgmma(3, 4), wgmma(4, 2)];

/// Head size of the `wgmma` kernel.
const WGMMA_SIZE: usize = 64;

/// Keys of its tiles.
const WGMMA_KEYS: usize = 64;

const fn mma(row_warps: usize, key_groups: usize, keys: usize) -> RoundedAttentionTile {
    RoundedAttentionTile::Mma { row_warps, key_groups, keys }
}

const fn wgmma(slots: usize, blocks: usize) -> RoundedAttentionTile {
    RoundedAttentionTile::Wgmma { slots, blocks }
}

impl RoundedAttentionTile {
    /// Query rows that a block computes.
    fn queries(self) -> usize {
        match self {
            RoundedAttentionTile::Mma { row_warps, .. } => 16 * row_warps,
            RoundedAttentionTile::Wgmma { .. } => 64,
        }
    }

    fn threads(self) -> usize {
        match self {
            RoundedAttentionTile::Mma { row_warps, key_groups, .. } => 32 * row_warps * key_groups,
            RoundedAttentionTile::Wgmma { .. } => 128,
        }
    }

    /// Dynamic shared memory without the scores, bytes, by the formulas at the top of the kernels' files.
    fn fixed_bytes(self, size: usize) -> usize {
        match self {
            RoundedAttentionTile::Mma { row_warps, key_groups, keys } => {
                let slots = if row_warps <= 2 && key_groups * keys <= 128 { 3 } else { 2 };
                2 * size * (self.queries() + slots * key_groups * keys) + 32 * row_warps * key_groups
            }
            RoundedAttentionTile::Wgmma { slots, .. } => 128 * slots * WGMMA_KEYS,
        }
    }

    /// Keys of a tile, and the shared memory of their scores, bytes.
    fn tile(self) -> (usize, usize) {
        match self {
            RoundedAttentionTile::Mma { row_warps, keys, .. } => (keys, 32 * row_warps * (keys + 1)),
            RoundedAttentionTile::Wgmma { .. } => (WGMMA_KEYS, 128 * WGMMA_KEYS),
        }
    }

    /// Dynamic shared memory, bytes.
    fn shared_bytes(self, shape: AttentionShape) -> usize {
        let (keys, tile_bytes) = self.tile();
        // The scores of the `wgmma` kernel's last tile stay in registers.
        let held = usize::from(matches!(self, RoundedAttentionTile::Wgmma { .. }));
        self.fixed_bytes(shape.size) + (shape.sequence.div_ceil(keys) - held) * tile_bytes
    }
}

/// The tiles worth timing. Key groups need enough keys to share, and large tiles need enough queries to fill them.
pub(super) fn choices(placement: &Placement<'_>, stage: &Attention) -> Vec<RoundedAttentionTile> {
    let shape = stage.shape;
    let fits = |tile: &RoundedAttentionTile| {
        let queries = tile.queries();
        let blocks = shape.sequence.div_ceil(queries) * shape.heads * shape.batch;
        let filled = queries <= shape.sequence.next_multiple_of(16) || queries == 16 || queries == 64;
        let shared = match *tile {
            RoundedAttentionTile::Mma { key_groups: 1, keys, .. } => keys != 32 || shape.size > TILES_OF_64_SIZE,
            // Each group multiplies with as many pairs of blocks of eight columns of the values.
            RoundedAttentionTile::Mma { key_groups, keys, .. } => {
                shape.sequence > keys * (key_groups - 1) && shape.size.is_multiple_of(16 * key_groups)
            }
            RoundedAttentionTile::Wgmma { .. } => true,
        };
        // With so many blocks the small tiles cannot win.
        filled
            && shared
            && tile.shared_bytes(shape) <= MOST_SHARED_BYTES
            && (queries >= 64 || blocks <= 16 * placement.multiprocessors)
    };
    let wgmma = placement.architecture.has_warpgroup_products() && shape.size == WGMMA_SIZE;
    let wgmma = wgmma.then_some(WGMMA_TILES).into_iter().flatten();
    let mut found: Vec<RoundedAttentionTile> = MMA_TILES.into_iter().chain(wgmma).filter(fits).collect();
    if found.is_empty() {
        found.push(default_tile(stage));
    }
    found
}

/// The tile where nothing has been timed. It fits the shared memory of every GPU.
pub(super) fn default_tile(stage: &Attention) -> RoundedAttentionTile {
    match stage.shape.sequence {
        _ if stage.shape.size > TILES_OF_64_SIZE => mma(1, 1, 32),
        ..=512 => mma(1, 2, 16),
        _ => mma(1, 1, 64),
    }
}

/// The call of the kernel with a tile.
pub(super) fn call(placement: &Placement<'_>, stage: &Attention, tile: RoundedAttentionTile) -> DeviceCall {
    let shape = stage.shape;
    let arguments = attention::arguments(placement, stage, stage.scale);
    DeviceCall::Kernel(KernelCall {
        instance: instance(stage, tile, &arguments),
        shared_bytes: tile.shared_bytes(shape),
        grid: Grid {
            blocks: (shape.sequence.div_ceil(tile.queries()), shape.heads, shape.batch),
            threads: tile.threads(),
        },
        maps: Vec::new(),
        arguments,
    })
}

fn instance(stage: &Attention, tile: RoundedAttentionTile, arguments: &Arguments) -> Instance {
    let AttentionShape { size, mask, .. } = stage.shape;
    let causal = mask == Mask::Causal;
    // FP16 holds the scale, as that of heads of 64.
    let exact = f32::from(f16::from_f32(stage.scale as f32)) == stage.scale as f32;
    let kind = format!("{}_{}", if causal { "causal" } else { "padding" }, if exact { "exact" } else { "scaled" });
    let (source, name, macro_call, c_shape) = match tile {
        RoundedAttentionTile::Mma { row_warps, key_groups, keys } => {
            let name = format!("attention_halves_{size}_{row_warps}x{key_groups}x{keys}_{kind}");
            let shape = format!("{size}, {row_warps}, {key_groups}, {keys}");
            let line = format!("ATTENTION_HALVES({name}, {shape}, {causal}, {exact})");
            (KernelSource::AttentionHalves, name, line, format!("HalvesShape<{shape}>"))
        }
        RoundedAttentionTile::Wgmma { slots, blocks } => {
            let name = format!("attention_halves_wgmma_{slots}_{blocks}_{kind}");
            let line = format!("ATTENTION_HALVES_WGMMA({name}, {slots}, {blocks}, {causal}, {exact})");
            (KernelSource::AttentionHalvesWgmma, name, line, format!("WgmmaHalvesShape<{slots}>"))
        }
    };
    let line = format!(
        "{macro_call}\n{}\n{}\nstatic_assert({c_shape}::TILE_SHARED_BYTES == {}, \"the host allocates otherwise\");",
        arguments.assertion("HalvesArguments"),
        assertion(&c_shape, tile.fixed_bytes(size), tile.threads()),
        tile.tile().1
    );
    Instance { source, name, line }
}
