//! Rank correlation of two paired series.

/// Fewest pairs whose order says anything.
const FEWEST: usize = 3;

/// Spearman's rank correlation: Pearson's correlation of the ranks, tied values sharing the mean of theirs (Spearman 1904).
/// `None` for series of different lengths or fewer than three pairs, for a value that is not finite, and where a series is
/// constant.
pub fn spearman(first: &[f64], second: &[f64]) -> Option<f64> {
    if first.len() != second.len() || first.len() < FEWEST {
        return None;
    }
    let (a, b) = (ranks(first)?, ranks(second)?);
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| (product(&a, &b) / spread).clamp(-1.0, 1.0))
}

/// Rank of each value from 1, ties the mean of theirs.
fn ranks(values: &[f64]) -> Option<Vec<f64>> {
    if values.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let below = |x: f64| values.iter().filter(|y| **y < x).count() as f64;
    let equal = |x: f64| values.iter().filter(|y| **y == x).count() as f64;
    Some(values.iter().map(|&x| below(x) + (equal(x) + 1.0) / 2.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate_as_in_scipy() {
        // scipy.stats.spearmanr(first, second).statistic, 1.15
        let near = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}");
        near(spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]), 0.820_782_681_668_123_4);
        near(spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 3.0, 2.0, 4.0]), 0.948_683_298_050_513_8);
        near(spearman(&[0.1, 0.2, 0.3], &[3.0, 2.0, 1.0]), -1.0);
    }

    #[test]
    fn what_has_no_order_is_undefined() {
        assert_eq!(spearman(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN, 2.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 2.0]), None);
    }
}
