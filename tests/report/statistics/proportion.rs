//! The Clopper-Pearson interval, against sums of binomial terms.

use mixprec::stats::{Interval, clopper_pearson};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::binomial_terms;
use super::draws::Draws;

#[test]
fn the_ends_are_where_the_binomial_tails_are_2_5_percent() {
    for (x, n) in [(1, 10), (5, 10), (9, 10), (765, 872), (3, 1000), (431, 432)] {
        let interval = clopper_pearson(x, n).unwrap();
        let at_most = Binomial::new(interval.high, n).unwrap().cdf(x);
        let at_least = Binomial::new(interval.low, n).unwrap().sf(x - 1);
        assert!((at_most - 0.025).abs() < 1e-6, "{x}/{n}: {at_most}");
        assert!((at_least - 0.025).abs() < 1e-6, "{x}/{n}: {at_least}");
    }
}

#[test]
fn the_ends_of_no_and_of_only_successes_have_a_closed_form() {
    // At either end the beta distribution has a closed form.
    let none = clopper_pearson(0, 360).unwrap();
    assert_eq!(none.low, 0.0);
    assert!((none.high - (1.0 - 0.025_f64.powf(1.0 / 360.0))).abs() < 1e-9);
    let all = clopper_pearson(10, 10).unwrap();
    assert_eq!(all.high, 1.0);
    assert!((all.low - 0.025_f64.powf(0.1)).abs() < 1e-9);
}

#[test]
fn undefined_is_none() {
    assert_eq!(clopper_pearson(0, 0), None);
    assert_eq!(clopper_pearson(3, 2), None);
}

/// The p at which an increasing function reaches 0.025.
fn where_tail_is_reached(tail: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if tail(middle) < 0.025 { low = middle } else { high = middle }
    }
    low
}

/// By bisection on sums of binomial terms, without the beta distribution.
#[test]
fn the_ends_invert_the_binomial_tails() {
    let mut draws = Draws::new(5);
    let all = (1..=25).flat_map(|n| (0..=n).map(move |x| (x, n)));
    let some: Vec<(usize, usize)> = (0..60).map(|_| (26 + draws.below(275), draws.below(1 << 20))).collect();
    let some = some.into_iter().map(|(n, x)| (x % (n + 1), n));
    for (x, n) in all.chain(some) {
        let at_least = |p: f64| binomial_terms(n, p)[x..].iter().sum::<f64>();
        let at_most = |q: f64| binomial_terms(n, 1.0 - q)[..=x].iter().sum::<f64>();
        let low = if x == 0 { 0.0 } else { where_tail_is_reached(at_least) };
        let high = if x == n { 1.0 } else { 1.0 - where_tail_is_reached(at_most) };
        let found = clopper_pearson(x as u64, n as u64).unwrap();
        assert!((found.low - low).abs() < 1e-9, "{x}/{n}: {} {low}", found.low);
        assert!((found.high - high).abs() < 1e-9, "{x}/{n}: {} {high}", found.high);
    }
}

#[test]
fn failures_mirror_successes_and_more_successes_move_both_ends_up() {
    for n in 1..=60 {
        let intervals: Vec<Interval> = (0..=n).map(|x| clopper_pearson(x, n).unwrap()).collect();
        for (found, mirrored) in intervals.iter().zip(intervals.iter().rev()) {
            let (low, high) = (found.low + mirrored.high - 1.0, found.high + mirrored.low - 1.0);
            assert!(low.abs() < 1e-9 && high.abs() < 1e-9, "{n}: {found:?} {mirrored:?}");
        }
        assert!(intervals.is_sorted_by(|a, b| a.low < b.low && a.high < b.high), "{n}");
        let holds = |(x, i): (usize, &Interval)| i.low <= x as f64 / n as f64 && x as f64 / n as f64 <= i.high;
        assert!(intervals.iter().enumerate().all(holds), "{n}");
    }
}

/// Summed over all outcomes, whatever the true proportion.
#[test]
fn the_interval_covers_every_proportion_at_least_95_times_in_100() {
    for n in [1, 2, 5, 10, 30] {
        let intervals: Vec<Interval> = (0..=n).map(|x| clopper_pearson(x as u64, n as u64).unwrap()).collect();
        for p in (1..200).map(|step| f64::from(step) / 200.0) {
            let terms = binomial_terms(n, p).into_iter().zip(&intervals);
            let covered: f64 = terms.filter(|(_, i)| i.low <= p && p <= i.high).map(|(term, _)| term).sum();
            assert!(covered >= 0.95 - 1e-9, "{n} trials at {p}: {covered}");
        }
    }
}
