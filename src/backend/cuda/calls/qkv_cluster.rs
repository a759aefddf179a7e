//! Calls of the kernel that computes a packed QKV projection and the attention over it by clusters of blocks, for few sequences.

use std::f64::consts::LOG2_E;

use serde::{Deserialize, Serialize};

use super::qkv_attention::computes;
use super::tiles::sm90::MOST_SHARED_BYTES;
use super::{DeviceCall, KernelCall, MapSpec, Placement, assertion};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Attention, AttentionShape, Linear};
use crate::engine::BackendError;
use crate::graph::Mask;

/// Template arguments of `kernels/qkv_cluster.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct QkvClusterTile {
    /// Rows of a unit, 64 or 128. A cluster computes one head of a unit.
    pub rows: usize,
    /// Rows of a sequence's slot: 32, 64 or 128, and no more than those of the unit.
    pub keys: usize,
}

const KEYS: [usize; 3] = [32, 64, 128];

/// Blocks of a cluster.
const BLOCKS: usize = 8;

/// Rows that a block computes, and elements of depth of a stage.
const ROWS: usize = 64;

const THREADS: usize = 288;

impl QkvClusterTile {
    /// The least slots for a sequence, and the least unit for as many of them as there are.
    fn of(shape: AttentionShape) -> Option<Self> {
        let keys = KEYS.into_iter().find(|&keys| shape.sequence <= keys)?;
        Some(QkvClusterTile { rows: if shape.batch * keys > ROWS { 2 * ROWS } else { ROWS }, keys })
    }

    /// Columns of the head that a block computes.
    fn columns(self) -> usize {
        self.rows / BLOCKS
    }

    /// Dynamic shared memory, bytes, by the formula at the end of the kernel's file.
    fn shared_bytes(self, stages: usize) -> usize {
        let columns = self.columns();
        1032 + stages * (128 * (ROWS + 3 * columns) + 8)
            + 8192
            + self.keys.max(ROWS) * (128 + 2 * columns)
            + 780 * columns
    }

    fn units(self, batch: usize) -> usize {
        batch.div_ceil(self.rows / self.keys)
    }
}

/// The tile worth timing. None where the kernel does not compute what the stages say, where the depth does not fit into shared
/// memory, and where clusters would wait for others: two rounds are slower than the pair. The multiprocessors of a part of the device
/// are no multiple of a cluster, so one cluster less than there are multiprocessors for runs at a time (15 on an H200).
pub(super) fn choices(placement: &Placement<'_>, linear: &Linear, attention: &Attention) -> Option<QkvClusterTile> {
    let shape = attention.shape;
    let few = |tile: &QkvClusterTile| {
        tile.shared_bytes(linear.depth / ROWS) <= MOST_SHARED_BYTES
            && BLOCKS * (shape.heads * tile.units(shape.batch) + 1) <= placement.multiprocessors
    };
    QkvClusterTile::of(shape).filter(few).filter(|_| computes(placement, linear, attention))
}

/// The call of the kernel with a tile.
///
/// # Errors
/// [`BackendError::Execution`] when a parameter was not loaded.
pub(super) fn call(
    placement: &Placement<'_>,
    linear: &Linear,
    attention: &Attention,
    tile: QkvClusterTile,
) -> Result<DeviceCall, BackendError> {
    let (QkvClusterTile { rows, keys }, stages) = (tile, linear.depth / ROWS);
    let AttentionShape { batch, sequence, heads, mask, .. } = attention.shape;
    let arguments = Arguments::default()
        .pointer(placement.weight(linear.weight)?)
        .optional(linear.bias.map(|bias| placement.weight(bias.widened())).transpose()?)
        .pointer(placement.tensor(attention.context))
        .pointer(placement.lengths)
        .int(batch)
        .int(sequence)
        .int(heads)
        .float(attention.scale * LOG2_E);
    let causal = mask == Mask::Causal;
    let name = format!("qkv_cluster_{rows}x{keys}_s{stages}_{}", if causal { "causal" } else { "padding" });
    let shared_bytes = tile.shared_bytes(stages);
    let line = format!(
        "QKV_CLUSTER({name}, {rows}, {keys}, {stages}, {causal})\n{}\n{}",
        arguments.assertion("QkvClusterArguments"),
        assertion(&format!("QkvClusterTile<{rows}, {keys}, {stages}>"), shared_bytes, THREADS)
    );
    let map = MapSpec {
        address: placement.tensor(linear.x),
        columns: linear.depth,
        rows: linear.tokens,
        box_rows: keys.min(ROWS),
    };
    Ok(DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::QkvCluster(placement.element(linear.x)), name, line },
        shared_bytes,
        grid: Grid { blocks: (BLOCKS, heads, tile.units(batch)), threads: THREADS },
        maps: vec![map],
        arguments,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(batch: usize, sequence: usize) -> AttentionShape {
        AttentionShape { batch, sequence, heads: 12, size: 64, mask: Mask::Padding }
    }

    /// Up to 128 rows of slots are one unit, so that twelve heads are twelve clusters.
    #[test]
    fn sequences_share_a_unit_as_far_as_their_slots_fit() {
        let units = |batch, sequence| {
            let tile = QkvClusterTile::of(shape(batch, sequence)).unwrap();
            (tile.rows, tile.keys, tile.units(batch))
        };
        assert_eq!([units(1, 1), units(1, 32), units(2, 32)], [(64, 32, 1); 3]);
        assert_eq!([units(3, 7), units(4, 32), units(5, 32)], [(128, 32, 1), (128, 32, 1), (128, 32, 2)]);
        assert_eq!([units(1, 33), units(2, 64), units(3, 64)], [(64, 64, 1), (128, 64, 1), (128, 64, 2)]);
        assert_eq!([units(1, 65), units(2, 128)], [(128, 128, 1), (128, 128, 2)]);
        assert_eq!(QkvClusterTile::of(shape(1, 129)), None);
    }

    /// A width of 768 fits with every tile, one of 1024 with units of 64 rows.
    #[test]
    fn the_depth_fits_into_shared_memory_or_the_tile_is_not_offered() {
        let fits = |rows, keys, depth| QkvClusterTile { rows, keys }.shared_bytes(depth / ROWS) <= MOST_SHARED_BYTES;
        assert!(KEYS.into_iter().all(|keys| fits(2 * ROWS, keys, 768) && !fits(2 * ROWS, keys, 1024)));
        assert!(fits(ROWS, 32, 1024) && fits(ROWS, 64, 1024));
        // The kernel: stages of 64 x 128 and 24 x 128 bytes, Q, K and V, sums, bias, barriers.
        let bytes = 1024 + 12 * (64 + 24) * 128 + 64 * 128 + 64 * 128 + 64 * 16 + (64 * 24 + 24) * 4 + 13 * 8;
        assert_eq!(QkvClusterTile { rows: 64, keys: 32 }.shared_bytes(12), bytes);
    }
}
