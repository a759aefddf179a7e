//! Interval of a proportion.

use statrs::distribution::{Beta, ContinuousCDF};

use super::Interval;

/// Most trials, more than any run makes. `statrs` truncates the continued fraction of the beta function. At 1e6 trials
/// the interval's width still has three correct digits. At ten times as many, the search for the quantile does not end.
const MOST_TRIALS: u64 = 1_000_000;

/// Clopper-Pearson 95 % interval of a binomial proportion (Clopper and Pearson 1934), by quantiles of the beta
/// distribution: `[B(0.025; x, n - x + 1), B(0.975; x + 1, n - x)]`. It is exact: it covers at least 95 % for any true
/// proportion. 0 failures in n trials still bound the rate by about 3.7 / n.
///
/// `None` for no trials, more successes than trials, or too many trials.
pub fn clopper_pearson(successes: u64, trials: u64) -> Option<Interval> {
    const TAIL: f64 = 0.025;
    if trials == 0 || successes > trials || trials > MOST_TRIALS {
        return None;
    }
    let (x, failures) = (successes as f64, (trials - successes) as f64);
    let quantile = |a: f64, b: f64, p: f64| Beta::new(a, b).ok()?.try_inverse_cdf(p).ok().filter(|q| q.is_finite());
    let low = if successes == 0 { 0.0 } else { quantile(x, failures + 1.0, TAIL)? };
    let high = if successes == trials { 1.0 } else { quantile(x + 1.0, failures, 1.0 - TAIL)? };
    Some(Interval { low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: a foreign table may claim any number of forwards.
    #[test]
    fn as_many_trials_as_nobody_makes_have_no_interval_and_cost_no_time() {
        let start = std::time::Instant::now();
        assert_eq!(clopper_pearson(3, u64::MAX), None);
        for successes in [0, 1, MOST_TRIALS / 2, MOST_TRIALS - 1, MOST_TRIALS] {
            assert!(
                clopper_pearson(successes, MOST_TRIALS).is_some_and(|found| found.low <= found.high),
                "{successes}"
            );
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }

    /// At this many trials, the exact interval and the normal approximation differ by far less than a hundredth of the
    /// width.
    #[test]
    fn the_most_trials_still_have_an_accurate_interval() {
        for share in [0.01, 0.5, 0.9] {
            let trials = MOST_TRIALS as f64;
            let found = clopper_pearson((share * trials) as u64, MOST_TRIALS).unwrap();
            let half = 1.959_964 * (share * (1.0 - share) / trials).sqrt();
            assert!((found.high - share - half).abs() < 0.01 * half, "{share}: {found:?}, {half}");
            assert!((share - found.low - half).abs() < 0.01 * half, "{share}: {found:?}, {half}");
        }
    }
}
