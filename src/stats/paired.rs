//! Paired comparison of two classifiers on the same sentences.

use statrs::distribution::{Binomial, DiscreteCDF};

/// Two-sided p value of the exact McNemar test (McNemar 1947, with the binomial instead of the chi-square
/// approximation). It is the probability of a split at least this uneven when neither classifier is better, `p = min(1,
/// 2 P(Binomial(b + c, 1/2) <= min(b, c)))` over the b + c items on which exactly one is right. It is 1 when there is
/// no such item.
///
/// `only_first` and `only_second` are b and c, the items that only the first or only the second classifier answers
/// correctly. `None` when their sum exceeds 64 bits.
pub fn mcnemar(only_first: u64, only_second: u64) -> Option<f64> {
    let flips = Binomial::new(0.5, only_first.checked_add(only_second)?).ok()?;
    Some((2.0 * flips.cdf(only_first.min(only_second))).min(1.0))
}
