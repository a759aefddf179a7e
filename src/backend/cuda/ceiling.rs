//! Measures the device's ceilings with a large matrix product and a large copy, in the process that runs the engines. The rate
//! under sustained load takes half a second, and is kept for the board.
#![allow(unsafe_code, reason = "copies device memory through the driver")]

use cudarc::driver::result;

use super::element::ElementType;
use super::error::{execution, failed, unavailable};
use super::gpu::{GpuRuntime, Prepared};
use super::libraries;
use super::matmul::{LtEnding, Matmul, MatmulAddresses, MatmulSpec};
use super::memory::DeviceMemory;
use super::stage::Accumulator;
use crate::cache::ChecksummedFolder;
use crate::digest::sha256;
use crate::engine::{BackendError, Ceilings};

/// Rows, columns and depth of the product: 1.1 TFLOP, a few milliseconds even in TF32.
const SIDE: usize = 8192;

/// The same for FP32, which has no tensor cores.
const FP32_SIDE: usize = 4096;

/// Bytes copied, many times the L2 cache.
const COPIED_BYTES: usize = 1 << 30;

/// Load before the rate under sustained load is measured, seconds: the board's power limit then sets the clock.
const SOAK_S: f64 = 0.25;

/// Time over which it is measured, seconds.
const SUSTAINED_S: f64 = 0.25;

const WARMUP: usize = 3;
const REPEATS: usize = 7;

/// Measures the ceilings, for products of `operand`s that are summed in `accumulator`. Takes about a tenth of a second, and half a
/// second more where this board's rate under sustained load is not known yet.
///
/// # Errors
/// [`BackendError`]: no room for the operands, or a failure of the device.
pub(super) fn measure(
    gpu: &GpuRuntime,
    operand: ElementType,
    accumulator: Accumulator,
) -> Result<Ceilings, BackendError> {
    let fp32 = (operand, accumulator) == (ElementType::F32, Accumulator::F32);
    let product = LargeProduct::new(gpu, operand, accumulator, if fp32 { FP32_SIDE } else { SIDE })?;
    let (fastest, product_s) = product.fastest(gpu)?;
    let flops = 2.0 * (product.side as f64).powi(3);
    Ok(Ceilings {
        flops_per_s: flops / product_s,
        sustained_flops_per_s: Some(flops / sustained_s(gpu, &product, &fastest, product_s)?),
        // Every byte is read and written.
        bytes_per_s: 2.0 * COPIED_BYTES as f64 / copy(gpu)?,
    })
}

/// A large square product and its operands.
struct LargeProduct {
    side: usize,
    spec: MatmulSpec,
    operands: [DeviceMemory; 3],
}

impl LargeProduct {
    fn new(
        gpu: &GpuRuntime,
        operand: ElementType,
        accumulator: Accumulator,
        side: usize,
    ) -> Result<Self, BackendError> {
        let bytes = side * side * operand.bytes();
        let take = || DeviceMemory::take(&gpu.device.context, bytes, "the ceiling of products");
        let operands = [take()?, take()?, take()?];
        // Random numbers, because a product of equal numbers draws less power and runs faster.
        operands[0].fill_with_small_numbers()?;
        operands[1].fill_with_small_numbers()?;
        let spec = MatmulSpec {
            tokens: side,
            width: side,
            depth: side,
            operand,
            output: operand,
            accumulator,
            ending: LtEnding::Store,
            alpha: 1.0,
            w_by_rows: true,
            strides: [side; 3],
            batch: None,
        };
        Ok(LargeProduct { side, spec, operands })
    }

    /// The fastest algorithm in a short burst, and its seconds.
    fn fastest(&self, gpu: &GpuRuntime) -> Result<([Prepared; 1], f64), BackendError> {
        let [x, w, y] = &self.operands;
        let addresses = MatmulAddresses { x: x.address(), w: w.address(), y: y.address(), bias: None };
        let mut best: Option<([Prepared; 1], f64)> = None;
        for algorithm in Matmul::new(&self.spec)?.algorithms(&gpu.library, 4)? {
            let prepared = [Prepared::Product { matmul: Matmul::new(&self.spec)?, algorithm, addresses }];
            let seconds = gpu.median_ms(WARMUP, REPEATS, || gpu.enqueue(&prepared))? / 1e3;
            if best.as_ref().is_none_or(|(_, least)| seconds < *least) {
                best = Some((prepared, seconds));
            }
        }
        best.ok_or_else(|| execution("cuBLASLt has no algorithm for the ceiling of products"))
    }
}

/// Seconds of `fastest` under sustained load, where a burst takes `burst_s`. Kept for the board, by its identifier.
fn sustained_s(
    gpu: &GpuRuntime,
    product: &LargeProduct,
    fastest: &[Prepared; 1],
    burst_s: f64,
) -> Result<f64, BackendError> {
    let board = gpu.device.context.uuid().map_err(failed)?.bytes;
    let library = libraries::cublaslt().map_err(unavailable)?.version.clone();
    let (identity, spec) = (gpu.device.identity(), product.spec);
    let probe = format!("{board:?}\n{identity}\ncuBLASLt {library}\n{spec:?}\n{SOAK_S} {SUSTAINED_S}\n");
    let (name, cache) = (sha256(probe.as_bytes()), ChecksummedFolder::open("ceilings").ok());
    let known =
        cache.as_ref().and_then(|cache| cache.read(&name)).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(seconds) = known {
        return Ok(seconds);
    }
    let run = |window_s: f64| gpu.mean_ms(((window_s / burst_s) as usize).max(1), || gpu.enqueue(fastest));
    run(SOAK_S)?;
    let seconds = run(SUSTAINED_S)? / 1e3;
    // A cache is a convenience: without it the next process measures again.
    let _ = cache.map(|cache| serde_json::to_vec(&seconds).map(|bytes| cache.write(&name, &bytes)));
    Ok(seconds)
}

fn copy(gpu: &GpuRuntime) -> Result<f64, BackendError> {
    let take = || DeviceMemory::take(&gpu.device.context, COPIED_BYTES, "the ceiling of copies");
    let (from, to) = (take()?, take()?);
    let copied = gpu.median_ms(WARMUP, REPEATS, || {
        // SAFETY: both spans have the size that is named, and outlive the copy, which `median_ms` waits for.
        unsafe { result::memcpy_dtod_async(to.address(), from.address(), COPIED_BYTES, gpu.stream.cu_stream()) }
            .map_err(failed)
    });
    Ok(copied? / 1e3)
}
