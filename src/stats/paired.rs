//! Paired comparison of two classifiers on the same sentences.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

/// Outcome of an exact McNemar test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Items the first answers rightly and the second wrongly.
    pub only_first: u64,
    /// Items the second answers rightly and the first wrongly.
    pub only_second: u64,
    /// Two-sided p value: how likely a split this uneven is when neither is better. 1 when they never differ.
    pub p_value: f64,
}

/// Exact McNemar test (McNemar 1947, with the binomial instead of the chi-square approximation):
/// `p = min(1, 2 P(Binomial(b + c, 1/2) <= min(b, c)))` over the b + c items on which exactly one is right.
///
/// Item i of each slice says whether that classifier answered item i rightly. `None` when the lengths differ.
pub fn mcnemar(first: &[bool], second: &[bool]) -> Option<McNemar> {
    if first.len() != second.len() {
        return None;
    }
    let count = |wanted: (bool, bool)| first.iter().zip(second).filter(|&(&a, &b)| (a, b) == wanted).count() as u64;
    let (only_first, only_second) = (count((true, false)), count((false, true)));
    let flips = Binomial::new(0.5, only_first + only_second).ok()?;
    let p_value = (2.0 * flips.cdf(only_first.min(only_second))).min(1.0);
    Some(McNemar { only_first, only_second, p_value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(only_first: usize, only_second: usize, both: usize) -> (Vec<bool>, Vec<bool>) {
        let first = [vec![true; only_first], vec![false; only_second], vec![true; both]].concat();
        let second = [vec![false; only_first], vec![true; only_second], vec![true; both]].concat();
        (first, second)
    }

    #[test]
    fn known_values() {
        for (b, c, p) in [(0, 5, 0.0625), (1, 9, 22.0 / 1024.0), (5, 5, 1.0), (0, 0, 1.0)] {
            let (first, second) = answers(b, c, 100);
            let test = mcnemar(&first, &second).unwrap();
            assert_eq!((test.only_first, test.only_second), (b as u64, c as u64));
            assert!((test.p_value - p).abs() < 1e-12, "{b} {c}: {}", test.p_value);
        }
    }

    #[test]
    fn different_lengths_cannot_be_paired() {
        assert_eq!(mcnemar(&[true], &[]), None);
    }
}
