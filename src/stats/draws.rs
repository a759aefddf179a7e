//! Seeded random samples and exact binomial sums for the tests of this module.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A generator of test cases.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    pub fn new(seed: u64) -> Self {
        Draws(ChaCha8Rng::seed_from_u64(seed))
    }

    /// An integer from 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.0.next_u32()) * end as u64) >> 32) as usize
    }

    /// `n` samples of one of three kinds: spread over a range, mostly ties, or over many magnitudes. All are multiples
    /// of 1/16 below 2^25, so their sums, doubles and midpoints are exact.
    pub fn samples(&mut self, n: usize) -> Vec<f64> {
        let kind = self.below(3);
        let sixteenths = |draws: &mut Self| match kind {
            0 => draws.below(1 << 20),
            1 => 16 * draws.below(4),
            _ => 1 << draws.below(29),
        };
        (0..n).map(|_| sixteenths(self) as f64 / 16.0).collect()
    }

    /// `count` times [`Draws::samples`] of `least` to `most` samples.
    pub fn cases(&mut self, count: usize, least: usize, most: usize) -> Vec<Vec<f64>> {
        (0..count)
            .map(|_| {
                let n = least + self.below(most - least + 1);
                self.samples(n)
            })
            .collect()
    }

    /// The samples in another order (Fisher and Yates).
    pub fn shuffled<T: Clone>(&mut self, samples: &[T]) -> Vec<T> {
        let mut shuffled = samples.to_vec();
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, self.below(last + 1));
        }
        shuffled
    }
}

/// Number of the 2^n sequences of n coin tosses with at most `most` heads, for n up to 120.
pub(super) fn tosses_with_at_most(most: usize, n: usize) -> u128 {
    let mut coefficient = 1_u128;
    let mut sum = 0;
    for heads in 0..=most.min(n) {
        sum += coefficient;
        coefficient = coefficient * (n - heads) as u128 / (heads as u128 + 1);
    }
    sum
}

/// `P(Binomial(n, p) = x)` for x from 0 to n, term by term; n small enough for `p^n` to be a number.
pub(super) fn binomial_terms(n: usize, p: f64) -> Vec<f64> {
    let choose = |x: usize| (0..x).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
    (0..=n).map(|x| choose(x) * p.powi(x as i32) * (1.0 - p).powi((n - x) as i32)).collect()
}
