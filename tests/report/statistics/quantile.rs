//! Nearest ranks and supported samples, against their definitions.

use mixprec::stats::{nearest_rank, supported_samples};

use super::draws::Draws;
use super::{binomial_terms, shuffled};

#[test]
fn nearest_rank_is_a_sample() {
    let samples = [15.0, 20.0, 35.0, 40.0, 50.0];
    let ranks: Vec<Option<f64>> = [5, 30, 40, 50, 100].map(|p| nearest_rank(&samples, p)).to_vec();
    assert_eq!(ranks, [15.0, 20.0, 20.0, 35.0, 50.0].map(Some));
    assert_eq!(nearest_rank(&samples, 0), None);
    assert_eq!(nearest_rank(&[], 50), None);
    assert_eq!(nearest_rank(&[1.0, f64::NAN], 50), None);
}

/// By counting: the smallest sample with at least this percentage of the samples at or below it.
#[test]
fn nearest_rank_is_its_definition() {
    for samples in Draws::new(1).cases(60, 1, 40) {
        for percent in 1..=100 {
            let enough = |x: &&f64| 100 * samples.iter().filter(|other| other <= x).count() >= percent * samples.len();
            let expected = samples.iter().filter(enough).copied().min_by(f64::total_cmp);
            assert_eq!(nearest_rank(&samples, percent), expected, "{percent} % of {samples:?}");
        }
    }
}

#[test]
fn nearest_rank_follows_an_increasing_function_and_no_order() {
    let mut draws = Draws::new(2);
    for samples in draws.cases(60, 1, 40) {
        let percent = 1 + draws.below(100);
        let found = nearest_rank(&samples, percent);
        assert_eq!(nearest_rank(&shuffled(&mut draws, &samples), percent), found);
        for increasing in [|x: f64| 2.0 * x - 7.0, |x: f64| x * x * x, |x: f64| -1.0 / (1.0 + x)] {
            let mapped: Vec<f64> = samples.iter().copied().map(increasing).collect();
            assert_eq!(nearest_rank(&mapped, percent), found.map(increasing), "{percent} % of {samples:?}");
        }
    }
}

/// By adding up both terms: with one sample fewer, at most one sample above the quantile is too likely.
#[test]
fn supported_samples_are_the_fewest() {
    for p in [0.5, 0.75, 0.9, 0.95, 0.99] {
        for confidence in [0.6, 0.9, 0.95, 0.99] {
            let at_most_one = |n: usize| binomial_terms(n, 1.0 - p)[..2].iter().sum::<f64>();
            let enough = (2..).find(|&n| at_most_one(n) <= 1.0 - confidence);
            assert_eq!(supported_samples(p, confidence), enough, "{p} {confidence}");
        }
    }
}
