//! Work per op.
