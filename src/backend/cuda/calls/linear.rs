//! Calls of a linear layer: of cuBLASLt, of the `mma.sync` kernel, or of the `wgmma` kernel. [`super::tiles`] says
//! which tiles the kernels have.

use serde::{Deserialize, Serialize};

use super::norm::{self, Partials};
use super::tiles::sm80::MmaTile;
use super::tiles::sm90::WgmmaTile;
use super::tiles::{self, ProductTile};
use super::{DeviceCall, KernelCall, MapSpec, Placement, ProductCall, assertion, stepwise};
use crate::backend::cuda::catalogue::{Instance, KernelSource};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::error::execution;
use crate::backend::cuda::launch::{Arguments, Grid};
use crate::backend::cuda::matmul::{Algorithm, LtEnding, MatmulAddresses, MatmulSpec};
use crate::backend::cuda::stage::{
    Accumulator, Elementwise, Epilogue, Function, LayerNorm, Linear, Outputs, Stage, Stages,
};
use crate::engine::BackendError;
use crate::graph::{Activation, Format};

/// Who computes a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::backend::cuda) enum ProductChoice {
    /// cuBLASLt, with this algorithm or with its own choice.
    Library(Option<Algorithm>),
    /// A kernel of this backend, with its depth split into so many parts. The layer norm after it adds the partial sums
    /// of several parts.
    Kernel(ProductTile, usize),
}

/// Algorithms of cuBLASLt that are timed, at most.
pub(in crate::backend::cuda) const LIBRARY_ALGORITHMS: usize = 8;

/// Whether the stage `first` is a linear layer that adds to the residual stream, and the next one a layer norm that can
/// add its partial sums.
pub(super) fn pairs_with_norm(stages: &Stages, first: usize) -> bool {
    let Some([Stage::Linear(product), Stage::LayerNorm(norm)]) = stages.stages.get(first..first + 2) else {
        return false;
    };
    let adds = match product.epilogue {
        Epilogue::Residual => norm::adds_partials(stages, norm),
        Epilogue::RoundedResidual => norm::rounds_to_fp16(stages, norm) || norm::adds_partials(stages, norm),
        _ => false,
    };
    adds && norm.input == product.output && product.bias.is_some()
}

/// Everything that the speed of its kernels depends on.
pub(super) fn key(stages: &Stages, stage: &Linear) -> String {
    let (x, y) = (stages.tensor(stage.x).element, stages.tensor(stage.output).element);
    let Linear { tokens, width, depth, accumulator, epilogue, .. } = stage;
    let bias = if stage.bias.is_some() { "+bias" } else { "" };
    format!("linear[{tokens}x{width}x{depth} {x:?}->{y:?} {accumulator:?} {epilogue:?}{bias}]")
}

/// The choices for a linear layer. cuBLASLt's algorithms are not among them: only a caller with a device can ask the
/// library for these.
pub(super) fn choices(placement: &Placement<'_>, stage: &Linear, with_norm: bool) -> Vec<ProductChoice> {
    let mut choices = vec![ProductChoice::Library(None)];
    let has_kernel = placement.element(stage.x) != ElementType::F32
        && stage.accumulator == Accumulator::F32
        && kernel_epilogue(placement, stage).is_some();
    if has_kernel {
        let tiles = tiles::candidates(placement, stage, with_norm).into_iter();
        choices.extend(tiles.map(|(tile, splits)| ProductChoice::Kernel(tile, splits)));
    }
    choices
}

/// An epilogue of this backend's kernels.
struct KernelEpilogue {
    /// The template argument.
    argument: String,
    /// Part of the names of kernels.
    name: String,
}

impl KernelEpilogue {
    fn named(name: &str) -> Self {
        KernelEpilogue { argument: format!("EPILOGUE_{name}"), name: name.to_owned() }
    }

    fn activation(function: Activation, suffix: &str) -> Self {
        let function = stepwise::activation(function);
        KernelEpilogue {
            argument: format!("EPILOGUE_ACTIVATION{suffix}({function})"),
            name: format!("{function}{suffix}"),
        }
    }
}

/// The epilogue of this backend's kernels for a linear layer, if they have one.
fn kernel_epilogue(placement: &Placement<'_>, stage: &Linear) -> Option<KernelEpilogue> {
    let (x, y) = (placement.element(stage.x), placement.element(stage.output));
    let named = |name| Some(KernelEpilogue::named(name));
    match (stage.epilogue, stage.bias, y == x, y) {
        (Epilogue::Store, Some(_), true, _) => named("BIAS"),
        (Epilogue::Activation(function), Some(_), true, _) => Some(KernelEpilogue::activation(function, "")),
        (Epilogue::RoundedActivation(of), Some(_), true, _) => Some(KernelEpilogue::activation(of, "_HALVES")),
        (Epilogue::Residual | Epilogue::RoundedResidual, Some(_), true, _) => named("RESIDUAL_16"),
        (Epilogue::Residual, Some(_), _, ElementType::F32) => named("RESIDUAL_F32"),
        (Epilogue::Store, None, _, ElementType::F32) => named("F32"),
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
        ProductChoice::Kernel(tile, splits) => {
            if let (Some(bias), true) = (stage.bias, splits > 1) {
                let (bias, residual) = (bias.widened(), stage.addend.unwrap_or(stage.output));
                let rounded = stage.epilogue == Epilogue::RoundedResidual;
                partials = Some(Partials { address: placement.scratch, count: splits, bias, residual, rounded });
            }
            vec![kernel_call(placement, stage, tile, splits)?]
        }
    };
    match (norm, partials) {
        (Some(norm), _) => calls.push(norm::layer_norm(placement, norm, partials)?),
        // Only a stepwise forward has a split product without a layer norm that adds its parts.
        (None, Some(parts)) => calls.push(stepwise::sum_partials(placement, stage, parts)?),
        (None, None) => {}
    }
    Ok(calls)
}

/// The calls with cuBLASLt, and with a kernel for what the library does not do: an activation, and a sum that rounds to FP16 first.
/// The library's own GELU is of the unrounded sum, so that it hides a layer that overflows below: GELU of minus infinity is NaN.
fn library(
    placement: &Placement<'_>,
    stage: &Linear,
    algorithm: Option<Algorithm>,
) -> Result<Vec<DeviceCall>, BackendError> {
    let output = placement.stages.tensor(stage.output);
    let (ending, then) = match (stage.epilogue, stage.bias) {
        (Epilogue::Store, None) => (LtEnding::Store, None),
        (Epilogue::Store, Some(_)) => (LtEnding::Bias, None),
        (Epilogue::Activation(of), _) => (LtEnding::Bias, Some((Function::Activation(of), Format::Fp32))),
        (Epilogue::RoundedActivation(of), _) => (LtEnding::Bias, Some((Function::Activation(of), Format::Fp16))),
        (Epilogue::Residual, _) => (LtEnding::BiasResidual, None),
        (Epilogue::RoundedResidual, _) => (LtEnding::Bias, Some((Function::Residual, Format::Fp16))),
    };
    if ending != LtEnding::Store && stage.bias.is_none() {
        return Err(execution("a linear layer with an epilogue but without a bias"));
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
    if let Some((function, compute)) = then {
        // The update of a residual sum is the linear layer.
        let (input, update) = match stage.addend {
            Some(addend) => (addend, Some(stage.output)),
            None => (stage.output, None),
        };
        let outputs = Outputs { main: stage.output, copy: None };
        calls.push(stepwise::elementwise(placement, &Elementwise { function, input, update, outputs, compute }));
    }
    Ok(calls)
}

/// Everything of a kernel's call but its tile.
struct TiledCall {
    epilogue: KernelEpilogue,
    /// The epilogue stores FP32.
    fp32_output: bool,
    splits: usize,
    /// `GemmArguments` of `kernels/gemm_epilogue.cu`.
    arguments: Arguments,
}

fn kernel_call(
    placement: &Placement<'_>,
    stage: &Linear,
    tile: ProductTile,
    splits: usize,
) -> Result<DeviceCall, BackendError> {
    let output = placement.stages.tensor(stage.output);
    let whole = kernel_epilogue(placement, stage);
    let whole = whole.ok_or_else(|| execution("no kernel has the epilogue of this linear layer"))?;
    let arguments = Arguments::default()
        .pointer(placement.tensor(stage.x))
        .pointer(placement.weight(stage.weight)?)
        .optional(stage.bias.map(|bias| placement.weight(bias.widened())).transpose()?)
        .pointer(placement.tensor(stage.addend.unwrap_or(stage.output)))
        .pointer(if splits > 1 { placement.scratch } else { placement.tensor(stage.output) })
        .int(stage.tokens)
        .int(stage.width)
        .int(stage.depth)
        .int(output.stride)
        .int(stage.depth / splits);
    let call = TiledCall {
        epilogue: if splits > 1 { KernelEpilogue::named("PARTIAL") } else { whole },
        fp32_output: splits > 1 || output.element == ElementType::F32,
        splits,
        arguments,
    };
    match tile {
        ProductTile::Mma(tile) => Ok(mma_call(placement, stage, tile, call)),
        ProductTile::Wgmma(tile) => wgmma_call(placement, stage, tile, call),
    }
}

fn mma_call(placement: &Placement<'_>, stage: &Linear, tile: MmaTile, call: TiledCall) -> DeviceCall {
    let MmaTile { rows, columns, depth, stages, warps: [m, n, k] } = tile;
    let TiledCall { epilogue, splits, arguments, .. } = call;
    let name = format!("gemm_mma_{rows}x{columns}x{depth}_s{stages}_{m}x{n}x{k}_{}", epilogue.name).to_lowercase();
    let shape = format!("{rows}, {columns}, {depth}, {stages}, {m}, {n}, {k}");
    let line = format!(
        "GEMM_MMA({name}, {shape}, {})\n{}\n{}",
        epilogue.argument,
        arguments.assertion("GemmArguments"),
        assertion(&format!("MmaTile<{shape}>"), tile.shared_bytes(), tile.threads())
    );
    DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::ProductMma(placement.element(stage.x)), name, line },
        shared_bytes: tile.shared_bytes(),
        grid: Grid { blocks: (stage.width / columns, stage.tokens.div_ceil(rows), splits), threads: tile.threads() },
        maps: Vec::new(),
        arguments,
    })
}

fn wgmma_call(
    placement: &Placement<'_>,
    stage: &Linear,
    tile: WgmmaTile,
    call: TiledCall,
) -> Result<DeviceCall, BackendError> {
    let WgmmaTile { rows, columns, stages, groups, ping_pong } = tile;
    let TiledCall { epilogue, fp32_output, splits, arguments } = call;
    let order = if ping_pong { "PINGPONG" } else { "COOPERATIVE" };
    let name = format!("gemm_wgmma_{rows}x{columns}_s{stages}_g{groups}_{order}_{}", epilogue.name).to_lowercase();
    let shape = format!("{rows}, {columns}, {stages}, {groups}, {order}, {}", epilogue.argument);
    let line = format!(
        "GEMM_WGMMA({name}, {shape})\n{}\n{}",
        arguments.assertion("GemmArguments"),
        assertion(&format!("WgmmaTile<{shape}>"), tile.shared_bytes(fp32_output), tile.threads())
    );
    let units = stage.tokens.div_ceil(rows) * (stage.width / columns) * splits;
    let resident = placement.multiprocessors * tile.resident_blocks(fp32_output);
    let map = |address, rows, box_rows| MapSpec { address, columns: stage.depth, rows, box_rows };
    Ok(DeviceCall::Kernel(KernelCall {
        instance: Instance { source: KernelSource::ProductWgmma(placement.element(stage.x)), name, line },
        shared_bytes: tile.shared_bytes(fp32_output),
        // A block walks over the units of work with the stride of the grid.
        grid: Grid { blocks: (units.min(resident.max(1)), 1, 1), threads: tile.threads() },
        maps: vec![
            map(placement.tensor(stage.x), stage.tokens, rows),
            map(placement.weight(stage.weight)?, stage.width, columns),
        ],
        arguments,
    }))
}
