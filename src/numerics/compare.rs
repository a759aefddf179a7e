//! Compares outputs with the reference: non-finite values first, then distances, then the manifest's tolerance. Padding
//! never counts.
//!
//! A compared row is broken when it is finite and its cosine or its relative L2 error is beyond the manifest's limit. A row
//! with NaN or infinity has failed already and is not counted a second time.
//!
//! Where an output row is one number (a head with one output), its cosine is the number's sign and its argmax is always the
//! first: neither is formed. The numbers of a batch are compared as one vector, by relative L2 error, and by their order, by
//! Spearman's rank correlation. Such a row is broken by its error relative to the root mean square of the numbers of its
//! reference file: of `compare_sequences`, or of the few sequences of forwards that share a file. Relative to itself, a
//! number near zero would be broken by any rounding.

use rayon::prelude::*;

use super::ReferenceOutputs;
use super::tolerance::{Judged, Meant};
use crate::engine::Output;
use crate::input::Batch;
use crate::manifest::schema::{Numerics, Tolerance};
use crate::record::NumericsSummary;
use crate::stats::spearman;

/// What outputs are held against.
#[derive(Debug, Clone, Copy)]
pub struct ComparisonSettings<'a> {
    /// Which rows are broken.
    pub settings: Numerics,
    /// The manifest's limits for the policy.
    pub tolerance: Option<&'a Tolerance>,
    /// Whether logits are those of alternatives, so that their argmax means something.
    pub alternatives: bool,
}

/// Compares an engine's output with the reference outputs of the same sequences.
///
/// Non-finite values are counted over the whole output first. When a compared vector is not finite, or nothing could be
/// compared, cosine, maximum and L2 are undefined (`None`), and every limit on them is broken. A limit on a quantity that
/// this kind of output does not have is not checked, and the remark says so.
pub fn compare(
    output: &Output,
    batch: &Batch,
    reference: Result<&ReferenceOutputs, String>,
    ComparisonSettings { settings, tolerance, alternatives }: ComparisonSettings<'_>,
) -> NumericsSummary {
    let mut summary = count_nonfinite(output, batch);
    let compared = |reference: &ReferenceOutputs| {
        let compared = reference.output.rows.min(output.rows);
        let rows: Vec<_> = unpadded(output, batch).map(|(index, _)| (index, index)).collect();
        let rows: Vec<_> = rows.into_iter().filter(|(index, _)| *index < compared).collect();
        distances(output, &reference.output, &rows)
    };
    let missing = match reference.and_then(compared) {
        Ok(rows) => {
            fill(&mut summary, &rows, output, settings);
            None
        }
        Err(reason) => Some(format!("not compared: {reason}")),
    };
    if !alternatives {
        summary.argmax_agreement = None;
    }
    let meant = Meant { cosine: output.width > 1, argmax: output.kind.is_logits() && alternatives && output.width > 1 };
    let limiting = tolerance.filter(|tolerance| tolerance.limits_values());
    let judged = limiting.map(|tolerance| Judged::of(&summary, tolerance, meant));
    summary.within_tolerance = judged.as_ref().and_then(Judged::kept);
    let remarks = missing.into_iter().chain(judged.into_iter().flat_map(Judged::remarks)).collect::<Vec<_>>();
    summary.remark = (!remarks.is_empty()).then(|| remarks.join("; "));
    summary
}

/// Rows of the output without padding, as (row index, row).
fn unpadded<'a>(output: &'a Output, batch: &'a Batch) -> impl ParallelIterator<Item = (usize, &'a [f32])> {
    let sequence = batch.shape.sequence;
    output
        .values
        .par_chunks(output.width)
        .enumerate()
        .filter(move |(index, _)| output.kind.is_by_sequence() || index % sequence < batch.lengths[index / sequence])
}

pub(super) fn count_nonfinite(output: &Output, batch: &Batch) -> NumericsSummary {
    let count = |row: &[f32], test: fn(&f32) -> bool| row.iter().filter(|x| test(x)).count() as u64;
    let (elements, nans, infinities) = unpadded(output, batch)
        .map(|(_, row)| (row.len() as u64, count(row, |x| x.is_nan()), count(row, |x| x.is_infinite())))
        .reduce(|| (0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    NumericsSummary { output_elements: elements, nan_count: nans, inf_count: infinities, ..Default::default() }
}

/// Sums over one compared vector, in f64.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowDistance {
    finite: bool,
    /// `None` of one number.
    cosine: Option<f64>,
    max_abs: f64,
    squared_error: f64,
    squared_reference: f64,
    /// Square of the length that an error is relative to.
    squared_scale: f64,
    /// First number of the row and of its reference: all of it, where a row is one number.
    numbers: (f64, f64),
    same_argmax: bool,
}

impl RowDistance {
    /// Whether the row is finite and beyond a limit. An error against a reference of zeros is beyond every limit.
    fn is_broken(&self, settings: Numerics) -> bool {
        let error = self.squared_error.sqrt();
        let beyond = error > settings.broken_relative_l2 * self.squared_scale.sqrt();
        self.finite && (self.cosine.is_some_and(|cosine| cosine < settings.broken_cosine) || beyond)
    }
}

/// Distances of rows of an output from rows of the reference, given as pairs of their indices, in the order given.
pub(super) fn distances(
    output: &Output,
    reference: &Output,
    rows: &[(usize, usize)],
) -> Result<Vec<RowDistance>, String> {
    if (output.kind, output.width) != (reference.kind, reference.width) {
        return Err(format!(
            "the output is {:?} of width {}, the reference {:?} of width {}",
            output.kind, output.width, reference.kind, reference.width
        ));
    }
    fn row(of: &Output, index: usize) -> &[f32] {
        &of.values[index * of.width..][..of.width]
    }
    if rows.par_iter().any(|&(_, index)| row(reference, index).iter().any(|x| !x.is_finite())) {
        return Err("the FP32 reference itself is not finite".to_owned());
    }
    let distance = |&(ours, theirs): &(usize, usize)| row_distance(row(output, ours), row(reference, theirs));
    if output.width > 1 {
        return Ok(rows.par_iter().map(distance).collect());
    }
    let squares: f64 = reference.values.iter().map(|&value| f64::from(value).powi(2)).sum();
    let squared_scale = squares / reference.values.len() as f64;
    Ok(rows.iter().map(|row| RowDistance { cosine: None, squared_scale, ..distance(row) }).collect())
}

fn row_distance(row: &[f32], reference: &[f32]) -> RowDistance {
    let (mut dot, mut norm, mut squared_reference, mut squared_error) = (0f64, 0f64, 0f64, 0f64);
    let mut max_abs = 0f64;
    for (&x, &r) in row.iter().zip(reference) {
        let (x, r) = (f64::from(x), f64::from(r));
        dot += x * r;
        norm += x * x;
        squared_reference += r * r;
        squared_error += (x - r) * (x - r);
        max_abs = max_abs.max((x - r).abs());
    }
    let product = (norm * squared_reference).sqrt();
    let cosine = match (norm == 0.0, squared_reference == 0.0) {
        (true, true) => 1.0,
        (true, false) | (false, true) => 0.0,
        // Rounding may push a perfect match slightly above 1.
        (false, false) => (dot / product).min(1.0),
    };
    RowDistance {
        finite: row.iter().all(|x| x.is_finite()),
        cosine: Some(cosine),
        max_abs,
        squared_error,
        squared_reference,
        squared_scale: squared_reference,
        numbers: [row, reference].map(|row| row.first().map_or(0.0, |&x| f64::from(x))).into(),
        same_argmax: argmax(row).is_some() && argmax(row) == argmax(reference),
    }
}

/// Index of the largest element, the first one of a tie. `None` when any element is NaN.
pub(super) fn argmax(row: &[f32]) -> Option<usize> {
    if row.iter().any(|x| x.is_nan()) {
        return None;
    }
    row.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(index, _)| index)
}

/// Fills in what follows from the compared rows.
pub(super) fn fill(summary: &mut NumericsSummary, rows: &[RowDistance], output: &Output, settings: Numerics) {
    summary.compared_rows = rows.len() as u64;
    let count = rows.len() as f64;
    if rows.is_empty() {
        return;
    }
    summary.broken_rows = Some(rows.iter().filter(|row| row.is_broken(settings)).count() as u64);
    if output.kind.is_logits() && output.width > 1 {
        let same = rows.iter().filter(|row| row.same_argmax).count();
        summary.argmax_agreement = Some(same as f64 / count);
    }
    if rows.iter().any(|row| !row.finite) {
        return;
    }
    let sum = |value: fn(&RowDistance) -> f64| rows.iter().map(value).sum::<f64>();
    let cosines: Option<Vec<f64>> = rows.iter().map(|row| row.cosine).collect();
    summary.cosine_min = cosines.as_ref().and_then(|all| all.iter().copied().reduce(f64::min));
    summary.cosine_mean = cosines.map(|all| all.iter().sum::<f64>() / count);
    if output.width == 1 {
        let (ours, theirs): (Vec<f64>, Vec<f64>) = rows.iter().map(|row| row.numbers).unzip();
        summary.rank_correlation = spearman(&ours, &theirs);
    }
    summary.max_abs = rows.iter().map(|row| row.max_abs).reduce(f64::max);
    let reference = sum(|row| row.squared_reference);
    summary.relative_l2 = (reference > 0.0).then(|| (sum(|row| row.squared_error) / reference).sqrt());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{OutputKind, Shape};

    fn output(values: &[f32]) -> Output {
        Output { kind: OutputKind::TokenLogits, rows: values.len() / 2, width: 2, values: values.to_vec() }
    }

    fn batch(lengths: &[usize]) -> Batch {
        let shape = Shape { batch: lengths.len(), sequence: 2 };
        Batch::new(shape, vec![0; shape.tokens()], lengths.to_vec())
    }

    fn limits(settings: Numerics, tolerance: Option<&Tolerance>) -> ComparisonSettings<'_> {
        ComparisonSettings { settings, tolerance, alternatives: true }
    }

    fn run(values: &[f32], lengths: &[usize], reference: &[f32], tolerance: Option<Tolerance>) -> NumericsSummary {
        let reference = ReferenceOutputs { origin: String::new(), output: output(reference) };
        compare(&output(values), &batch(lengths), Ok(&reference), limits(Numerics::DEFAULT, tolerance.as_ref()))
    }

    #[test]
    fn known_vectors_give_known_distances() {
        let summary = run(&[3.0, 4.0, 0.0, 2.0], &[2], &[4.0, 3.0, 0.0, 1.0], None);
        assert_eq!((summary.compared_rows, summary.output_elements), (2, 4));
        assert_eq!(summary.cosine_min, Some(24.0 / 25.0));
        assert_eq!(summary.cosine_mean, Some((24.0 / 25.0 + 1.0) / 2.0));
        assert_eq!(summary.max_abs, Some(1.0));
        assert_eq!(summary.relative_l2, Some((3.0f64 / 26.0).sqrt()));
        assert_eq!(summary.argmax_agreement, Some(0.5), "the first row's argmax flipped");
    }

    #[test]
    fn padding_is_neither_counted_nor_compared() {
        let nan = f32::NAN;
        let summary = run(&[1.0, 2.0, nan, nan, 5.0, 6.0, 7.0, 8.0], &[1, 2], &[1.0, 2.0, 0.0, 0.0], None);
        assert_eq!((summary.output_elements, summary.nan_count, summary.compared_rows), (6, 0, 1));
        assert_eq!(summary.cosine_min, Some(1.0));
    }

    #[test]
    fn nan_is_counted_first_and_never_passes() {
        let limit = Tolerance { cosine_min: Some(0.1), ..Tolerance::default() };
        let summary = run(&[f32::NAN, f32::INFINITY, 1.0, 1.0], &[2], &[1.0, 1.0, 1.0, 1.0], Some(limit));
        assert_eq!((summary.nan_count, summary.inf_count), (1, 1));
        assert_eq!((summary.cosine_min, summary.max_abs, summary.relative_l2), (None, None, None));
        assert_eq!(summary.within_tolerance, Some(false));
        assert_eq!(summary.argmax_agreement, Some(0.5), "a NaN row agrees with nothing");
        let remark = summary.remark.unwrap();
        assert!(remark.contains("2 of 4 output values") && remark.contains("minimum cosine is undefined"), "{remark}");
        let allowed = Tolerance { allow_nonfinite: true, ..limit };
        let summary = run(&[f32::NAN, 1.0, 1.0, 1.0], &[2], &[1.0, 1.0, 1.0, 1.0], Some(allowed));
        assert_eq!((summary.within_tolerance, summary.nan_count), (Some(false), 1), "its cosine is undefined");
        let counted = Tolerance { allow_nonfinite: true, ..Tolerance::default() };
        let summary = run(&[f32::NAN, 1.0, 1.0, 1.0], &[2], &[1.0, 1.0, 1.0, 1.0], Some(counted));
        assert_eq!(summary.within_tolerance, None, "nothing limits what is allowed");
    }

    #[test]
    fn limits_are_kept_or_broken_by_value() {
        let limit = |cosine_min| Some(Tolerance { cosine_min: Some(cosine_min), ..Tolerance::default() });
        assert_eq!(run(&[3.0, 4.0], &[1], &[4.0, 3.0], limit(0.96)).within_tolerance, Some(true));
        let broken = run(&[3.0, 4.0], &[1], &[4.0, 3.0], limit(0.97));
        assert_eq!(broken.within_tolerance, Some(false));
        assert!(broken.remark.unwrap().contains("minimum cosine 0.96 breaks the limit 0.97"));
    }

    /// (3, 4) and (4, 3): the cosine is 24 / 25, the relative error sqrt(2) / 5.
    #[test]
    fn a_row_at_a_limit_is_whole_and_one_beyond_it_is_broken() {
        let broken = |values: &[f32], reference: &[f32], broken_cosine, broken_relative_l2| {
            let reference = ReferenceOutputs { origin: String::new(), output: output(reference) };
            let settings = Numerics { broken_cosine, broken_relative_l2, ..Numerics::DEFAULT };
            compare(&output(values), &batch(&[2]), Ok(&reference), limits(settings, None)).broken_rows
        };
        let (ours, theirs) = ([3.0, 4.0, 0.0, 2.0], [4.0, 3.0, 0.0, 2.0]);
        assert_eq!(broken(&ours, &theirs, 0.96, 1.0), Some(0));
        assert_eq!(broken(&ours, &theirs, 0.960_001, 1.0), Some(1));
        // (0, 10) and (0, 11): parallel, and a tenth too long.
        let (ours, theirs) = ([0.0, 11.0, 1.0, 1.0], [0.0, 10.0, 1.0, 1.0]);
        assert_eq!(broken(&ours, &theirs, 0.99, 0.1), Some(0));
        assert_eq!(broken(&ours, &theirs, 0.99, 0.099_999), Some(1));
        assert_eq!(broken(&[0.0, 0.0, 1.0, 0.0], &[0.0; 4], 0.99, 0.1), Some(1), "zeros equal zeros, and only zeros");
        let nan = [f32::NAN, 1.0, 9.0, -9.0];
        assert_eq!(broken(&nan, &[1.0; 4], 0.99, 0.1), Some(1), "a NaN row has failed already");
    }

    /// Scores of sequences under one output.
    fn scored(values: &[f32], reference: &[f32], tolerance: Option<Tolerance>) -> NumericsSummary {
        let output = |values: &[f32]| Output {
            kind: OutputKind::ClassLogits,
            rows: values.len(),
            width: 1,
            values: values.to_vec(),
        };
        let reference = ReferenceOutputs { origin: String::new(), output: output(reference) };
        let batch = batch(&vec![2; values.len()]);
        compare(&output(values), &batch, Ok(&reference), limits(Numerics::DEFAULT, tolerance.as_ref()))
    }

    #[test]
    fn one_number_has_no_cosine_and_no_argmax_but_an_error_and_an_order() {
        let (ours, theirs) = ([4.0, 2.0, 1.0, 3.0], [4.0, 1.0, 2.0, 3.0]);
        let summary = scored(&ours, &theirs, None);
        assert_eq!((summary.cosine_min, summary.cosine_mean, summary.argmax_agreement), (None, None, None));
        assert_eq!((summary.max_abs, summary.relative_l2), (Some(1.0), Some((2.0f64 / 30.0).sqrt())));
        // 1 - 6 * (1 + 1) / (4 * 15)
        assert_eq!(summary.rank_correlation, Some(0.8));
        // A tenth of the root mean square, sqrt(30 / 4), is 0.27: two rows are farther away.
        assert_eq!(summary.broken_rows, Some(2));
        let near_zero = scored(&[0.002, -5.0, 5.0], &[0.001, -5.0, 5.0], None);
        assert_eq!(
            (near_zero.broken_rows, near_zero.rank_correlation),
            (Some(0), Some(1.0)),
            "twice too large, and small"
        );
        assert_eq!(scored(&[0.0, 1.0], &[0.0, 1.0], None).rank_correlation, None, "two have no order to speak of");
        assert_eq!(scored(&[f32::NAN, 1.0, 2.0], &[0.0, 1.0, 2.0], None).rank_correlation, None);
    }

    #[test]
    fn a_limit_on_what_an_output_does_not_have_is_not_kept() {
        let no_value = Tolerance { cosine_min: Some(0.9998), argmax_agreement: Some(0.99), ..Tolerance::default() };
        let far = scored(&[4.0, 2.0, 1.0], &[1.0, 2.0, 4.0], Some(no_value));
        assert_eq!(far.within_tolerance, None);
        let remark = far.remark.unwrap();
        assert_eq!(
            remark,
            "not checked: the limit on minimum cosine and argmax agreement, which this output does not have"
        );
        let judged = |limit| {
            let tolerance = Tolerance { relative_l2: Some(limit), ..no_value };
            scored(&[4.0, 2.0, 1.0], &[4.0, 2.0, 1.5], Some(tolerance)).within_tolerance
        };
        assert_eq!((judged(0.2), judged(0.01)), (Some(true), Some(false)));
        let nan = scored(&[f32::NAN, 2.0, 1.0], &[4.0, 2.0, 1.5], Some(no_value));
        assert_eq!(nan.within_tolerance, Some(false), "NaN breaks the tolerance whatever it limits");
    }

    #[test]
    fn labels_that_may_hold_together_have_no_argmax() {
        let reference = ReferenceOutputs { origin: String::new(), output: output(&[1.0, 2.0]) };
        let tolerance = Tolerance { cosine_min: Some(0.9), argmax_agreement: Some(1.0), ..Tolerance::default() };
        let limits = ComparisonSettings { alternatives: false, ..limits(Numerics::DEFAULT, Some(&tolerance)) };
        let summary = compare(&output(&[1.0, 2.0]), &batch(&[1]), Ok(&reference), limits);
        assert_eq!((summary.argmax_agreement, summary.within_tolerance), (None, Some(true)));
        assert!(summary.remark.unwrap().contains("the limit on argmax agreement, which"));
    }

    #[test]
    fn a_missing_or_broken_reference_is_said() {
        let limit = Tolerance { cosine_min: Some(0.9), ..Tolerance::default() };
        let summary = compare(
            &output(&[1.0, 2.0]),
            &batch(&[1]),
            Err("no file".to_owned()),
            limits(Numerics::DEFAULT, Some(&limit)),
        );
        assert_eq!((summary.within_tolerance, summary.compared_rows), (Some(false), 0));
        let remark = summary.remark.unwrap();
        assert_eq!(remark, "not compared: no file; minimum cosine is undefined, its limit is 0.9");
        let summary = run(&[1.0, 2.0], &[1], &[f32::NAN, 1.0], None);
        assert!(summary.remark.unwrap().contains("reference itself is not finite"));
    }
}
