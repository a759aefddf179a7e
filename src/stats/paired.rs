//! Paired comparison of two classifiers on the same sentences.

use statrs::distribution::{Binomial, DiscreteCDF};

/// Two-sided p value of the exact McNemar test (McNemar 1947, with the binomial instead of the chi-square
/// approximation): how likely a split this uneven is when neither classifier is better,
/// `p = min(1, 2 P(Binomial(b + c, 1/2) <= min(b, c)))` over the b + c items on which exactly one is right. 1 when there
/// is no such item.
///
/// `only_first` and `only_second` are b and c: the items that only that classifier answers rightly. `None` when their sum
/// is beyond 64 bits.
pub fn mcnemar(only_first: u64, only_second: u64) -> Option<f64> {
    let flips = Binomial::new(0.5, only_first.checked_add(only_second)?).ok()?;
    Some((2.0 * flips.cdf(only_first.min(only_second))).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (b, c, p) in [(0, 5, 0.0625), (1, 9, 22.0 / 1024.0), (5, 5, 1.0), (0, 0, 1.0)] {
            for found in [mcnemar(b, c), mcnemar(c, b)] {
                assert!((found.unwrap() - p).abs() < 1e-12, "{b} {c}: {found:?}");
            }
        }
        assert_eq!(mcnemar(u64::MAX, 1), None);
    }
}
