//! Calls of a linear layer: by cuBLASLt, by the `mma.sync` kernel, or by the `wgmma` kernel.

use serde::{Deserialize, Serialize};

use super::norm::{self, Partials};
use super::{Call, KernelCall, MapSpec, ProductCall, Site, internal, stepwise};
use crate::backend::BackendError;
use crate::backend::cuda::catalogue::{Instance, Source};
use crate::backend::cuda::element::Element;
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
    /// `kernels/gemm_mma.cu`; with more than one split the layer norm after it adds the partial sums.
    Mma(MmaTile, usize),
    /// `kernels/gemm_wgmma.cu`.
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
    multicast: usize,
    splits: usize,
}

const fn mma(rows: usize, columns: usize, depth: usize, stages: usize, warps: [usize; 3]) -> MmaTile {
    MmaTile { rows, columns, depth, stages, warps }
}

/// The tiles that won somewhere between 32 and 1024 tokens on an H200.
const MMA_TILES: [MmaTile; 8] = [
    mma(32, 32, 128, 4, [1, 1, 4]),
    mma(32, 64, 128, 3, [1, 2, 2]),
    mma(32, 64, 64, 6, [1, 2, 2]),
    mma(64, 32, 128, 4, [2, 1, 2]),
    mma(64, 64, 64, 4, [2, 2, 1]),
    mma(64, 64, 128, 3, [2, 2, 1]),
    mma(128, 64, 64, 4, [4, 2, 1]),
    mma(128, 128, 64, 3, [2, 4, 1]),
];

const fn wgmma(
    rows: usize,
    columns: usize,
    stages: usize,
    groups: usize,
    multicast: usize,
    splits: usize,
) -> WgmmaTile {
    WgmmaTile { rows, columns, stages, groups, ping_pong: false, multicast, splits }
}

const fn ping_pong(rows: usize, columns: usize, stages: usize, multicast: usize) -> WgmmaTile {
    WgmmaTile { rows, columns, stages, groups: 2, ping_pong: true, multicast, splits: 1 }
}

const WGMMA_TILES: [WgmmaTile; 8] = [
    wgmma(64, 64, 6, 1, 1, 1),
    wgmma(64, 64, 6, 1, 1, 4),
    wgmma(64, 128, 6, 1, 1, 1),
    wgmma(128, 64, 6, 2, 1, 2),
    wgmma(128, 128, 5, 2, 1, 1),
    wgmma(128, 256, 4, 2, 2, 1),
    ping_pong(64, 128, 6, 1),
    ping_pong(128, 128, 5, 2),
];

/// Splits of a product's depth that are worth trying.
const SPLITS: [usize; 5] = [1, 2, 3, 4, 6];

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
        && norm::is_fused(&norm.norm, stages.tensor(norm.input).stride)
}

/// What decides its speed.
pub(super) fn key(stages: &Stages, stage: &Linear) -> String {
    let (x, y) = (stages.tensor(stage.x).element, stages.tensor(stage.output).element);
    let Linear { tokens, width, depth, accumulator, epilogue, .. } = stage;
    let bias = if stage.bias.is_some() { "+bias" } else { "" };
    format!("linear[{tokens}x{width}x{depth} {x:?}->{y:?} {accumulator:?} {epilogue:?}{bias}]")
}

/// The kernels that can compute it. cuBLASLt's algorithms are added by whoever can ask the library.
pub(super) fn choices(site: &Site<'_>, stage: &Linear, with_norm: bool) -> Vec<ProductChoice> {
    let mut choices = vec![ProductChoice::Library(None)];
    if site.element(stage.x) == Element::F32
        || stage.accumulator != Accumulator::F32
        || own_epilogue(site, stage).is_none()
    {
        return choices;
    }
    let blocks = |rows: usize, columns: usize| stage.tokens.div_ceil(rows) * (stage.width / columns);
    for tile in MMA_TILES {
        let fits = stage.width.is_multiple_of(tile.columns) && tile.rows <= stage.tokens.next_multiple_of(32).max(32);
        for splits in SPLITS.into_iter().filter(|&splits| splits == 1 || with_norm) {
            let room = splits == 1 || splits * stage.tokens * stage.width * 4 <= site.scratch_bytes;
            let even = (stage.depth / tile.depth).is_multiple_of(splits) && stage.depth.is_multiple_of(tile.depth);
            let useful = splits == 1 || blocks(tile.rows, tile.columns) * splits <= ENOUGH_BLOCKS;
            if fits && room && even && useful && blocks(tile.rows, tile.columns) <= 4 * ENOUGH_BLOCKS {
                choices.push(ProductChoice::Mma(tile, splits));
            }
        }
    }
    if site.architecture.has_warpgroup_products() {
        let fits = |tile: &WgmmaTile| {
            stage.width.is_multiple_of(tile.columns)
                && stage.depth.is_multiple_of(64)
                && stage.depth >= 64 * tile.splits
                && (tile.splits == 1 || blocks(tile.rows, tile.columns) * tile.splits <= ENOUGH_BLOCKS)
                && tile.rows * tile.multicast <= stage.tokens.next_multiple_of(64)
        };
        choices.extend(WGMMA_TILES.into_iter().filter(fits).map(ProductChoice::Wgmma));
    }
    choices
}

/// The name of the epilogue of our own kernels, if they have it.
fn own_epilogue(site: &Site<'_>, stage: &Linear) -> Option<&'static str> {
    let (x, y) = (site.element(stage.x), site.element(stage.output));
    match (stage.epilogue, stage.bias, y == x, y) {
        (Epilogue::Store, Some(_), true, _) => Some("BIAS"),
        (Epilogue::Gelu(Gelu::Erf), Some(_), true, _) => Some("GELU_ERF"),
        (Epilogue::Gelu(Gelu::Tanh), Some(_), true, _) => Some("GELU_TANH"),
        (Epilogue::Residual, Some(_), true, _) => Some("RESIDUAL_16"),
        (Epilogue::Residual, Some(_), _, Element::F32) => Some("RESIDUAL_F32"),
        (Epilogue::Store, None, _, Element::F32) => Some("F32"),
        _ => None,
    }
}

/// The calls of a linear layer and of the layer norm after it.
pub(super) fn calls(
    site: &Site<'_>,
    stage: &Linear,
    norm: Option<&LayerNorm>,
    choice: ProductChoice,
) -> Result<Vec<Call>, BackendError> {
    let mut partials = None;
    let mut calls = match choice {
        ProductChoice::Library(algorithm) => library(site, stage, algorithm)?,
        ProductChoice::Mma(tile, splits) => {
            if let (Some(bias), true) = (stage.bias, splits > 1) {
                partials = Some(Partials { address: site.scratch, count: splits, bias: bias.widened() });
            }
            vec![mma_call(site, stage, tile, splits)?]
        }
        ProductChoice::Wgmma(tile) => vec![wgmma_call(site, stage, tile)?],
    };
    if let Some(norm) = norm {
        calls.push(norm::layer_norm(site, norm, partials)?);
    }
    Ok(calls)
}

/// cuBLASLt, and GELU by a kernel of its own where the library has not the model's form.
fn library(site: &Site<'_>, stage: &Linear, algorithm: Option<Algorithm>) -> Result<Vec<Call>, BackendError> {
    let output = site.stages.tensor(stage.output);
    let (ending, gelu) = match (stage.epilogue, stage.bias) {
        (Epilogue::Store, None) => (LtEnding::Store, None),
        (Epilogue::Store, Some(_)) => (LtEnding::Bias, None),
        (Epilogue::Gelu(Gelu::Tanh), Some(_)) => (LtEnding::BiasGeluTanh, None),
        (Epilogue::Gelu(form), _) => (LtEnding::Bias, Some(form)),
        (Epilogue::Residual, _) => (LtEnding::BiasResidual, None),
    };
    if ending != LtEnding::Store && stage.bias.is_none() {
        return Err(internal("a linear layer without a bias whose output is not simply stored"));
    }
    let spec = MatmulSpec {
        tokens: stage.tokens,
        width: stage.width,
        depth: stage.depth,
        operand: site.element(stage.x),
        output: output.element,
        accumulator: stage.accumulator,
        ending,
        alpha: 1.0,
        w_by_rows: true,
        strides: [stage.depth, stage.depth, output.stride],
        batch: None,
    };
    let bias = stage.bias.map(|bias| if output.element == Element::F32 { bias.widened() } else { bias });
    let addresses = MatmulAddresses {
        x: site.tensor(stage.x),
        w: site.weight(stage.weight)?,
        y: site.tensor(stage.output),
        bias: bias.map(|bias| site.weight(bias)).transpose()?,
    };
    let mut calls = vec![Call::Product(ProductCall { spec, addresses, algorithm })];
    if let Some(form) = gelu {
        calls.push(stepwise::elementwise(
            site,
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

/// `GemmArguments` of `kernels/gemm_epilogue.cu`.
fn arguments(site: &Site<'_>, stage: &Linear, y: u64, depth_per_split: usize) -> Result<Arguments, BackendError> {
    let bias = stage.bias.map(|bias| site.weight(bias.widened())).transpose()?;
    Ok(Arguments::default()
        .pointer(site.tensor(stage.x))
        .pointer(site.weight(stage.weight)?)
        .optional(bias)
        .pointer(site.tensor(stage.output))
        .pointer(y)
        .int(stage.tokens)
        .int(stage.width)
        .int(stage.depth)
        .int(site.stages.tensor(stage.output).stride)
        .int(depth_per_split))
}

fn mma_call(site: &Site<'_>, stage: &Linear, tile: MmaTile, splits: usize) -> Result<Call, BackendError> {
    let own = own_epilogue(site, stage).ok_or_else(|| internal("a product that no own kernel ends"))?;
    let (epilogue, y) = if splits > 1 { ("PARTIAL", site.scratch) } else { (own, site.tensor(stage.output)) };
    let MmaTile { rows, columns, depth, stages, warps: [m, n, k] } = tile;
    let name = format!("gemm_mma_{rows}x{columns}x{depth}_s{stages}_{m}x{n}x{k}_{epilogue}").to_lowercase();
    let line = format!("GEMM_MMA({name}, {rows}, {columns}, {depth}, {stages}, {m}, {n}, {k}, EPILOGUE_{epilogue})");
    let exchange = if k > 1 { k * rows * columns * 4 } else { 0 };
    Ok(Call::Kernel(KernelCall {
        instance: Instance { source: Source::ProductMma(site.element(stage.x)), name, line },
        shared_bytes: (stages * (rows + columns) * depth * 2).max(exchange) + 4 * columns,
        grid: Grid { blocks: (stage.width / columns, stage.tokens.div_ceil(rows), splits), threads: 32 * m * n * k },
        maps: Vec::new(),
        arguments: arguments(site, stage, y, stage.depth / splits)?,
    }))
}

fn wgmma_call(site: &Site<'_>, stage: &Linear, tile: WgmmaTile) -> Result<Call, BackendError> {
    let epilogue = own_epilogue(site, stage).ok_or_else(|| internal("a product that no own kernel ends"))?;
    let WgmmaTile { rows, columns, stages, groups, ping_pong, multicast, splits } = tile;
    let order = if ping_pong { "PINGPONG" } else { "COOPERATIVE" };
    let shape = format!("{rows}x{columns}_s{stages}_g{groups}_{order}_m{multicast}_k{splits}");
    let name = format!("gemm_wgmma_{shape}_{epilogue}").to_lowercase();
    let line = format!(
        "GEMM_WGMMA({name}, {rows}, {columns}, {stages}, {groups}, {order}, {multicast}, {splits}, EPILOGUE_{epilogue})"
    );
    let sums = if ping_pong { rows } else { rows / groups } * columns / 128;
    let exchange = if splits > 1 { 4 * rows * columns } else { 0 };
    let units = stage.tokens.div_ceil(rows * multicast) * (stage.width / columns);
    let resident = site.multiprocessors / multicast;
    let clusters = if splits > 1 { units } else { units.min(resident) };
    let map = |address, rows, box_rows| MapSpec { address, columns: stage.depth, rows, box_rows };
    Ok(Call::Kernel(KernelCall {
        instance: Instance { source: Source::ProductWgmma(site.element(stage.x)), name, line },
        shared_bytes: 1024 + (stages * (rows + columns) * 128).max(exchange) + 4 * columns * groups + 16 * stages,
        grid: Grid {
            blocks: (multicast * splits * clusters, 1, 1),
            threads: 128 * groups + if sums > 96 { 128 } else { 32 },
        },
        maps: vec![
            map(site.tensor(stage.x), stage.tokens, rows),
            map(site.weight(stage.weight)?, stage.width, columns / multicast),
        ],
        arguments: arguments(site, stage, site.tensor(stage.output), stage.depth)?,
    }))
}
