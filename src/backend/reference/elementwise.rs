//! The operations that are not matrix products: embedding, layer norm, softmax, residual; `activation` has
//! those of one input.
//!
//! Each kernel is generic over the grid of its arithmetic (`C`) and the grid of its sums (`A`). If both are exact, it
//! is the plain FP32 or FP64 computation. Otherwise every elementary operation is rounded, in the order written. All
//! kernels but the embedding work in place. The caller rounds the result to the storage format.

use rayon::prelude::*;

use super::kernels::{EmbeddingArguments, LayerNormArguments, SoftmaxArguments};
use super::real::{Real, vectorised};
use super::rounding::{RoundingGrid, tree_sum};
use crate::graph::{Mask, ReductionOrder};

/// Rows of a tensor that one thread processes at a time.
const ROWS: usize = 8;

/// Elements of a tensor that one thread processes at a time.
pub(super) const CHUNK: usize = 1 << 14;

/// `(word + type) + position`, each sum on the grid `A`.
pub(super) fn embedding<T: Real, A: RoundingGrid<T>>(arguments: EmbeddingArguments<'_, T>, out: &mut [T]) {
    let width = arguments.width;
    out.par_chunks_mut(width).zip(arguments.ids.par_iter()).enumerate().for_each(|(index, (row, &id))| {
        let word = &arguments.word[id as usize * width..][..width];
        let position = &arguments.position[index % arguments.sequence * width..][..width];
        match arguments.token_type {
            Some(table) => {
                let of = arguments.types.map_or(0, |types| types[index] as usize);
                let token_type = &table[of * width..][..width];
                for (((y, w), t), p) in row.iter_mut().zip(word).zip(token_type).zip(position) {
                    *y = A::round(A::round(*w + *t) + *p);
                }
            }
            None => row.iter_mut().zip(word).zip(position).for_each(|((y, w), p)| *y = A::round(*w + *p)),
        }
    });
}

pub(super) fn layer_norm<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(
    arguments: LayerNormArguments<'_, T>,
    values: &mut [T],
) {
    let width = arguments.gamma.len();
    values.par_chunks_mut(width * ROWS).for_each_init(
        || vec![T::ZERO; width],
        |scratch, rows| {
            vectorised(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact_mut(width) {
                        layer_norm_row::<T, C, A>(arguments, row, scratch);
                    }
                },
            );
        },
    );
}

/// Takes two passes: one for the mean, one for the mean of squared deviations. The reciprocal root is rounded once, as
/// on GPUs. If the variance has overflowed, it is 0 and the row silently becomes beta.
#[inline(always)]
fn layer_norm_row<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(
    arguments: LayerNormArguments<'_, T>,
    row: &mut [T],
    scratch: &mut [T],
) {
    let scale = centre::<T, C, A>(arguments, row, scratch);
    for ((x, gamma), beta) in row.iter_mut().zip(arguments.gamma).zip(arguments.beta) {
        *x = C::round(C::round(C::round(*x * scale) * *gamma) + *beta);
    }
}

/// Reciprocal deviation of every row, by the code of the layer norm itself. It is 0 where the variance has overflowed.
pub(super) fn reciprocal_deviations<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(
    arguments: LayerNormArguments<'_, T>,
    values: &mut [T],
) -> Vec<T> {
    let width = arguments.gamma.len();
    let rows = values.par_chunks_exact_mut(width);
    rows.map_init(|| vec![T::ZERO; width], |scratch, row| centre::<T, C, A>(arguments, row, scratch)).collect()
}

/// Leaves the deviations from the mean in `row` and returns the reciprocal of their root mean square.
#[inline(always)]
fn centre<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(
    arguments: LayerNormArguments<'_, T>,
    row: &mut [T],
    scratch: &mut [T],
) -> T {
    let n = C::round(T::of(row.len() as f64));
    scratch.copy_from_slice(row);
    let mean = row_mean::<T, C, A>(scratch, n, arguments.order);
    for (x, square) in row.iter_mut().zip(scratch.iter_mut()) {
        *x = C::round(*x - mean);
        *square = C::round(*x * *x);
    }
    let variance = row_mean::<T, C, A>(scratch, n, arguments.order);
    let stabilised = C::round(variance + C::round(T::of(arguments.epsilon)));
    C::round(stabilised.reciprocal_sqrt())
}

/// Mean of `values`, which it overwrites.
#[inline(always)]
fn row_mean<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(values: &mut [T], n: T, order: ReductionOrder) -> T {
    match order {
        ReductionOrder::SumThenDivide => C::round(sum::<T, A>(values) / n),
        ReductionOrder::DivideFirst => {
            for value in values.iter_mut() {
                *value = C::round(*value / n);
            }
            C::round(sum::<T, A>(values))
        }
    }
}

/// Sum on the grid `A`: the tree that the policies define, or 16 running sums where nothing is rounded.
#[inline(always)]
fn sum<T: Real, A: RoundingGrid<T>>(values: &mut [T]) -> T {
    if !A::EXACT {
        return tree_sum::<T, A>(values);
    }
    let mut lanes = [T::ZERO; 16];
    let mut chunks = values.chunks_exact(16);
    for chunk in chunks.by_ref() {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += *value;
        }
    }
    let mut total = T::ZERO;
    for value in chunks.remainder().iter().chain(lanes.iter()) {
        total += *value;
    }
    total
}

pub(super) fn softmax<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(
    arguments: SoftmaxArguments<'_>,
    values: &mut [T],
) {
    let sequence = arguments.shape.sequence;
    values.par_chunks_mut(sequence * sequence).enumerate().for_each_init(
        || vec![T::ZERO; sequence],
        |scratch, (index, square)| {
            let length = arguments.lengths[index / arguments.heads];
            vectorised(
                #[inline(always)]
                || {
                    for (query, row) in square.chunks_exact_mut(sequence).enumerate() {
                        let permitted = match arguments.mask {
                            Mask::Padding => length,
                            Mask::Causal => length.min(query + 1),
                        };
                        let (keys, masked) = row.split_at_mut(permitted);
                        softmax_row::<T, C, A>(keys, &mut scratch[..permitted]);
                        masked.fill(T::ZERO);
                    }
                },
            );
        },
    );
}

#[inline(always)]
fn softmax_row<T: Real, C: RoundingGrid<T>, A: RoundingGrid<T>>(row: &mut [T], scratch: &mut [T]) {
    let mut lanes = [T::MINUS_INFINITY; 16];
    let mut chunks = row.chunks_exact(16);
    for chunk in chunks.by_ref() {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.larger(*value);
        }
    }
    let mut largest = T::MINUS_INFINITY;
    for value in chunks.remainder().iter().chain(lanes.iter()) {
        largest = largest.larger(*value);
    }
    for (x, copy) in row.iter_mut().zip(scratch.iter_mut()) {
        *x = C::round(C::round(*x - largest).exp());
        *copy = *x;
    }
    let total = sum::<T, A>(scratch);
    for x in row.iter_mut() {
        *x = C::round(*x / total);
    }
}

pub(super) fn residual<T: Real, C: RoundingGrid<T>>(update: &[T], values: &mut [T]) {
    values.par_chunks_mut(CHUNK).zip(update.par_chunks(CHUNK)).for_each(|(values, update)| {
        vectorised(
            #[inline(always)]
            || {
                for (x, y) in values.iter_mut().zip(update) {
                    *x = C::round(*x + *y);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Kernels;
    use super::*;
    use crate::graph::{Format, Rounding, Shape};

    fn norm(rounding: Rounding, order: ReductionOrder, epsilon: f64, row: &[f32]) -> Vec<f32> {
        let (gamma, beta) = (vec![1.0; row.len()], vec![0.25; row.len()]);
        let mut values = row.to_vec();
        f32::layer_norm(rounding, LayerNormArguments { gamma: &gamma, beta: &beta, epsilon, order }, &mut values);
        values
    }

    /// kernels.md: the order of the reduction decides whether FP16 fails silently at row RMS > 9.24 (768 columns).
    #[test]
    fn fp16_layer_norm_returns_beta_when_the_sum_of_squares_overflows_and_not_when_divided_first() {
        let row: Vec<f32> = (0..768).map(|i| if i % 2 == 0 { 10.0 } else { -10.0 }).collect();
        let fp16 = Rounding::uniform(Format::Fp16);
        let silent = norm(fp16, ReductionOrder::SumThenDivide, 1e-5, &row);
        assert!(silent.iter().all(|&y| y == 0.25), "every element is beta");
        let right = norm(fp16, ReductionOrder::DivideFirst, 1e-5, &row);
        assert!((right[0] - 1.25).abs() < 0.01 && (right[1] + 0.75).abs() < 0.01, "{:?}", &right[..2]);
        let fp32 = norm(Rounding::uniform(Format::Fp32), ReductionOrder::SumThenDivide, 1e-5, &row);
        assert!((fp32[0] - 1.25).abs() < 1e-6);
    }

    /// BERT's epsilon 1e-12 is 0 in FP16, so a constant row is 0 times infinity.
    #[test]
    fn fp16_layer_norm_of_a_constant_row_is_nan_with_berts_epsilon() {
        let row = [3.0; 64];
        let (fp16, fp32) = (Rounding::uniform(Format::Fp16), Rounding::uniform(Format::Fp32));
        assert!(norm(fp16, ReductionOrder::SumThenDivide, 1e-12, &row).iter().all(|y| y.is_nan()));
        assert!(norm(fp32, ReductionOrder::SumThenDivide, 1e-12, &row).iter().all(|&y| y == 0.25));
    }

    fn masked(mask: Mask, lengths: &[usize]) -> Vec<f32> {
        let shape = Shape { batch: lengths.len(), sequence: 4 };
        let mut values: Vec<f32> = (0..shape.batch * 16).map(|i| (i % 5) as f32).collect();
        let arguments = SoftmaxArguments { mask, shape, heads: 1, lengths };
        f32::softmax(Rounding::uniform(Format::Fp32), arguments, &mut values);
        values
    }

    #[test]
    fn masked_keys_get_exactly_zero_and_the_rest_sums_to_one() {
        let values = masked(Mask::Causal, &[3]);
        for (query, row) in values.chunks(4).enumerate() {
            let permitted = (query + 1).min(3);
            assert!(row[permitted..].iter().all(|&p| p == 0.0), "{row:?}");
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{row:?}");
        }
        assert_eq!(masked(Mask::Padding, &[2, 4])[..16], masked(Mask::Padding, &[2])[..]);
    }

    #[test]
    fn non_finite_scores_make_the_whole_row_nan() {
        let shape = Shape { batch: 1, sequence: 2 };
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = [bad, 1.0, 1.0, 1.0];
            let arguments = SoftmaxArguments { mask: Mask::Padding, shape, heads: 1, lengths: &[2] };
            f32::softmax(Rounding::uniform(Format::Fp32), arguments, &mut values);
            assert!(values[0].is_nan() && values[2] == 0.5, "{values:?}");
        }
    }
}
