//! Sizes of a graph that follow from its operations and parameters.

use super::{Graph, OpKind};

impl Graph {
    /// Number of token types that it embeds; 0 of a model without.
    pub fn token_types(&self) -> usize {
        let table = self.ops.iter().find_map(|op| match op.kind {
            OpKind::Embedding { token_type, .. } => token_type,
            _ => None,
        });
        table.map_or(0, |table| self.param(table).dims[0])
    }

    /// Total number of parameters.
    pub fn parameter_count(&self) -> u64 {
        self.params.iter().map(|param| param.elements() as u64).sum()
    }
}
