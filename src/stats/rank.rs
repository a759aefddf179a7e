//! Correlations of two paired series.

/// Fewest pairs whose correlation says anything.
const FEWEST: usize = 3;

/// Spearman's rank correlation: Pearson's correlation of the ranks, tied values sharing the mean of theirs (Spearman 1904).
/// `None` for series of different lengths or fewer than three pairs, for a value that is not finite, and where a series is
/// constant.
pub fn spearman(first: &[f64], second: &[f64]) -> Option<f64> {
    if first.len() != second.len() || first.len() < FEWEST {
        return None;
    }
    correlation(&ranks(first)?, &ranks(second)?)
}

/// Pearson's correlation. `None` in the cases of [`spearman`].
pub fn pearson(first: &[f64], second: &[f64]) -> Option<f64> {
    if first.len() != second.len() || first.len() < FEWEST || first.iter().chain(second).any(|x| !x.is_finite()) {
        return None;
    }
    correlation(first, second)
}

fn correlation(first: &[f64], second: &[f64]) -> Option<f64> {
    let centred = |of: &[f64]| {
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        of.iter().map(|x| x - mean).collect::<Vec<f64>>()
    };
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (a, b) = (centred(first), centred(second));
    // Of equal numbers the mean may be off by a rounding: what is left then is no spread.
    let varies = |of: &[f64]| of.iter().any(|x| *x != of[0]);
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (varies(first) && varies(second) && spread > 0.0).then(|| (product(&a, &b) / spread).clamp(-1.0, 1.0))
}

/// Rank of each value from 1, ties the mean of theirs.
fn ranks(values: &[f64]) -> Option<Vec<f64>> {
    if values.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&index| ranks[index] = rank);
        below += tied.len();
    }
    Some(ranks)
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
        // numpy.corrcoef(first, second)[0, 1], 2.3
        near(pearson(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]), 0.832_050_294_337_843_7);
        near(pearson(&[0.1, 0.2, 0.4], &[-3.0, 2.0, 1.0]), 0.618_589_574_131_741_9);
    }

    #[test]
    fn what_has_no_order_is_undefined() {
        assert_eq!(spearman(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN, 2.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), None);
        assert_eq!(pearson(&[1.0, f64::INFINITY, 2.0], &[1.0, 2.0, 3.0]), None);
    }
}
