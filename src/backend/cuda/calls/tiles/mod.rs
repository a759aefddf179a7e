//! Tiles of the matrix-product kernels: which exist on a GPU, and which of them are worth timing for a linear layer.
//!
//! One file per architecture: [`sm80`] holds the tiles of `mma.sync` for every GPU from compute capability 8.0 on,
//! [`sm90`] those of `wgmma` for Hopper. The tiles of attention are in [`super::attention`].

pub(super) mod sm80;
pub(super) mod sm90;

use serde::{Deserialize, Serialize};

use super::Placement;
use crate::backend::cuda::stage::Linear;
use sm80::MmaTile;
use sm90::WgmmaTile;

/// Template arguments of a matrix-product kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) enum ProductTile {
    /// Of `kernels/gemm_mma.cu`.
    Mma(MmaTile),
    /// Of `kernels/gemm_wgmma.cu`.
    Wgmma(WgmmaTile),
}

impl ProductTile {
    /// Rows (tokens) of the output that a block computes at a time.
    fn rows(self) -> usize {
        match self {
            ProductTile::Mma(tile) => tile.rows,
            ProductTile::Wgmma(tile) => tile.rows,
        }
    }

    /// Columns of the output that a block computes at a time.
    fn columns(self) -> usize {
        match self {
            ProductTile::Mma(tile) => tile.columns,
            ProductTile::Wgmma(tile) => tile.columns,
        }
    }

    /// Depth of a stage. The depth of a split is a multiple of it.
    fn depth(self) -> usize {
        match self {
            ProductTile::Mma(tile) => tile.depth,
            ProductTile::Wgmma(_) => sm90::STAGE_DEPTH,
        }
    }
}

/// Numbers of splits of a product's depth that are timed.
const SPLITS: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// With more blocks than this, splitting a product's depth cannot help.
const ENOUGH_BLOCKS: usize = 800;

/// The tiles worth timing for a linear layer, each with a number of splits of the depth. Only a layer norm after it
/// (`with_norm`) can add the partial sums of several splits.
pub(super) fn candidates(placement: &Placement<'_>, stage: &Linear, with_norm: bool) -> Vec<(ProductTile, usize)> {
    let wgmma = placement.architecture.has_warpgroup_products();
    let mma_tiles = (!wgmma || stage.tokens <= sm90::MMA_TOKENS).then_some(sm80::TILES);
    let wgmma_tiles = wgmma.then_some(sm90::TILES);
    let tiles = mma_tiles.into_iter().flatten().chain(wgmma_tiles.into_iter().flatten());
    let mut candidates = Vec::new();
    for tile in tiles.filter(|&tile| fits(tile, stage)) {
        let blocks = stage.tokens.div_ceil(tile.rows()) * (stage.width / tile.columns());
        if is_hopeless(tile, stage.tokens, blocks) {
            continue;
        }
        for splits in SPLITS.into_iter().filter(|&splits| splits == 1 || with_norm) {
            let even = stage.depth.is_multiple_of(splits * tile.depth());
            let room = splits == 1 || splits * stage.tokens * stage.width * 4 <= placement.scratch_bytes;
            let useful = splits == 1 || blocks * splits <= ENOUGH_BLOCKS;
            if even && room && useful {
                candidates.push((tile, splits));
            }
        }
    }
    candidates
}

/// Whether the tile's columns divide the layer's, and its rows are not mostly padding.
fn fits(tile: ProductTile, stage: &Linear) -> bool {
    stage.width.is_multiple_of(tile.columns()) && tile.rows() <= stage.tokens.next_multiple_of(64)
}

/// Whether a tile is far too small or too large for so many tokens. Such a tile is neither compiled nor timed.
fn is_hopeless(tile: ProductTile, tokens: usize, blocks: usize) -> bool {
    // A kernel by `wgmma` walks over its tiles, so their number costs nothing there.
    let a_block_each = matches!(tile, ProductTile::Mma(_)) && tile.rows() < 128;
    let small = (a_block_each && blocks > 4 * ENOUGH_BLOCKS)
        || (tile.rows() <= 32 && tokens > 128)
        || (tile.rows() <= 64 && tokens > 4096);
    // A tile of many columns leaves most multiprocessors without work.
    let large = tokens <= 128 && tile.columns() > 96;
    small || large
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else every layer of that size is left to the library, and an activation after it to a kernel of its own.
    #[test]
    fn some_tile_is_left_for_every_number_of_tokens() {
        for (generation, tiles) in [("8.0", &sm80::TILES[..]), ("9.0", &sm90::TILES[..])] {
            for tokens in (0..=17).map(|power| 1_usize << power).chain([31, 127, 511, 24576]) {
                for width in [768, 2304, 3072, 4096, 10240, 30528, 50304] {
                    let left = |tile: &&ProductTile| {
                        let blocks = tokens.div_ceil(tile.rows()) * (width / tile.columns());
                        width.is_multiple_of(tile.columns()) && !is_hopeless(**tile, tokens, blocks)
                    };
                    assert!(tiles.iter().any(|tile| left(&tile)), "{generation}: {tokens} tokens, width {width}");
                }
            }
        }
    }
}
