//! Measures the device's ceilings with a large matrix product and a large copy, in the process that runs the engines.
#![allow(unsafe_code, reason = "copies device memory through the driver")]

use cudarc::driver::result;

use super::element::ElementType;
use super::error::failed;
use super::gpu::{GpuRuntime, Prepared};
use super::matmul::{LtEnding, Matmul, MatmulAddresses, MatmulSpec};
use super::memory::DeviceMemory;
use super::stage::Accumulator;
use crate::engine::{BackendError, Ceilings};

/// Rows, columns and depth of the product: 1.1 TFLOP, a few milliseconds even in TF32.
const SIDE: usize = 8192;

/// The same for FP32, which has no tensor cores.
const FP32_SIDE: usize = 4096;

/// Bytes copied, many times the L2 cache.
const COPIED_BYTES: usize = 1 << 30;

const WARMUP: usize = 3;
const REPEATS: usize = 7;

/// Measures both ceilings, for products of `operand`s that are summed in `accumulator`. Takes about a tenth of a
/// second.
///
/// # Errors
/// [`BackendError`]: no room for the operands, or a failure of the device.
pub(super) fn measure(
    gpu: &GpuRuntime,
    operand: ElementType,
    accumulator: Accumulator,
) -> Result<Ceilings, BackendError> {
    let fp32 = (operand, accumulator) == (ElementType::F32, Accumulator::F32);
    let side = if fp32 { FP32_SIDE } else { SIDE };
    let product_s = product(gpu, operand, accumulator, side)?;
    let copy_s = copy(gpu)?;
    Ok(Ceilings {
        flops_per_s: 2.0 * (side as f64).powi(3) / product_s,
        // Every byte is read and written.
        bytes_per_s: 2.0 * COPIED_BYTES as f64 / copy_s,
    })
}

fn product(gpu: &GpuRuntime, operand: ElementType, accumulator: Accumulator, side: usize) -> Result<f64, BackendError> {
    let bytes = side * side * operand.bytes();
    let take = || DeviceMemory::take(&gpu.device.context, bytes, "the ceiling of products");
    let (x, w, y) = (take()?, take()?, take()?);
    // Random numbers, because a product of equal numbers draws less power and runs faster.
    x.fill_with_small_numbers()?;
    w.fill_with_small_numbers()?;
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
    let matmul = Matmul::new(&spec)?;
    let addresses = MatmulAddresses { x: x.address(), w: w.address(), y: y.address(), bias: None };
    let mut best = f64::INFINITY;
    for algorithm in matmul.algorithms(&gpu.library, 4)? {
        let prepared = [Prepared::Product { matmul: Matmul::new(&spec)?, algorithm, addresses }];
        best = best.min(gpu.median_ms(WARMUP, REPEATS, || gpu.enqueue(&prepared))? / 1e3);
    }
    Ok(best)
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
