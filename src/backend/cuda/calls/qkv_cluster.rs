//! Calls of the kernel that computes a packed QKV projection and the attention over it by clusters of blocks, for few sequences.

use std::f64::consts::LOG2_E;

use serde::{Deserialize, Serialize};

use super::qkv_attention::computes;
use super::{DeviceCall, KernelCall, MapSpec, Placement, assertion};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::stage::{Attention, AttentionShape, Linear};
use crate::engine::BackendError;
use crate::graph::Mask;

/// Template arguments of `kernels/qkv_cluster.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct QkvClusterTile {
    /// Most tokens of a sequence: 32, 64 or 128.
    pub keys: usize,
}

const KEYS: [usize; 3] = [32, 64, 128];

/// Blocks of a cluster.
const BLOCKS: usize = 8;

/// Rows of X and elements of depth of a tile.
const ROWS: usize = 64;

const THREADS: usize = 160;

/// Shared memory that a block may have, bytes.
const MOST_SHARED_BYTES: usize = 227 << 10;

/// Clusters that run at a time, about: an H200 has place for 15 of them.
const CLUSTERS_AT_A_TIME: usize = 15;

impl QkvClusterTile {
    /// Columns of the head that a block computes.
    fn columns(self) -> usize {
        if self.keys > ROWS { 16 } else { 8 }
    }

    /// Dynamic shared memory, bytes, by the formula at the end of the kernel's file.
    fn shared_bytes(self, stages: usize) -> usize {
        let (keys, columns) = (self.keys, self.columns());
        1024 + stages * (128 * (ROWS + 3 * columns) + 8) + 8192 + keys * (128 + 2 * columns) + 12 * columns
    }
}

/// The tile worth timing: that of the fewest keys. None where the kernel does not compute what the stages say, where the depth
/// does not fit into shared memory, and where there are so many sequences that a block for each is enough.
pub(super) fn choices(placement: &Placement<'_>, linear: &Linear, attention: &Attention) -> Option<QkvClusterTile> {
    let AttentionShape { batch, sequence, heads, .. } = attention.shape;
    let tile = KEYS.into_iter().find(|&keys| sequence <= keys).map(|keys| QkvClusterTile { keys })?;
    let fits = tile.shared_bytes(linear.depth / ROWS) <= MOST_SHARED_BYTES && batch * heads <= 3 * CLUSTERS_AT_A_TIME;
    (fits && computes(placement, linear, attention)).then_some(tile)
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
    let (keys, stages) = (tile.keys, linear.depth / ROWS);
    let AttentionShape { batch, sequence, heads, mask, .. } = attention.shape;
    let arguments = Arguments::default()
        .optional(linear.bias.map(|bias| placement.weight(bias.widened())).transpose()?)
        .pointer(placement.tensor(attention.context))
        .pointer(placement.lengths)
        .int(sequence)
        .int(heads)
        .float(attention.scale * LOG2_E);
    let causal = mask == Mask::Causal;
    let name = format!("qkv_cluster_{keys}_s{stages}_{}", if causal { "causal" } else { "padding" });
    let shared_bytes = tile.shared_bytes(stages);
    let line = format!(
        "QKV_CLUSTER({name}, {keys}, {stages}, {causal})\n{}\n{}",
        arguments.assertion("QkvClusterArguments"),
        assertion(&format!("QkvClusterTile<{keys}, {stages}>"), shared_bytes, THREADS)
    );
    let map = |address, rows, box_rows| MapSpec { address, columns: linear.depth, rows, box_rows };
    Ok(DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::QkvCluster(placement.element(linear.x)), name, line },
        shared_bytes,
        grid: Grid { blocks: (BLOCKS, heads, batch), threads: THREADS },
        maps: vec![
            map(placement.tensor(linear.x), linear.tokens, ROWS),
            map(placement.weight(linear.weight)?, linear.width, tile.columns()),
        ],
        arguments,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A width of 768 fits with every number of keys, one of 1024 up to 64 keys: 202, 173 and 150 KiB.
    #[test]
    fn the_depth_fits_into_shared_memory_or_the_tile_is_not_offered() {
        let fits = |keys, depth| QkvClusterTile { keys }.shared_bytes(depth / ROWS) <= MOST_SHARED_BYTES;
        assert!(KEYS.into_iter().all(|keys| fits(keys, 768)));
        assert_eq!(KEYS.map(|keys| fits(keys, 1024)), [true, true, false]);
        // The kernel: stages of 64 x 128 and 24 x 128 bytes, Q, K and V, 24 floats, a barrier a stage.
        let bytes = 1024 + 12 * (64 + 24) * 128 + 64 * 128 + 32 * 128 + 32 * 16 + 24 * 4 + 12 * 8;
        assert_eq!(QkvClusterTile { keys: 32 }.shared_bytes(12), bytes);
    }
}
