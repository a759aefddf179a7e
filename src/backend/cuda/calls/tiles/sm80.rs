//! Tiles of `kernels/gemm_mma.cu`, for every GPU from compute capability 8.0 on.

use serde::{Deserialize, Serialize};

use super::ProductTile;

/// Template arguments of `gemm_mma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct MmaTile {
    pub rows: usize,
    pub columns: usize,
    /// Depth of a stage, elements.
    pub depth: usize,
    pub stages: usize,
    /// Warps along the rows, the columns and the depth.
    pub warps: [usize; 3],
}

/// Each of these tiles was among the three fastest for some number of tokens between 32 and 16384 on an H200. On older
/// GPUs they are a fair choice from few rows to many.
pub(super) const TILES: [ProductTile; 11] = [
    tile(16, 64, 128, 6, [1, 2, 4]),
    tile(32, 16, 128, 6, [1, 1, 4]),
    tile(32, 32, 128, 6, [1, 1, 4]),
    tile(32, 64, 128, 4, [1, 2, 4]),
    tile(32, 128, 64, 4, [1, 2, 2]),
    tile(64, 48, 64, 6, [2, 1, 2]),
    tile(64, 64, 64, 4, [2, 2, 1]),
    tile(64, 64, 128, 3, [2, 2, 2]),
    tile(64, 96, 64, 4, [2, 2, 1]),
    tile(128, 96, 64, 3, [2, 2, 1]),
    tile(128, 128, 64, 3, [2, 4, 1]),
];

const fn tile(rows: usize, columns: usize, depth: usize, stages: usize, warps: [usize; 3]) -> ProductTile {
    ProductTile::Mma(MmaTile { rows, columns, depth, stages, warps })
}

impl MmaTile {
    /// Threads of a block.
    pub fn threads(self) -> usize {
        32 * self.warps.iter().product::<usize>()
    }

    /// Dynamic shared memory, bytes, by the formula at the end of `kernels/gemm_mma.cu`.
    pub fn shared_bytes(self) -> usize {
        let MmaTile { rows, columns, depth, stages, warps: [_, _, layers] } = self;
        let exchange = if layers > 1 { layers * rows * columns * 4 } else { 0 };
        (stages * (rows + columns) * depth * 2).max(exchange) + 4 * columns
    }
}
