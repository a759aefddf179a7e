//! The product of the axes, and whether an exclusion names one of its cells.

use super::schema::Exclusion;
use crate::engine::{BackendKind, Target};

/// Cells that a manifest may span before exclusions: enough for any study, and few enough to check quickly.
pub(super) const MAX_CELLS: usize = 100_000;

/// Number of axes.
pub const AXIS_COUNT: usize = 7;

/// A value's position on every axis, in the order of the product.
pub type Index = [usize; AXIS_COUNT];

/// The axes in the order of the product, slowest first: models, backends, precisions, targets, sequence lengths, batch
/// sizes, inputs. Batch sizes vary faster than sequence lengths so that the reference outputs of a length are shared.
pub(super) const AXES: [(&str, &str); AXIS_COUNT] = [
    ("model", "models"),
    ("backend", "backends"),
    ("precision", "precisions"),
    ("target", "targets"),
    ("sequence length", "sequence lengths"),
    ("batch size", "batch sizes"),
    ("input", "inputs"),
];

/// One cell of the product, by the names of its coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridPoint<'a> {
    /// Model name.
    pub model: &'a str,
    /// Backend.
    pub backend: BackendKind,
    /// Policy name.
    pub precision: &'a str,
    /// Target of its engine, if the manifest names one.
    pub target: Option<Target>,
    /// Padded sequence length, tokens.
    pub sequence_length: usize,
    /// Sequences per forward pass.
    pub batch_size: usize,
    /// Input name.
    pub input: &'a str,
}

impl Exclusion {
    /// Whether the cell has one of the listed values on every axis the exclusion lists.
    pub fn matches(&self, cell: &GridPoint<'_>) -> bool {
        fn any<T>(values: &[T], is: impl Fn(&T) -> bool) -> bool {
            values.is_empty() || values.iter().any(is)
        }
        any(&self.models, |model| model == cell.model)
            && any(&self.backends, |backend| *backend == cell.backend)
            && any(&self.precisions, |precision| precision == cell.precision)
            && any(&self.targets, |target| Some(*target) == cell.target)
            && any(&self.sequence_lengths, |length| *length == cell.sequence_length)
            && any(&self.batch_sizes, |size| *size == cell.batch_size)
            && any(&self.inputs, |input| input == cell.input)
    }
}

/// The index tuples of a product; the last axis varies fastest.
pub fn product_indices(sizes: Index) -> impl Iterator<Item = Index> {
    (0..sizes.iter().product()).map(move |flat: usize| {
        let mut rest = flat;
        let mut index = [0; AXIS_COUNT];
        for axis in (0..AXIS_COUNT).rev() {
            index[axis] = rest % sizes[axis];
            rest /= sizes[axis];
        }
        index
    })
}

/// `2 models x 1 backend x 3 precisions x ...`. A single target is left out, since most manifests do not write it.
pub fn product_words(sizes: Index) -> String {
    let spoken = sizes.iter().zip(AXES).filter(|(size, (one, _))| **size != 1 || *one != "target");
    let factors = spoken.map(|(size, (one, many))| format!("{size} {}", if *size == 1 { one } else { many }));
    factors.collect::<Vec<_>>().join(" x ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_axis_varies_fastest_and_every_cell_appears_once() {
        let cells: Vec<_> = product_indices([1, 2, 1, 1, 1, 1, 3]).collect();
        assert_eq!(cells[..4], [[0; 7], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 0, 0, 0]]);
        assert_eq!(cells.len(), 6);
    }

    #[test]
    fn an_empty_axis_spans_nothing() {
        assert_eq!(product_indices([1, 0, 1, 1, 1, 1, 1]).count(), 0);
    }
}
