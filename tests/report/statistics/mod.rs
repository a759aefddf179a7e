//! Properties of `mixprec::stats`, against brute force, closed forms and exact sums.

mod bootstrap;
#[path = "../../fixtures/draws.rs"]
mod draws;
mod interval;
mod paired;
mod proportion;
mod quantile;
mod rounds;
mod summary;

use draws::Draws;

/// The samples in another order (Fisher and Yates).
pub(super) fn shuffled<T: Clone>(draws: &mut Draws, samples: &[T]) -> Vec<T> {
    let mut shuffled = samples.to_vec();
    for last in (1..shuffled.len()).rev() {
        shuffled.swap(last, draws.below(last + 1));
    }
    shuffled
}

/// `P(Binomial(n, p) = x)` for x from 0 to n, term by term; n small enough for `p^n` to be a number.
pub(super) fn binomial_terms(n: usize, p: f64) -> Vec<f64> {
    let choose = |x: usize| (0..x).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
    (0..=n).map(|x| choose(x) * p.powi(x as i32) * (1.0 - p).powi((n - x) as i32)).collect()
}
