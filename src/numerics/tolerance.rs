//! The manifest's tolerance for a policy, held against a comparison.

use crate::manifest::schema::Tolerance;
use crate::record::{NOT_CHECKED, NumericsSummary};

/// Applies the tolerance to all forwards, which are known last: its limits on non-finite values, on the cosine and on broken
/// rows. An undefined number breaks its limit; an output of one number has no cosine to limit.
pub fn limit_forwards(summary: &mut NumericsSummary, tolerance: Option<&Tolerance>, has_cosine: bool) {
    let Some(tolerance) = tolerance else { return };
    let forwards = summary.forwards.clone().unwrap_or_default();
    let mut remarks = Vec::new();
    // What holds of the first pass was said of it.
    if forwards.forwards > 1 {
        let failing = forwards.nan_forwards.max(forwards.inf_forwards);
        if failing > 0 && !tolerance.allow_nonfinite {
            remarks.push(format!("the outputs of {failing} of {} passes are not finite", forwards.forwards));
        }
        remarks.extend(tolerance.cosine_min.filter(|_| has_cosine).and_then(|limit| match forwards.cosine_min {
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
    if remarks.is_empty() && tolerance.max_broken_rows.is_some() {
        // Of a tolerance whose other limits were not checked, this one was.
        summary.within_tolerance.get_or_insert(true);
    }
    for remark in remarks {
        summary.within_tolerance = Some(false);
        summary.add_remark(&remark);
    }
}

/// The quantities that an output of some kind has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meant {
    pub cosine: bool,
    pub argmax: bool,
}

/// A tolerance's limits, held against a comparison.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// One sentence per broken limit.
    broken: Vec<String>,
    /// Limits on quantities that the output does not have.
    unchecked: Vec<&'static str>,
    /// Limits on values that were checked.
    checked: usize,
}

impl Judged {
    /// An undefined value of a quantity that the output has breaks its limit, so NaN never passes.
    pub fn of(summary: &NumericsSummary, tolerance: &Tolerance, meant: Meant) -> Self {
        let mut judged = Judged::default();
        let nonfinite = summary.nan_count + summary.inf_count;
        if nonfinite > 0 && !tolerance.allow_nonfinite {
            judged.broken.push(format!("{nonfinite} of {} output values are not finite", summary.output_elements));
        }
        let mut check = |name, is_meant: bool, value: Option<f64>, limit: Option<f64>, keeps: fn(f64, f64) -> bool| {
            let Some(limit) = limit else { return };
            if !is_meant {
                return judged.unchecked.push(name);
            }
            judged.checked += 1;
            match value {
                Some(value) if keeps(value, limit) => {}
                Some(value) => judged.broken.push(format!("{name} {value} breaks the limit {limit}")),
                None => judged.broken.push(format!("{name} is undefined, its limit is {limit}")),
            }
        };
        let (cosine, argmax) = (summary.cosine_min, summary.argmax_agreement);
        check("minimum cosine", meant.cosine, cosine, tolerance.cosine_min, |value, limit| value >= limit);
        check("maximum error", true, summary.max_abs, tolerance.max_abs, |value, limit| value <= limit);
        check("relative L2 error", true, summary.relative_l2, tolerance.relative_l2, |value, limit| value <= limit);
        check("argmax agreement", meant.argmax, argmax, tolerance.argmax_agreement, |value, limit| value >= limit);
        judged
    }

    /// `None` where limits on values were set and none of them could be checked.
    pub fn kept(&self) -> Option<bool> {
        match (self.broken.is_empty(), self.unchecked.is_empty() || self.checked > 0) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }

    pub fn remarks(self) -> impl Iterator<Item = String> {
        let names = self.unchecked.join(" and ");
        let unchecked = (!names.is_empty()).then(|| format!("{NOT_CHECKED}{names}, which this output does not have"));
        self.broken.into_iter().chain(unchecked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ForwardSummary;

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
            limit_forwards(&mut summary, Some(&Tolerance { max_broken_rows: limit, ..Tolerance::default() }), true);
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
            limit_forwards(&mut summary, Some(&limits), true);
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
}
