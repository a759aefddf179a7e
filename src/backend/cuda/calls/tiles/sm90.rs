//! Tiles of `kernels/gemm_wgmma.cu`, for compute capability 9.0.

use serde::{Deserialize, Serialize};

use super::ProductTile;

/// Template arguments of `gemm_wgmma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct WgmmaTile {
    pub rows: usize,
    pub columns: usize,
    pub stages: usize,
    /// Consumer warpgroups of a block.
    pub groups: usize,
    /// Whether the warpgroups alternate between whole tiles, else they divide the rows of each.
    pub ping_pong: bool,
}

/// Each of these tiles was among the three fastest for some number of tokens between 32 and 16384 on an H200.
pub(super) const TILES: [ProductTile; 12] = [
    cooperative(64, 32, 6, 1),
    cooperative(64, 48, 6, 1),
    cooperative(64, 64, 6, 1),
    cooperative(64, 96, 5, 1),
    cooperative(64, 128, 5, 1),
    cooperative(64, 192, 5, 1),
    cooperative(128, 96, 5, 2),
    cooperative(128, 144, 4, 2),
    cooperative(128, 192, 4, 2),
    ping_pong(64, 192, 5),
    ping_pong(128, 96, 6),
    ping_pong(128, 128, 5),
];

/// Depth of a stage, elements: 128 bytes, the span of the swizzle.
pub(super) const STAGE_DEPTH: usize = 64;

/// Most tokens for which `mma.sync` is timed as well. At 512 tokens it took half as long again as `wgmma` (H200).
pub(super) const MMA_TOKENS: usize = 256;

/// Shared memory of a multiprocessor, bytes (CUDA programming guide, table of technical specifications).
const MULTIPROCESSOR_SHARED_BYTES: usize = 228 << 10;

/// Shared memory that the system reserves for each block, bytes (same table).
const RESERVED_SHARED_BYTES: usize = 1 << 10;

const fn cooperative(rows: usize, columns: usize, stages: usize, groups: usize) -> ProductTile {
    ProductTile::Wgmma(WgmmaTile { rows, columns, stages, groups, ping_pong: false })
}

const fn ping_pong(rows: usize, columns: usize, stages: usize) -> ProductTile {
    ProductTile::Wgmma(WgmmaTile { rows, columns, stages, groups: 2, ping_pong: true })
}

impl WgmmaTile {
    /// Threads of a block: the consumers and a producer. The producer is a whole warpgroup if it hands registers over,
    /// else one warp.
    pub fn threads(self) -> usize {
        let sums = if self.ping_pong { self.rows } else { self.rows / self.groups } * self.columns / 128;
        let many = if self.groups == 3 { 72 } else { 96 };
        128 * self.groups + if self.groups > 1 && sums >= many { 128 } else { 32 }
    }

    /// Dynamic shared memory, bytes, by the formula at the end of `kernels/gemm_wgmma.cu`.
    pub fn shared_bytes(self, fp32_output: bool) -> usize {
        let WgmmaTile { rows, columns, stages, groups, .. } = self;
        let padding = match (fp32_output, columns.is_multiple_of(32)) {
            (false, _) => 16,
            (true, true) => 32,
            (true, false) => 0,
        };
        let tiles = stages * (128 * (rows + columns) + 16);
        1040 + tiles + 4 * columns * groups + 64 * groups * (2 * columns + padding)
    }

    /// Blocks that fit on a multiprocessor at a time.
    pub fn resident_blocks(self, fp32_output: bool) -> usize {
        blocks_of_shared_memory(self.shared_bytes(fp32_output))
    }
}

/// Shared memory that a block may have on an H200, bytes (CUDA programming guide, table of technical specifications).
/// Other GPUs have less and refuse some of the tiles, which rules these out.
pub(in crate::backend::cuda::calls) const MOST_SHARED_BYTES: usize = 227 << 10;

/// Blocks that fit on a multiprocessor at a time, by their dynamic shared memory.
pub(in crate::backend::cuda::calls) fn blocks_of_shared_memory(bytes: usize) -> usize {
    MULTIPROCESSOR_SHARED_BYTES / (bytes + RESERVED_SHARED_BYTES)
}
