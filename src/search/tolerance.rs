//! What a policy may do to a set of forwards, and the forward at which it does more.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manifest::schema::SearchTolerance;
use crate::record::certificate::{Breakage, LimitedQuantity};

/// One forward of a policy, compared with the FP32 reference. A value that the output does not have is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ForwardOutcome {
    /// NaN and infinities of the output.
    pub nonfinite: u64,
    /// Output rows compared with the reference.
    pub compared_rows: u64,
    /// Smallest cosine of them.
    pub cosine_min: Option<f64>,
    /// Broken ones among them.
    pub broken_rows: Option<u64>,
    /// Rows of logits with another argmax than the reference.
    pub flips: Option<u64>,
    /// Sum of the negative log-likelihoods of the tokens that follow, nats.
    pub nll_sum: Option<f64>,
    /// Number of these tokens.
    pub nll_tokens: u64,
    /// Wall time of the build, where the forward needed one, and of the forward, seconds.
    pub wall_s: f64,
}

/// Sums over the forwards seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct RunningSums {
    broken_rows: u64,
    flips: u64,
}

impl SearchTolerance {
    /// Adds a forward to the sums; the limit that it breaks, if any. Perplexity is judged over all forwards at once.
    pub(super) fn add(&self, sums: &mut RunningSums, forward: usize, outcome: &ForwardOutcome) -> Option<Breakage> {
        let breaks = |quantity, value, limit| Some(Breakage { forward, quantity, value, limit });
        if outcome.nonfinite > 0 {
            return breaks(LimitedQuantity::Nonfinite, Some(outcome.nonfinite as f64), 0.0);
        }
        if let Some(limit) = self.cosine_min
            && outcome.cosine_min.is_none_or(|cosine| cosine < limit)
        {
            return breaks(LimitedQuantity::CosineMin, outcome.cosine_min, limit);
        }
        let counts = [
            (LimitedQuantity::BrokenRows, self.max_broken_rows, outcome.broken_rows, &mut sums.broken_rows),
            (LimitedQuantity::Flips, self.max_flips, outcome.flips, &mut sums.flips),
        ];
        for (quantity, limit, count, sum) in counts {
            let Some(limit) = limit else { continue };
            let Some(count) = count else { return breaks(quantity, None, limit as f64) };
            *sum += count;
            if *sum > limit {
                return breaks(quantity, Some(*sum as f64), limit as f64);
            }
        }
        None
    }

    /// Judges the perplexity over forwards, given with the outcome of the policy and that of FP32.
    pub(super) fn perplexity(&self, forwards: &[(usize, ForwardOutcome, ForwardOutcome)]) -> Option<Breakage> {
        let limit = self.max_perplexity_ratio?;
        let increase = |(_, ours, fp32): &(usize, ForwardOutcome, ForwardOutcome)| {
            ours.nll_sum.zip(fp32.nll_sum).map_or(f64::INFINITY, |(ours, fp32)| ours - fp32)
        };
        let worst = forwards.iter().max_by(|a, b| increase(a).total_cmp(&increase(b)))?;
        let tokens: u64 = forwards.iter().map(|(_, ours, _)| ours.nll_tokens).sum();
        let ratio = (forwards.iter().map(increase).sum::<f64>() / tokens as f64).exp();
        let value = Some(ratio).filter(|ratio| ratio.is_finite());
        let breakage = Breakage { forward: worst.0, quantity: LimitedQuantity::PerplexityRatio, value, limit };
        value.is_none_or(|ratio| ratio > limit).then_some(breakage)
    }

    /// Whether a break over some forwards may not be one over more of them.
    pub(super) fn is_average(&self) -> bool {
        self.max_perplexity_ratio.is_some()
    }
}

/// The limits of a search that names none: no forward may fail. A row near overflow has a cosine of 0.9987 by one emulation of a
/// policy and 0.9999 by another that sums in a different order, so that a limit much nearer to 1 decides on the order.
pub const DEFAULT_TOLERANCE: SearchTolerance =
    SearchTolerance { cosine_min: None, max_broken_rows: Some(0), max_flips: None, max_perplexity_ratio: None };

impl FromStr for SearchTolerance {
    type Err = String;

    /// `cosine_min=0.999,max_broken_rows=0`
    fn from_str(text: &str) -> Result<Self, String> {
        const KEYS: &str = "cosine_min, max_broken_rows, max_flips and max_perplexity_ratio";
        let mut tolerance = SearchTolerance::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is no KEY=LIMIT"))?;
            let (key, value) = (key.trim(), value.trim());
            let number = |fits: fn(f64) -> bool, words: &str| {
                let number = value.parse::<f64>().ok().filter(|&number| number.is_finite() && fits(number));
                number.ok_or_else(|| format!("`{value}` is no limit of {key}: write {words}"))
            };
            let count = || value.parse::<u64>().map_err(|_| format!("`{value}` is no limit of {key}: write a count"));
            let is_same = |other: &&str| other.split_once('=').is_some_and(|(name, _)| name.trim() == key);
            if text.split(',').filter(is_same).count() > 1 {
                return Err(format!("`{key}` stands there more than once; keep one"));
            }
            match key {
                "cosine_min" => {
                    tolerance.cosine_min = Some(number(|x| (-1.0..=1.0).contains(&x), "a cosine from -1 to 1")?)
                }
                "max_broken_rows" => tolerance.max_broken_rows = Some(count()?),
                "max_flips" => tolerance.max_flips = Some(count()?),
                "max_perplexity_ratio" => {
                    tolerance.max_perplexity_ratio = Some(number(|x| x > 0.0, "a number above 0")?)
                }
                _ => return Err(format!("`{key}` is no limit; limits are {KEYS}")),
            }
        }
        Ok(tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(cosine_min: f64, broken_rows: u64, flips: u64) -> ForwardOutcome {
        ForwardOutcome {
            cosine_min: Some(cosine_min),
            broken_rows: Some(broken_rows),
            flips: Some(flips),
            ..ForwardOutcome::default()
        }
    }

    #[test]
    fn a_count_breaks_at_the_forward_where_its_sum_exceeds_the_limit() {
        let tolerance: SearchTolerance = "cosine_min=0.5,max_broken_rows=2,max_flips=1".parse().unwrap();
        let judge = |outcomes: &[ForwardOutcome]| {
            let mut sums = RunningSums::default();
            let breaks = outcomes.iter().enumerate().filter_map(|(at, one)| tolerance.add(&mut sums, at, one));
            breaks.map(|found| (found.forward, found.quantity, found.value)).next()
        };
        assert_eq!(judge(&[outcome(0.5, 2, 0), outcome(0.9, 0, 1)]), None);
        assert_eq!(judge(&[outcome(0.5, 2, 0), outcome(0.9, 1, 0)]), Some((1, LimitedQuantity::BrokenRows, Some(3.0))));
        assert_eq!(judge(&[outcome(0.9, 0, 1), outcome(0.9, 0, 1)]), Some((1, LimitedQuantity::Flips, Some(2.0))));
        assert_eq!(judge(&[outcome(0.4, 0, 0)]), Some((0, LimitedQuantity::CosineMin, Some(0.4))));
        let nan = ForwardOutcome { nonfinite: 3, cosine_min: None, ..outcome(1.0, 0, 0) };
        assert_eq!(judge(&[nan]), Some((0, LimitedQuantity::Nonfinite, Some(3.0))));
        let undefined = ForwardOutcome { flips: None, ..outcome(1.0, 0, 0) };
        assert_eq!(judge(&[undefined]), Some((0, LimitedQuantity::Flips, None)), "an undefined count breaks its limit");
    }

    /// exp of the mean increase: (0.1 + 0.3) / 20 tokens.
    #[test]
    fn perplexity_is_judged_over_all_forwards_and_names_the_worst() {
        let of = |nll_sum| ForwardOutcome { nll_sum, nll_tokens: 10, ..ForwardOutcome::default() };
        let forwards = [(0, of(Some(5.1)), of(Some(5.0))), (7, of(Some(6.3)), of(Some(6.0)))];
        let judged = |limit: f64| {
            SearchTolerance { max_perplexity_ratio: Some(limit), ..Default::default() }.perplexity(&forwards)
        };
        assert_eq!(judged(1.021), None);
        let found = judged(1.02).unwrap();
        assert_eq!(found.forward, 7);
        assert!((found.value.unwrap() - 0.02f64.exp()).abs() < 1e-12, "{found:?}");
        let unscored = [(3, of(None), of(Some(1.0)))];
        let tolerance = SearchTolerance { max_perplexity_ratio: Some(2.0), ..Default::default() };
        assert_eq!(tolerance.perplexity(&unscored).map(|found| (found.forward, found.value)), Some((3, None)));
        assert_eq!(SearchTolerance::default().perplexity(&unscored), None);
    }

    #[test]
    fn limits_are_read_by_name_and_others_refused_with_the_list() {
        assert_eq!("max_broken_rows=0".parse(), Ok(DEFAULT_TOLERANCE));
        let spaced = "cosine_min = 0.9, max_flips=2".parse::<SearchTolerance>().unwrap();
        assert_eq!(spaced.to_string(), "cosine_min=0.9,max_flips=2");
        let refused = |text: &str| text.parse::<SearchTolerance>().unwrap_err();
        assert!(refused("cosine=0.9").contains("limits are cosine_min, max_broken_rows, max_flips"));
        assert!(refused("cosine_min").contains("`cosine_min` is no KEY=LIMIT"));
        assert!(refused("max_flips=0.5").contains("write a count"));
        for cosine in ["nan", "2", "-1.5"] {
            assert!(refused(&format!("cosine_min={cosine}")).contains("write a cosine from -1 to 1"));
        }
        assert!(refused("max_perplexity_ratio=0").contains("write a number above 0"));
        assert!(
            refused("cosine_min=0.9,max_flips=0,cosine_min=0.99").contains("`cosine_min` stands there more than once")
        );
    }
}
