//! Compares outputs with the reference: non-finite values first, then distances, then the manifest's tolerance. Padding
//! never counts.
//!
//! A compared row is broken when it is finite and its cosine or its relative L2 error is beyond the manifest's limit. A row
//! with NaN or infinity has failed already and is not counted a second time.

use rayon::prelude::*;

use super::ReferenceOutputs;
use crate::engine::Output;
use crate::graph::OutputKind;
use crate::input::Batch;
use crate::manifest::schema::{Numerics, Tolerance};
use crate::record::NumericsSummary;

/// Compares an engine's output with the reference outputs of the same sequences; `settings` says which rows are broken.
///
/// Non-finite values are counted over the whole output first. When a compared vector is not finite, or nothing could be
/// compared, cosine, maximum and L2 are undefined (`None`), and every limit on them is broken.
pub fn compare(
    output: &Output,
    batch: &Batch,
    reference: Result<&ReferenceOutputs, String>,
    settings: Numerics,
    tolerance: Option<&Tolerance>,
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
            fill(&mut summary, &rows, output.kind, settings);
            None
        }
        Err(reason) => Some(format!("not compared: {reason}")),
    };
    let limiting = tolerance.filter(|tolerance| tolerance.limits_values());
    let broken = limiting.map(|tolerance| broken_limits(&summary, tolerance));
    summary.within_tolerance = broken.as_ref().map(Vec::is_empty);
    let remarks: Vec<String> = missing.into_iter().chain(broken.into_iter().flatten()).collect();
    summary.remark = (!remarks.is_empty()).then(|| remarks.join("; "));
    summary
}

/// Rows of the output without padding, as (row index, row).
fn unpadded<'a>(output: &'a Output, batch: &'a Batch) -> impl ParallelIterator<Item = (usize, &'a [f32])> {
    let sequence = batch.shape.sequence;
    output.values.par_chunks(output.width).enumerate().filter(move |(index, _)| match output.kind {
        OutputKind::ClassLogits | OutputKind::LastTokenLogits => true,
        OutputKind::Hidden | OutputKind::TokenLogits => index % sequence < batch.lengths[index / sequence],
    })
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
    cosine: f64,
    max_abs: f64,
    squared_error: f64,
    squared_reference: f64,
    same_argmax: bool,
}

impl RowDistance {
    /// Whether the row is finite and beyond a limit. An error against a reference of zeros is beyond every limit.
    fn is_broken(&self, settings: Numerics) -> bool {
        let error = self.squared_error.sqrt();
        let beyond = error > settings.broken_relative_l2 * self.squared_reference.sqrt();
        self.finite && (self.cosine < settings.broken_cosine || beyond)
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
    Ok(rows.par_iter().map(|&(ours, theirs)| row_distance(row(output, ours), row(reference, theirs))).collect())
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
        cosine,
        max_abs,
        squared_error,
        squared_reference,
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
pub(super) fn fill(summary: &mut NumericsSummary, rows: &[RowDistance], kind: OutputKind, settings: Numerics) {
    summary.compared_rows = rows.len() as u64;
    let count = rows.len() as f64;
    if rows.is_empty() {
        return;
    }
    summary.broken_rows = Some(rows.iter().filter(|row| row.is_broken(settings)).count() as u64);
    if kind.is_logits() {
        let same = rows.iter().filter(|row| row.same_argmax).count();
        summary.argmax_agreement = Some(same as f64 / count);
    }
    if rows.iter().any(|row| !row.finite) {
        return;
    }
    let sum = |value: fn(&RowDistance) -> f64| rows.iter().map(value).sum::<f64>();
    summary.cosine_min = rows.iter().map(|row| row.cosine).reduce(f64::min);
    summary.cosine_mean = Some(sum(|row| row.cosine) / count);
    summary.max_abs = rows.iter().map(|row| row.max_abs).reduce(f64::max);
    let reference = sum(|row| row.squared_reference);
    summary.relative_l2 = (reference > 0.0).then(|| (sum(|row| row.squared_error) / reference).sqrt());
}

/// Applies the tolerance to all forwards, which are known last: its limits on non-finite values, on the cosine and on broken
/// rows. An undefined number breaks its limit.
pub fn limit_forwards(summary: &mut NumericsSummary, tolerance: Option<&Tolerance>) {
    let Some(tolerance) = tolerance else { return };
    let forwards = summary.forwards.clone().unwrap_or_default();
    let mut remarks = Vec::new();
    // What holds of the first pass was said of it.
    if forwards.forwards > 1 {
        let failing = forwards.nan_forwards.max(forwards.inf_forwards);
        if failing > 0 && !tolerance.allow_nonfinite {
            remarks.push(format!("the outputs of {failing} of {} passes are not finite", forwards.forwards));
        }
        remarks.extend(tolerance.cosine_min.and_then(|limit| match forwards.cosine_min {
            Some(cosine) if cosine >= limit => None,
            Some(cosine) => Some(format!("minimum cosine {cosine} of all passes breaks the limit {limit}")),
            None => Some(format!("minimum cosine of all passes is undefined, its limit is {limit}")),
        }));
    }
    let counts = forwards.broken_rows.zip(forwards.compared_rows);
    remarks.extend(tolerance.max_broken_rows.and_then(|limit| match counts {
        Some((broken, _)) if broken <= limit => None,
        Some((broken, compared)) => {
            Some(format!("{broken} of {compared} compared rows are broken, which breaks the limit {limit}"))
        }
        None => Some(format!("the number of broken rows is undefined, its limit is {limit}")),
    }));
    for remark in remarks {
        summary.within_tolerance = Some(false);
        summary.add_remark(&remark);
    }
}

/// One sentence per broken limit. An undefined value breaks its limit, so NaN never passes.
fn broken_limits(summary: &NumericsSummary, tolerance: &Tolerance) -> Vec<String> {
    let mut broken = Vec::new();
    let nonfinite = summary.nan_count + summary.inf_count;
    if nonfinite > 0 && !tolerance.allow_nonfinite {
        broken.push(format!("{nonfinite} of {} output values are not finite", summary.output_elements));
    }
    let mut check = |name: &str, value: Option<f64>, limit: Option<f64>, keeps: fn(f64, f64) -> bool| {
        let Some(limit) = limit else { return };
        match value {
            Some(value) if keeps(value, limit) => {}
            Some(value) => broken.push(format!("{name} {value} breaks the limit {limit}")),
            None => broken.push(format!("{name} is undefined, its limit is {limit}")),
        }
    };
    check("minimum cosine", summary.cosine_min, tolerance.cosine_min, |value, limit| value >= limit);
    check("maximum error", summary.max_abs, tolerance.max_abs, |value, limit| value <= limit);
    check("relative L2 error", summary.relative_l2, tolerance.relative_l2, |value, limit| value <= limit);
    if let (Some(value), Some(limit)) = (summary.argmax_agreement, tolerance.argmax_agreement) {
        check("argmax agreement", Some(value), Some(limit), |value, limit| value >= limit);
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Shape;
    use crate::record::ForwardSummary;

    fn output(values: &[f32]) -> Output {
        Output { kind: OutputKind::TokenLogits, rows: values.len() / 2, width: 2, values: values.to_vec() }
    }

    fn batch(lengths: &[usize]) -> Batch {
        let shape = Shape { batch: lengths.len(), sequence: 2 };
        Batch { shape, ids: vec![0; shape.tokens()], lengths: lengths.to_vec(), labels: None, next_ids: None }
    }

    fn run(values: &[f32], lengths: &[usize], reference: &[f32], tolerance: Option<Tolerance>) -> NumericsSummary {
        let reference = ReferenceOutputs { origin: String::new(), output: output(reference) };
        compare(&output(values), &batch(lengths), Ok(&reference), Numerics::DEFAULT, tolerance.as_ref())
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
            compare(&output(values), &batch(&[2]), Ok(&reference), settings, None).broken_rows
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

    #[test]
    fn broken_rows_of_all_forwards_are_limited() {
        let limited = |counts: Option<(u64, u64)>, limit| {
            let forwards = ForwardSummary {
                compared_rows: counts.map(|(_, compared)| compared),
                broken_rows: counts.map(|(broken, _)| broken),
                ..ForwardSummary::default()
            };
            let mut summary = NumericsSummary {
                within_tolerance: Some(true),
                remark: Some("not scored: no".to_owned()),
                forwards: Some(forwards),
                ..NumericsSummary::default()
            };
            limit_forwards(&mut summary, Some(&Tolerance { max_broken_rows: limit, ..Tolerance::default() }));
            (summary.within_tolerance, summary.remark.unwrap())
        };
        assert_eq!(limited(Some((3, 9)), Some(3)), (Some(true), "not scored: no".to_owned()));
        assert_eq!(limited(Some((3, 9)), None).0, Some(true));
        let (within, remark) = limited(Some((3, 9)), Some(2));
        assert_eq!(
            (within, remark.as_str()),
            (Some(false), "not scored: no; 3 of 9 compared rows are broken, which breaks the limit 2")
        );
        assert!(limited(None, Some(2)).1.ends_with("the number of broken rows is undefined, its limit is 2"));
    }

    #[test]
    fn limits_hold_for_every_pass_and_not_for_the_first_alone() {
        let limited = |nan_forwards, cosine_min, limits: Tolerance| {
            let forwards = ForwardSummary { forwards: 24, nan_forwards, cosine_min, ..ForwardSummary::default() };
            let mut summary = NumericsSummary {
                within_tolerance: Some(true),
                cosine_min: Some(0.999_97),
                forwards: Some(forwards),
                ..NumericsSummary::default()
            };
            limit_forwards(&mut summary, Some(&limits));
            (summary.within_tolerance, summary.remark.unwrap_or_default())
        };
        let cosine = Tolerance { cosine_min: Some(0.9998), ..Tolerance::default() };
        assert_eq!(limited(0, Some(0.9998), cosine), (Some(true), String::new()));
        let (within, remark) = limited(0, Some(0.9982), cosine);
        assert_eq!(
            (within, remark.as_str()),
            (Some(false), "minimum cosine 0.9982 of all passes breaks the limit 0.9998")
        );
        let (within, remark) = limited(3, None, cosine);
        let both = "the outputs of 3 of 24 passes are not finite; minimum cosine of all passes is undefined, its limit is 0.9998";
        assert_eq!((within, remark.as_str()), (Some(false), both));
        let allowed = Tolerance { allow_nonfinite: true, ..Tolerance::default() };
        assert_eq!(limited(3, None, allowed).0, Some(true));
    }

    #[test]
    fn a_missing_or_broken_reference_is_said() {
        let limit = Tolerance { cosine_min: Some(0.9), ..Tolerance::default() };
        let summary =
            compare(&output(&[1.0, 2.0]), &batch(&[1]), Err("no file".to_owned()), Numerics::DEFAULT, Some(&limit));
        assert_eq!((summary.within_tolerance, summary.compared_rows), (Some(false), 0));
        let remark = summary.remark.unwrap();
        assert_eq!(remark, "not compared: no file; minimum cosine is undefined, its limit is 0.9");
        let summary = run(&[1.0, 2.0], &[1], &[f32::NAN, 1.0], None);
        assert!(summary.remark.unwrap().contains("reference itself is not finite"));
    }
}
