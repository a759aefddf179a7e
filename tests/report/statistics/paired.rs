//! McNemar's exact test, against all sign patterns and exact binomial sums.

use mixprec::stats::mcnemar;

use super::draws::tosses_with_at_most;

#[test]
fn known_values() {
    for (b, c, p) in [(0, 5, 0.0625), (1, 9, 22.0 / 1024.0), (5, 5, 1.0), (0, 0, 1.0)] {
        for found in [mcnemar(b, c), mcnemar(c, b)] {
            assert!((found.unwrap() - p).abs() < 1e-12, "{b} {c}: {found:?}");
        }
    }
    assert_eq!(mcnemar(u64::MAX, 1), None);
}

/// All splits of the items are equally likely, and p is the share of those that are at least as uneven.
#[test]
fn p_is_the_share_of_all_sign_patterns_that_are_as_uneven() {
    for flips in 0..=14_u32 {
        for only_first in 0..=flips {
            let unevenness = |ones: u32| (2 * i64::from(ones) - i64::from(flips)).abs();
            let as_uneven = |pattern: &u32| unevenness(pattern.count_ones()) >= unevenness(only_first);
            let share = (0..1_u32 << flips).filter(as_uneven).count() as f64 / f64::from(1_u32 << flips);
            let found = mcnemar(u64::from(only_first), u64::from(flips - only_first)).unwrap();
            assert!((found - share).abs() < 1e-12, "{only_first} of {flips}: {found} {share}");
        }
    }
}

#[test]
fn p_is_twice_an_exact_binomial_sum_and_falls_with_unevenness() {
    for flips in 1..=120_usize {
        let mut last = 0.0;
        for fewer in 0..=flips / 2 {
            let exact = (2.0 * tosses_with_at_most(fewer, flips) as f64 / 2_f64.powi(flips as i32)).min(1.0);
            let found = mcnemar(fewer as u64, (flips - fewer) as u64).unwrap();
            assert!((found - exact).abs() < 1e-11 * exact, "{fewer} of {flips}: {found:e} {exact:e}");
            assert_eq!(mcnemar((flips - fewer) as u64, fewer as u64), Some(found));
            assert!(found > last || found == 1.0, "{fewer} of {flips}");
            last = found;
        }
    }
}
