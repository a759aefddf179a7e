//! Calls of a linear layer: by cuBLASLt, by the `mma.sync` kernel, or by the `wgmma` kernel.

use serde::{Deserialize, Serialize};

use super::norm::{self, Partials};
use super::{DeviceCall, KernelCall, MapSpec, Placement, ProductCall, assertion, stepwise};
use crate::backend::BackendError;
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::error::execution;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::matmul::{Algorithm, LtEnding, MatmulAddresses, MatmulSpec};
use crate::backend::cuda::stage::{
    Accumulator, Elementwise, Epilogue, Function, LayerNorm, Linear, Outputs, Stage, Stages,
};
use crate::graph::{Format, Gelu};

/// Which kernel computes a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) enum ProductChoice {
    /// cuBLASLt, with its first choice of algorithm or another.
    Library(Option<Algorithm>),
    /// An own kernel, its depth cut into so many parts; of more than one the layer norm after it adds the partial sums.
    Own(Tile, usize),
}

/// Template arguments of an own kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) enum Tile {
    /// Of `kernels/gemm_mma.cu`.
    Mma(MmaTile),
    /// Of `kernels/gemm_wgmma.cu`.
    Wgmma(WgmmaTile),
}

/// Template arguments of `gemm_mma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct MmaTile {
    rows: usize,
    columns: usize,
    depth: usize,
    stages: usize,
    warps: [usize; 3],
}

/// Template arguments of `gemm_wgmma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) struct WgmmaTile {
    rows: usize,
    columns: usize,
    stages: usize,
    groups: usize,
    ping_pong: bool,
}

const fn mma(rows: usize, columns: usize, depth: usize, stages: usize, warps: [usize; 3]) -> Tile {
    Tile::Mma(MmaTile { rows, columns, depth, stages, warps })
}

const fn wgmma(rows: usize, columns: usize, stages: usize, groups: usize) -> Tile {
    Tile::Wgmma(WgmmaTile { rows, columns, stages, groups, ping_pong: false })
}

const fn ping_pong(rows: usize, columns: usize, stages: usize) -> Tile {
    Tile::Wgmma(WgmmaTile { rows, columns, stages, groups: 2, ping_pong: true })
}

/// The tiles that came first, second or third somewhere between 32 and 16384 tokens on an H200, and on older GPUs are a
/// fair choice from few rows to many.
const MMA_TILES: [Tile; 11] = [
    mma(16, 64, 128, 6, [1, 2, 4]),
    mma(32, 16, 128, 6, [1, 1, 4]),
    mma(32, 32, 128, 6, [1, 1, 4]),
    mma(32, 64, 128, 4, [1, 2, 4]),
    mma(32, 128, 64, 4, [1, 2, 2]),
    mma(64, 48, 64, 6, [2, 1, 2]),
    mma(64, 64, 64, 4, [2, 2, 1]),
    mma(64, 64, 128, 3, [2, 2, 2]),
    mma(64, 96, 64, 4, [2, 2, 1]),
    mma(128, 96, 64, 3, [2, 2, 1]),
    mma(128, 128, 64, 3, [2, 4, 1]),
];

/// Likewise, on GPUs that have `wgmma`.
const WGMMA_TILES: [Tile; 12] = [
    wgmma(64, 32, 6, 1),
    wgmma(64, 48, 6, 1),
    wgmma(64, 64, 6, 1),
    wgmma(64, 96, 5, 1),
    wgmma(64, 128, 5, 1),
    wgmma(64, 192, 5, 1),
    wgmma(128, 96, 5, 2),
    wgmma(128, 144, 4, 2),
    wgmma(128, 192, 4, 2),
    ping_pong(64, 192, 5),
    ping_pong(128, 96, 6),
    ping_pong(128, 128, 5),
];

impl Tile {
    fn rows(self) -> usize {
        match self {
            Tile::Mma(tile) => tile.rows,
            Tile::Wgmma(tile) => tile.rows,
        }
    }

    fn columns(self) -> usize {
        match self {
            Tile::Mma(tile) => tile.columns,
            Tile::Wgmma(tile) => tile.columns,
        }
    }

    /// What the depth of one part must be a multiple of.
    fn depth(self) -> usize {
        match self {
            Tile::Mma(tile) => tile.depth,
            Tile::Wgmma(_) => WGMMA_DEPTH,
        }
    }
}

/// Depth of a stage of the `wgmma` kernel: 128 bytes, the span of its swizzle.
const WGMMA_DEPTH: usize = 64;

/// Most tokens for which `mma.sync` is tried where there is `wgmma`: at 512 it took half as long again (H200).
const MMA_TOKENS: usize = 256;

/// Parts of a product's depth that are worth trying.
const SPLITS: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// Algorithms of cuBLASLt that are timed.
pub(in crate::backend::cuda) const LIBRARY_ALGORITHMS: usize = 8;

/// Blocks beyond which splitting a product's depth cannot help.
const ENOUGH_BLOCKS: usize = 800;

/// Whether the linear layer `first` adds to the stream that the layer norm after it reads.
pub(super) fn pairs_with_norm(stages: &Stages, first: usize) -> bool {
    let Some([Stage::Linear(product), Stage::LayerNorm(norm)]) = stages.stages.get(first..first + 2) else {
        return false;
    };
    product.epilogue == Epilogue::Residual
        && norm.input == product.output
        && product.bias.is_some()
        && norm::adds_partials(stages, norm)
}

/// What decides its speed.
pub(super) fn key(stages: &Stages, stage: &Linear) -> String {
    let (x, y) = (stages.tensor(stage.x).element, stages.tensor(stage.output).element);
    let Linear { tokens, width, depth, accumulator, epilogue, .. } = stage;
    let bias = if stage.bias.is_some() { "+bias" } else { "" };
    format!("linear[{tokens}x{width}x{depth} {x:?}->{y:?} {accumulator:?} {epilogue:?}{bias}]")
}

/// The kernels that can compute it. cuBLASLt's algorithms are added by whoever can ask the library.
pub(super) fn choices(placement: &Placement<'_>, stage: &Linear, with_norm: bool) -> Vec<ProductChoice> {
    let mut choices = vec![ProductChoice::Library(None)];
    if placement.element(stage.x) == ElementType::F32
        || stage.accumulator != Accumulator::F32
        || own_epilogue(placement, stage).is_none()
    {
        return choices;
    }
    let wgmma = placement.architecture.has_warpgroup_products().then_some(WGMMA_TILES);
    // Beyond so few tokens `mma.sync` has no chance against `wgmma`.
    let mma = (wgmma.is_none() || stage.tokens <= MMA_TOKENS).then_some(MMA_TILES);
    for tile in mma.into_iter().flatten().chain(wgmma.into_iter().flatten()) {
        let blocks = stage.tokens.div_ceil(tile.rows()) * (stage.width / tile.columns());
        let fits = stage.width.is_multiple_of(tile.columns()) && tile.rows() <= stage.tokens.next_multiple_of(64);
        for splits in SPLITS.into_iter().filter(|&splits| splits == 1 || with_norm) {
            let even = stage.depth.is_multiple_of(splits * tile.depth());
            let room = splits == 1 || splits * stage.tokens * stage.width * 4 <= placement.scratch_bytes;
            let useful = splits == 1 || blocks * splits <= ENOUGH_BLOCKS;
            if fits && even && room && useful && !hopeless(tile, stage.tokens, blocks) {
                choices.push(ProductChoice::Own(tile, splits));
            }
        }
    }
    choices
}

/// Whether a tile is far too small or too large for so many tokens: what need not be timed need not be compiled.
fn hopeless(tile: Tile, tokens: usize, blocks: usize) -> bool {
    let small =
        blocks > 4 * ENOUGH_BLOCKS || (tile.rows() <= 32 && tokens > 128) || (tile.rows() <= 64 && tokens > 4096);
    // A tile of many columns leaves most multiprocessors without work.
    let large = tokens <= 128 && tile.columns() > 96;
    small || large
}

/// The name of the epilogue of our own kernels, if they have it.
fn own_epilogue(placement: &Placement<'_>, stage: &Linear) -> Option<&'static str> {
    let (x, y) = (placement.element(stage.x), placement.element(stage.output));
    match (stage.epilogue, stage.bias, y == x, y) {
        (Epilogue::Store, Some(_), true, _) => Some("BIAS"),
        (Epilogue::Gelu(Gelu::Erf), Some(_), true, _) => Some("GELU_ERF"),
        (Epilogue::Gelu(Gelu::Tanh), Some(_), true, _) => Some("GELU_TANH"),
        (Epilogue::Residual, Some(_), true, _) => Some("RESIDUAL_16"),
        (Epilogue::Residual, Some(_), _, ElementType::F32) => Some("RESIDUAL_F32"),
        (Epilogue::Store, None, _, ElementType::F32) => Some("F32"),
        _ => None,
    }
}

/// The calls of a linear layer and of the layer norm after it.
pub(super) fn calls(
    placement: &Placement<'_>,
    stage: &Linear,
    norm: Option<&LayerNorm>,
    choice: ProductChoice,
) -> Result<Vec<DeviceCall>, BackendError> {
    let mut partials = None;
    let mut calls = match choice {
        ProductChoice::Library(algorithm) => library(placement, stage, algorithm)?,
        ProductChoice::Own(tile, splits) => {
            if let (Some(bias), true) = (stage.bias, splits > 1) {
                partials = Some(Partials { address: placement.scratch, count: splits, bias: bias.widened() });
            }
            vec![own(placement, stage, tile, splits)?]
        }
    };
    if let Some(norm) = norm {
        calls.push(norm::layer_norm(placement, norm, partials)?);
    }
    Ok(calls)
}

/// cuBLASLt, and GELU by a kernel of its own where the library has not the model's form.
fn library(
    placement: &Placement<'_>,
    stage: &Linear,
    algorithm: Option<Algorithm>,
) -> Result<Vec<DeviceCall>, BackendError> {
    let output = placement.stages.tensor(stage.output);
    let (ending, gelu) = match (stage.epilogue, stage.bias) {
        (Epilogue::Store, None) => (LtEnding::Store, None),
        (Epilogue::Store, Some(_)) => (LtEnding::Bias, None),
        (Epilogue::Gelu(Gelu::Tanh), Some(_)) => (LtEnding::BiasGeluTanh, None),
        (Epilogue::Gelu(form), _) => (LtEnding::Bias, Some(form)),
        (Epilogue::Residual, _) => (LtEnding::BiasResidual, None),
    };
    if ending != LtEnding::Store && stage.bias.is_none() {
        return Err(execution("a linear layer without a bias whose output is not simply stored"));
    }
    let spec = MatmulSpec {
        tokens: stage.tokens,
        width: stage.width,
        depth: stage.depth,
        operand: placement.element(stage.x),
        output: output.element,
        accumulator: stage.accumulator,
        ending,
        alpha: 1.0,
        w_by_rows: true,
        strides: [stage.depth, stage.depth, output.stride],
        batch: None,
    };
    let bias = stage.bias.map(|bias| if output.element == ElementType::F32 { bias.widened() } else { bias });
    let addresses = MatmulAddresses {
        x: placement.tensor(stage.x),
        w: placement.weight(stage.weight)?,
        y: placement.tensor(stage.output),
        bias: bias.map(|bias| placement.weight(bias)).transpose()?,
    };
    let mut calls = vec![DeviceCall::Product(ProductCall { spec, addresses, algorithm })];
    if let Some(form) = gelu {
        calls.push(stepwise::elementwise(
            placement,
            &Elementwise {
                function: Function::Gelu(form),
                input: stage.output,
                update: None,
                outputs: Outputs { main: stage.output, copy: None },
                compute: Format::Fp32,
            },
        ));
    }
    Ok(calls)
}

/// A call of an own kernel, but for its tile.
struct Own {
    /// Name of its epilogue.
    epilogue: &'static str,
    /// It stores FP32.
    fp32: bool,
    splits: usize,
    /// `GemmArguments` of `kernels/gemm_epilogue.cu`.
    arguments: Arguments,
}

fn own(placement: &Placement<'_>, stage: &Linear, tile: Tile, splits: usize) -> Result<DeviceCall, BackendError> {
    let output = placement.stages.tensor(stage.output);
    let whole = own_epilogue(placement, stage).ok_or_else(|| execution("a product that no own kernel ends"))?;
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.x))
        .pointer(placement.weight(stage.weight)?)
        .optional(stage.bias.map(|bias| placement.weight(bias.widened())).transpose()?)
        .pointer(placement.tensor(stage.output))
        .pointer(if splits > 1 { placement.scratch } else { placement.tensor(stage.output) })
        .int(stage.tokens)
        .int(stage.width)
        .int(stage.depth)
        .int(output.stride)
        .int(stage.depth / splits);
    let own = Own {
        epilogue: if splits > 1 { "PARTIAL" } else { whole },
        fp32: splits > 1 || output.element == ElementType::F32,
        splits,
        arguments,
    };
    match tile {
        Tile::Mma(tile) => Ok(mma_call(placement, stage, tile, own)),
        Tile::Wgmma(tile) => wgmma_call(placement, stage, tile, own),
    }
}

fn mma_call(placement: &Placement<'_>, stage: &Linear, tile: MmaTile, own: Own) -> DeviceCall {
    let MmaTile { rows, columns, depth, stages, warps: [m, n, k] } = tile;
    let Own { epilogue, splits, arguments, .. } = own;
    let name = format!("gemm_mma_{rows}x{columns}x{depth}_s{stages}_{m}x{n}x{k}_{epilogue}").to_lowercase();
    let shape = format!("{rows}, {columns}, {depth}, {stages}, {m}, {n}, {k}");
    let exchange = if k > 1 { k * rows * columns * 4 } else { 0 };
    let shared_bytes = (stages * (rows + columns) * depth * 2).max(exchange) + 4 * columns;
    let threads = 32 * m * n * k;
    let line = format!(
        "GEMM_MMA({name}, {shape}, EPILOGUE_{epilogue})\n{}\n{}",
        arguments.assertion("GemmArguments"),
        assertion(&format!("MmaTile<{shape}>"), shared_bytes, threads)
    );
    DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::ProductMma(placement.element(stage.x)), name, line },
        shared_bytes,
        grid: Grid { blocks: (stage.width / columns, stage.tokens.div_ceil(rows), splits), threads },
        maps: Vec::new(),
        arguments,
    })
}

fn wgmma_call(
    placement: &Placement<'_>,
    stage: &Linear,
    tile: WgmmaTile,
    own: Own,
) -> Result<DeviceCall, BackendError> {
    let WgmmaTile { rows, columns, stages, groups, ping_pong } = tile;
    let Own { epilogue, fp32, splits, arguments } = own;
    let order = if ping_pong { "PINGPONG" } else { "COOPERATIVE" };
    let name = format!("gemm_wgmma_{rows}x{columns}_s{stages}_g{groups}_{order}_{epilogue}").to_lowercase();
    let shape = format!("{rows}, {columns}, {stages}, {groups}, {order}, EPILOGUE_{epilogue}");
    let line = format!(
        "GEMM_WGMMA({name}, {shape})
{}
{}",
        arguments.assertion("GemmArguments"),
        assertion(&format!("WgmmaTile<{shape}>"), tile.shared_bytes(fp32), tile.threads())
    );
    let units = stage.tokens.div_ceil(rows) * (stage.width / columns) * splits;
    let shared_bytes = tile.shared_bytes(fp32);
    let resident = placement.multiprocessors * (HOPPER_SHARED_BYTES / (shared_bytes + BLOCK_SHARED_BYTES));
    let map = |address, rows, box_rows| MapSpec { address, columns: stage.depth, rows, box_rows };
    Ok(DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::ProductWgmma(placement.element(stage.x)), name, line },
        shared_bytes,
        // A block walks over units of work with the stride of the grid.
        grid: Grid { blocks: (units.min(resident.max(1)), 1, 1), threads: tile.threads() },
        maps: vec![
            map(placement.tensor(stage.x), stage.tokens, rows),
            map(placement.weight(stage.weight)?, stage.width, columns),
        ],
        arguments,
    }))
}

/// Shared memory of a multiprocessor of compute capability 9.0, and what the system takes of it for each block, bytes
/// (CUDA programming guide, table of technical specifications).
const HOPPER_SHARED_BYTES: usize = 228 << 10;
const BLOCK_SHARED_BYTES: usize = 1 << 10;

impl WgmmaTile {
    /// The consumers, and a producer: a whole warpgroup where it has registers to hand over.
    fn threads(self) -> usize {
        let sums = if self.ping_pong { self.rows } else { self.rows / self.groups } * self.columns / 128;
        let many = if self.groups == 3 { 72 } else { 96 };
        128 * self.groups + if self.groups > 1 && sums >= many { 128 } else { 32 }
    }

    /// As the end of `kernels/gemm_wgmma.cu` says it.
    fn shared_bytes(self, fp32: bool) -> usize {
        let WgmmaTile { rows, columns, stages, groups, .. } = self;
        let padding = match (fp32, columns.is_multiple_of(32)) {
            (false, _) => 16,
            (true, true) => 32,
            (true, false) => 0,
        };
        let tiles = stages * (128 * (rows + columns) + 16);
        1040 + tiles + 4 * columns * groups + 64 * groups * (2 * columns + padding)
    }
}
