//! Where a pass can be looked at, operation by operation.

use super::kernels::LayerNormArguments;
use crate::graph::{Format, Op, Rounding};

/// What an operation is about to read.
pub(super) struct PendingOp<'a, T> {
    /// The operation.
    pub op: &'a Op,
    /// Its inputs, as stored.
    pub inputs: Vec<&'a [T]>,
    /// Of a layer norm: its formats and parameters, and the format its input is stored in.
    pub layer_norm: Option<(Rounding, LayerNormArguments<'a, T>, Format)>,
}

/// Someone who looks at the tensors of a pass. A timed pass has [`Unobserved`], with which the calls compile to nothing.
pub(super) trait Observer<T>: Send {
    /// Whether the calls are made at all.
    const ACTIVE: bool;
    /// An operation is about to run.
    fn before(&mut self, pending: PendingOp<'_, T>);
    /// The operation has stored its output.
    fn after(&mut self, output: &[T]);
}

/// Nobody looks.
pub(super) struct Unobserved;

impl<T> Observer<T> for Unobserved {
    const ACTIVE: bool = false;
    fn before(&mut self, _: PendingOp<'_, T>) {}
    fn after(&mut self, _: &[T]) {}
}
