//! Lets an observer inspect a forward pass, operation by operation.

use super::kernels::LayerNormArguments;
use crate::graph::{Format, Op, Rounding};

/// An operation that is about to run, and what it reads.
pub(super) struct PendingOp<'a, T> {
    /// The operation.
    pub op: &'a Op,
    /// Its inputs, as stored.
    pub inputs: Vec<&'a [T]>,
    /// For a layer norm: its formats, its arguments, and the format in which its input is stored.
    pub layer_norm: Option<(Rounding, LayerNormArguments<'a, T>, Format)>,
}

/// Inspects the tensors of a forward pass. A timed pass uses [`Unobserved`], with which the calls compile to nothing.
pub(super) trait Observer<T>: Send {
    /// Whether the calls are made.
    const ACTIVE: bool;
    /// An operation is about to run.
    fn before(&mut self, pending: PendingOp<'_, T>);
    /// The operation has stored its output.
    fn after(&mut self, output: &[T]);
}

/// The observer that inspects nothing.
pub(super) struct Unobserved;

impl<T> Observer<T> for Unobserved {
    const ACTIVE: bool = false;
    fn before(&mut self, _: PendingOp<'_, T>) {}
    fn after(&mut self, _: &[T]) {}
}
