//! Where a pass can be looked at, operation by operation.

use super::kernels::LayerNorm;
use crate::graph::{Format, Op, Rounding};

/// What an operation is about to read.
pub(super) struct Site<'a, T> {
    /// The operation.
    pub op: &'a Op,
    /// Its inputs, as stored.
    pub inputs: Vec<&'a [T]>,
    /// Of a layer norm: its formats and parameters, and the format its input is stored in.
    pub layer_norm: Option<(Rounding, LayerNorm<'a, T>, Format)>,
}

/// Someone who looks at the tensors of a pass. A timed pass has [`Untapped`], with which the calls compile to nothing.
pub(super) trait Tap<T>: Send {
    /// Whether the calls are made at all.
    const ACTIVE: bool;
    /// An operation is about to run.
    fn before(&mut self, site: Site<'_, T>);
    /// The operation has stored its output.
    fn after(&mut self, output: &[T]);
}

/// Nobody looks.
pub(super) struct Untapped;

impl<T> Tap<T> for Untapped {
    const ACTIVE: bool = false;
    fn before(&mut self, _: Site<'_, T>) {}
    fn after(&mut self, _: &[T]) {}
}
