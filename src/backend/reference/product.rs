//! Matrix products by `faer`, divided among the threads of the pool by output columns and rows.
//!
//! Accumulation in a 16-bit format is emulated as on tensor cores: sixteen products at a time are added exactly (in
//! FP32), and the running sum is rounded after each sixteen.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::real::Real;
use super::rounding::round_to;
use crate::graph::{Format, Rounding, Shape};

/// Depth of one tensor-core instruction (m16n8k16).
const EMULATED_DEPTH: usize = 16;

/// Rows of output that one task computes, at most. More rows do not fit in the caches of one core.
const TILE_ROWS: usize = 1024;

/// Rows of output that one task computes, at least. Fewer rows lose more time to packing than they gain by balance.
const MIN_TILE_ROWS: usize = 32;

/// Output columns of one task if the weight is stored by rows.
const ROW_LAYOUT_COLUMNS: usize = 512;

/// Output columns of a panel. The kernels of `faer` compute this many at once with 512-bit vectors, and a divisor of it
/// with narrower ones.
const PANEL: usize = 96;

/// The memory layout of a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightLayout {
    /// `[width, inputs]`, the layout of embedding tables.
    Rows,
    /// `[width / 96][inputs, 96]`, which saves products of few rows most of the packing. The last panel is padded.
    Panels,
}

/// Rearranges `[width, inputs]` into panels.
pub(super) fn panels<T: Real>(weight: &[T], inputs: usize) -> Vec<T> {
    let width = weight.len() / inputs;
    let mut out = vec![T::ZERO; width.div_ceil(PANEL) * PANEL * inputs];
    out.par_chunks_mut(PANEL * inputs).zip(weight.par_chunks(PANEL * inputs)).for_each(|(panel, rows)| {
        for (column, row) in rows.chunks(inputs).enumerate() {
            for (depth, value) in row.iter().enumerate() {
                panel[depth * PANEL + column] = *value;
            }
        }
    });
    out
}

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

/// Arguments of a linear layer over `input`, `[rows, inputs]`, which is already on the operands' grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearArguments<'a, T> {
    pub input: &'a [T],
    pub weight: &'a [T],
    pub layout: WeightLayout,
    pub bias: Option<&'a [T]>,
    pub inputs: usize,
    pub width: usize,
}

impl<'a, T: Real> LinearArguments<'a, T> {
    /// Columns `index * columns ..` of the transposed weight: `[inputs, width of the tile]`.
    fn weight_tile(&self, index: usize, columns: usize) -> MatRef<'a, T> {
        match self.layout {
            WeightLayout::Rows => {
                let rows = MatRef::from_row_major_slice(self.weight, self.width, self.inputs);
                rows.subrows(index * ROW_LAYOUT_COLUMNS, columns).transpose()
            }
            WeightLayout::Panels => {
                let panel = &self.weight[index * PANEL * self.inputs..][..PANEL * self.inputs];
                MatRef::from_row_major_slice(panel, self.inputs, PANEL).subcols(0, columns)
            }
        }
    }
}

/// `out = input weightᵀ + bias`. The bias is added on the accumulator's grid.
pub(super) fn linear<T: Real>(arguments: LinearArguments<'_, T>, rounding: Rounding, out: &mut [T]) {
    let rows = arguments.input.len() / arguments.inputs;
    let input = MatRef::from_row_major_slice(arguments.input, rows, arguments.inputs);
    let columns = match arguments.layout {
        WeightLayout::Rows => ROW_LAYOUT_COLUMNS,
        WeightLayout::Panels => PANEL,
    };
    // About four tasks per thread, divided along rows only if there are too few columns.
    let tasks = 4 * rayon::current_num_threads();
    let row_tiles = tasks.div_ceil(arguments.width.div_ceil(columns)).min(rows.div_ceil(MIN_TILE_ROWS));
    let tile_rows = rows.div_ceil(row_tiles).min(TILE_ROWS);
    let out_matrix = MatMut::from_row_major_slice_mut(out, rows, arguments.width);
    out_matrix.par_col_chunks_mut(columns).enumerate().for_each(|(index, tile)| {
        let weight = arguments.weight_tile(index, tile.ncols());
        tile.par_row_chunks_mut(tile_rows).enumerate().for_each(|(index, tile)| {
            let input = input.subrows(index * tile_rows, tile.nrows());
            product(tile, input, weight, T::ONE, rounding.accumulate);
        });
    });
    if let Some(bias) = arguments.bias {
        out.par_chunks_mut(arguments.width).for_each(|row| {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += *b;
            }
        });
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
    /// Tokens per sequence. Keys beyond are never read.
    pub lengths: &'a [usize],
}

/// A third of the packed projection.
#[derive(Debug, Clone, Copy)]
enum QkvPart {
    Query = 0,
    Key = 1,
    Value = 2,
}

impl<'a, T: Real> Heads<'a, T> {
    fn size(&self) -> usize {
        self.hidden / self.heads
    }

    /// One head of one sequence: `[rows, head size]`, a view into the packed projection.
    fn part(&self, part: QkvPart, sequence: usize, head: usize, rows: usize) -> MatRef<'a, T> {
        let stride = 3 * self.hidden;
        let offset = sequence * self.shape.sequence * stride + part as usize * self.hidden + head * self.size();
        let end = offset + (rows - 1) * stride + self.size();
        MatRef::from_row_major_slice_with_stride(&self.packed[offset..end], rows, self.size(), stride)
    }
}

/// Writes `Q Kᵀ` per head to `[batch, heads, sequence, sequence]`. If the scores are stored narrow, they are rounded
/// before they are scaled and again after, as in Hugging Face's eager attention.
pub(super) fn attention_scores<T: Real>(arguments: Heads<'_, T>, scale: f64, rounding: Rounding, out: &mut [T]) {
    let sequence = arguments.shape.sequence;
    let narrow = matches!(rounding.store, Format::Fp16 | Format::Bf16);
    let alpha = if narrow { T::ONE } else { T::of(scale) };
    out.par_chunks_mut(sequence * sequence).enumerate().for_each(|(index, square)| {
        let (row, head) = (index / arguments.heads, index % arguments.heads);
        let length = arguments.lengths[row];
        let query = arguments.part(QkvPart::Query, row, head, sequence);
        let key = arguments.part(QkvPart::Key, row, head, length);
        let scores = MatMut::from_row_major_slice_mut(square, sequence, sequence);
        product(scores.subcols_mut(0, length), query, key.transpose(), alpha, rounding.accumulate);
        if narrow {
            round_to(rounding.store, square);
            square.iter_mut().for_each(|score| *score *= T::of(scale));
        }
    });
}

/// Writes `P V` per head to `[batch, sequence, hidden]`.
pub(super) fn attention_context<T: Real>(
    arguments: Heads<'_, T>,
    probabilities: &[T],
    rounding: Rounding,
    out: &mut [T],
) {
    let sequence = arguments.shape.sequence;
    out.par_chunks_mut(sequence * arguments.hidden).enumerate().for_each(|(row, out)| {
        let length = arguments.lengths[row];
        let out = MatMut::from_row_major_slice_mut(out, sequence, arguments.hidden);
        out.par_col_chunks_mut(arguments.size()).enumerate().for_each(|(head, out)| {
            let square = &probabilities[(row * arguments.heads + head) * sequence * sequence..][..sequence * sequence];
            let weights = MatRef::from_row_major_slice(square, sequence, sequence).subcols(0, length);
            let value = arguments.part(QkvPart::Value, row, head, length);
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
        let sizes = [(1, 1, 1), (3, 17, 2), (5, 64, 130), (70, 33, 96), (1030, 8, 600)];
        for ((rows, inputs, width), layout) in
            sizes.into_iter().flat_map(|s| [(s, WeightLayout::Rows), (s, WeightLayout::Panels)])
        {
            let (input, weight, bias) = (values(rows * inputs, 1), values(width * inputs, 2), values(width, 3));
            let mut out = vec![f32::NAN; rows * width];
            let stored = if layout == WeightLayout::Panels { panels(&weight, inputs) } else { weight.clone() };
            let arguments =
                LinearArguments { input: &input, weight: &stored, layout, bias: Some(&bias), inputs, width };
            linear(arguments, Rounding::uniform(Format::Fp32), &mut out);
            for (index, y) in out.iter().enumerate() {
                let (row, column) = (index / width, index % width);
                let exact: f64 = (0..inputs)
                    .map(|k| f64::from(input[row * inputs + k]) * f64::from(weight[column * inputs + k]))
                    .sum::<f64>()
                    + f64::from(bias[column]);
                assert!(
                    (f64::from(*y) - exact).abs() < 1e-4,
                    "{layout:?} {rows}x{inputs}x{width} at {index}: {y} {exact}"
                );
            }
        }
    }

    /// 4096 products of 1 with 1: an FP16 accumulator stops at 2048 + 16·k only where sixteen ones still register.
    #[test]
    fn a_narrow_accumulator_is_rounded_every_sixteen_products() {
        let ones = vec![1f32; 3000 * 16];
        let tiny: Vec<f32> = ones.iter().map(|_| 2f32.powi(-5)).collect();
        let mut out = [0f32; 1];
        let arguments = LinearArguments {
            input: &ones,
            weight: &tiny,
            layout: WeightLayout::Rows,
            bias: None,
            inputs: ones.len(),
            width: 1,
        };
        // Sixteen products add 0.5, which ties to even at 1024, where the spacing is 1.
        let rounding = Rounding { compute: Format::Fp16, accumulate: Format::Fp16, store: Format::Fp16 };
        linear(arguments, rounding, &mut out);
        assert_eq!(out[0], 1024.0);
        linear(arguments, Rounding::fp32_accumulated(Format::Fp16), &mut out);
        assert_eq!(out[0], 1500.0);
    }
}
