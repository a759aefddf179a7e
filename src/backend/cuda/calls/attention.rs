//! Calls of the fused attention kernel.

use serde::{Deserialize, Serialize};

use super::{Call, KernelCall, Site};
use crate::backend::cuda::catalogue::{Instance, Source};
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Attention, Stages};
use crate::graph::Mask;

/// Template arguments of the kernel: see `kernels/attention.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct AttentionTile {
    row_tiles: usize,
    row_warps: usize,
    key_groups: usize,
    keys: usize,
}

/// From those made for one short sequence to those made for many long ones.
const TILES: [AttentionTile; 7] = [
    tile(1, 1, 1, 64),
    tile(1, 1, 2, 64),
    tile(1, 1, 4, 64),
    tile(1, 2, 2, 64),
    tile(1, 4, 1, 64),
    tile(1, 8, 1, 64),
    tile(2, 4, 1, 64),
];

const fn tile(row_tiles: usize, row_warps: usize, key_groups: usize, keys: usize) -> AttentionTile {
    AttentionTile { row_tiles, row_warps, key_groups, keys }
}

impl AttentionTile {
    fn queries(self) -> usize {
        16 * self.row_tiles * self.row_warps
    }

    fn shared_bytes(self, size: usize) -> usize {
        let tiles = 2 * size * 4 * self.key_groups * self.keys;
        let merge = 4 * 32 * self.row_warps * (self.key_groups - 1) * self.row_tiles * (size / 2 + 4);
        2 * size * self.queries() + tiles.max(merge)
    }
}

/// What decides its speed.
pub(super) fn key(stages: &Stages, stage: &Attention) -> String {
    let shape = stage.shape;
    let element = stages.tensor(stage.packed).element;
    format!("attention[{}x{} {}x{} {:?} {element:?}]", shape.batch, shape.sequence, shape.heads, shape.size, shape.mask)
}

/// The tiles worth timing: key groups want keys to share, large tiles want queries to fill them.
pub(super) fn choices(site: &Site<'_>, stage: &Attention) -> Vec<AttentionTile> {
    let shape = stage.shape;
    let smallest = tile(1, 1, 1, 64).queries();
    let fits = |tile: &AttentionTile| {
        let filled = tile.queries() <= smallest.max(shape.sequence.next_multiple_of(smallest));
        let shared = tile.key_groups == 1 || shape.sequence > tile.keys * (tile.key_groups - 1);
        // More blocks than this gain nothing from smaller tiles.
        let blocks = shape.sequence.div_ceil(tile.queries()) * shape.heads * shape.batch;
        filled && shared && (tile.queries() >= 64 || blocks <= 64 * site.multiprocessors)
    };
    TILES.into_iter().filter(fits).collect()
}

/// The tile where nothing has been timed.
pub(super) fn default_tile(site: &Site<'_>, stage: &Attention) -> AttentionTile {
    let choices = choices(site, stage);
    let few = stage.shape.batch * stage.shape.heads * stage.shape.sequence.div_ceil(64) < 2 * site.multiprocessors;
    let choice = if few { choices.first() } else { choices.last() };
    choice.copied().unwrap_or(TILES[0])
}

/// The call with a tile.
pub(super) fn call(site: &Site<'_>, stage: &Attention, tile: AttentionTile) -> Call {
    let shape = stage.shape;
    let causal = shape.mask == Mask::Causal;
    let AttentionTile { row_tiles, row_warps, key_groups, keys } = tile;
    let size = shape.size;
    let mask = if causal { "causal" } else { "padding" };
    let name = format!("attention_{size}_{row_tiles}x{row_warps}_{key_groups}x{keys}_{mask}");
    let line = format!("ATTENTION({name}, {size}, {row_tiles}, {row_warps}, {key_groups}, {keys}, {causal})");
    let source = Source::Attention(site.element(stage.packed));
    let arguments = Arguments::default()
        .pointer(site.tensor(stage.packed))
        .pointer(site.tensor(stage.context))
        .pointer(site.lengths)
        .int(shape.sequence)
        .int(shape.heads)
        .float(stage.scale * std::f64::consts::LOG2_E);
    Call::Kernel(KernelCall {
        instance: Instance { source, name, line },
        shared_bytes: tile.shared_bytes(size),
        grid: Grid {
            blocks: (shape.sequence.div_ceil(tile.queries()), shape.heads, shape.batch),
            threads: 32 * row_warps * key_groups,
        },
        maps: Vec::new(),
        arguments,
    })
}
