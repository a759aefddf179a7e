//! Matrix products on `faer`, split over the thread pool by output columns and rows.
//!
//! Accumulation in a 16-bit format is emulated as tensor cores do it: sixteen products at a time are added exactly
//! (in FP32) and the running sum is rounded after each sixteen.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::real::Real;
use super::rounding::round_to;
use crate::graph::{Format, Rounding, Shape};

/// Depth of one tensor-core instruction (m16n8k16).
const EMULATED_DEPTH: usize = 16;

/// Rows of a tile of output that one task computes.
const TILE_ROWS: usize = 1024;

/// Output columns of a tile are a multiple of this.
const COLUMN_STEP: usize = 64;

/// Wider tiles than this no longer fit the caches of one core.
const TILE_COLUMNS: usize = 4096;

/// `dst = alpha lhs rhs`, accumulated in `format`.
fn product<T: Real>(mut dst: MatMut<'_, T>, lhs: MatRef<'_, T>, rhs: MatRef<'_, T>, alpha: T, format: Format) {
    if !matches!(format, Format::Fp16 | Format::Bf16) {
        matmul(dst, Accum::Replace, lhs, rhs, alpha, Par::Seq);
        return;
    }
    let depth = lhs.ncols();
    dst.fill(T::ZERO);
    for start in (0..depth).step_by(EMULATED_DEPTH) {
        let width = EMULATED_DEPTH.min(depth - start);
        matmul(dst.as_mut(), Accum::Add, lhs.subcols(start, width), rhs.subrows(start, width), alpha, Par::Seq);
        for row in dst.as_mut().row_iter_mut() {
            if let Some(row) = row.try_as_row_major_mut() {
                round_to(format, row.as_slice_mut());
            }
        }
    }
}

/// A linear layer over `input` `[rows, inputs]`, already on the operands' grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear<'a, T> {
    pub input: &'a [T],
    /// `[width, inputs]`
    pub weight: &'a [T],
    pub bias: Option<&'a [T]>,
    pub inputs: usize,
    pub width: usize,
}

/// `out = input weightᵀ + bias`; the bias is added on the accumulator's grid.
pub(super) fn linear<T: Real>(job: Linear<'_, T>, rounding: Rounding, out: &mut [T]) {
    let rows = job.input.len() / job.inputs;
    let input = MatRef::from_row_major_slice(job.input, rows, job.inputs);
    let weight = MatRef::from_row_major_slice(job.weight, job.width, job.inputs);
    let per_thread = job.width.div_ceil(rayon::current_num_threads());
    let columns = per_thread.next_multiple_of(COLUMN_STEP).min(TILE_COLUMNS);
    MatMut::from_row_major_slice_mut(out, rows, job.width).par_col_chunks_mut(columns).enumerate().for_each(
        |(index, tile)| {
            let weight = weight.subrows(index * columns, tile.ncols()).transpose();
            tile.par_row_chunks_mut(TILE_ROWS).enumerate().for_each(|(index, tile)| {
                let input = input.subrows(index * TILE_ROWS, tile.nrows());
                product(tile, input, weight, T::ONE, rounding.accumulate);
            });
        },
    );
    if let Some(bias) = job.bias {
        out.par_chunks_mut(job.width).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += *b));
        round_to(rounding.accumulate, out);
    }
}

/// Heads of a packed projection `[batch, sequence, 3 hidden]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads<'a, T> {
    pub packed: &'a [T],
    pub shape: Shape,
    pub hidden: usize,
    pub heads: usize,
    /// Tokens per row; keys beyond are never touched.
    pub lengths: &'a [usize],
}

/// Which third of the packed projection.
#[derive(Debug, Clone, Copy)]
enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

impl<'a, T: Real> Heads<'a, T> {
    fn size(&self) -> usize {
        self.hidden / self.heads
    }

    /// One head of one sequence: `[rows, head size]`, a view into the packed projection.
    fn part(&self, part: Part, sequence: usize, head: usize, rows: usize) -> MatRef<'a, T> {
        let stride = 3 * self.hidden;
        let offset = sequence * self.shape.sequence * stride + part as usize * self.hidden + head * self.size();
        let end = offset + (rows - 1) * stride + self.size();
        MatRef::from_row_major_slice_with_stride(&self.packed[offset..end], rows, self.size(), stride)
    }
}

/// `Q Kᵀ` per head into `[batch, heads, sequence, sequence]`. Where the product is stored narrow it is rounded before
/// it is scaled and again after, as Hugging Face's eager attention does.
pub(super) fn attention_scores<T: Real>(job: Heads<'_, T>, scale: f64, rounding: Rounding, out: &mut [T]) {
    let sequence = job.shape.sequence;
    let narrow = matches!(rounding.store, Format::Fp16 | Format::Bf16);
    let alpha = if narrow { T::ONE } else { T::of(scale) };
    out.par_chunks_mut(sequence * sequence).enumerate().for_each(|(index, square)| {
        let (row, head) = (index / job.heads, index % job.heads);
        let length = job.lengths[row];
        let query = job.part(Part::Query, row, head, sequence);
        let key = job.part(Part::Key, row, head, length);
        let scores = MatMut::from_row_major_slice_mut(square, sequence, sequence);
        product(scores.subcols_mut(0, length), query, key.transpose(), alpha, rounding.accumulate);
        if narrow {
            round_to(rounding.store, square);
            square.iter_mut().for_each(|score| *score *= T::of(scale));
        }
    });
}

/// `P V` per head into `[batch, sequence, hidden]`.
pub(super) fn attention_context<T: Real>(job: Heads<'_, T>, probabilities: &[T], rounding: Rounding, out: &mut [T]) {
    let sequence = job.shape.sequence;
    out.par_chunks_mut(sequence * job.hidden).enumerate().for_each(|(row, out)| {
        let length = job.lengths[row];
        let out = MatMut::from_row_major_slice_mut(out, sequence, job.hidden);
        out.par_col_chunks_mut(job.size()).enumerate().for_each(|(head, out)| {
            let square = &probabilities[(row * job.heads + head) * sequence * sequence..][..sequence * sequence];
            let weights = MatRef::from_row_major_slice(square, sequence, sequence).subcols(0, length);
            let value = job.part(Part::Value, row, head, length);
            product(out, weights, value, T::ONE, rounding.accumulate);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 2001) as f32 / 1000.0 - 1.0)
            .collect()
    }

    #[test]
    fn linear_equals_the_textbook_sum_for_ragged_sizes() {
        for (rows, inputs, width) in [(1, 1, 1), (3, 17, 2), (5, 64, 130), (1030, 8, 70)] {
            let (input, weight, bias) = (values(rows * inputs, 1), values(width * inputs, 2), values(width, 3));
            let mut out = vec![f32::NAN; rows * width];
            let job = Linear { input: &input, weight: &weight, bias: Some(&bias), inputs, width };
            linear(job, Rounding::uniform(Format::Fp32), &mut out);
            for (index, y) in out.iter().enumerate() {
                let (row, column) = (index / width, index % width);
                let exact: f64 = (0..inputs)
                    .map(|k| f64::from(input[row * inputs + k]) * f64::from(weight[column * inputs + k]))
                    .sum::<f64>()
                    + f64::from(bias[column]);
                assert!((f64::from(*y) - exact).abs() < 1e-4, "{rows}x{inputs}x{width} at {index}: {y} {exact}");
            }
        }
    }

    /// 4096 products of 1 with 1: an FP16 accumulator stops at 2048 + 16·k only where sixteen ones still register.
    #[test]
    fn a_narrow_accumulator_is_rounded_every_sixteen_products() {
        let ones = vec![1f32; 3000 * 16];
        let tiny: Vec<f32> = ones.iter().map(|_| 2f32.powi(-5)).collect();
        let mut out = [0f32; 1];
        let job = Linear { input: &ones, weight: &tiny, bias: None, inputs: ones.len(), width: 1 };
        // Sixteen products add 0.5, which ties to even at 1024, where the spacing is 1.
        let rounding = Rounding { compute: Format::Fp16, accumulate: Format::Fp16, store: Format::Fp16 };
        linear(job, rounding, &mut out);
        assert_eq!(out[0], 1024.0);
        linear(job, Rounding::fp32_accumulated(Format::Fp16), &mut out);
        assert_eq!(out[0], 1500.0);
    }
}
