//! The shapes that an exported model accepts: one, or a range of batch sizes and sequence lengths.

use std::fmt;
use std::str::FromStr;

use super::proto::{DimensionProto, TensorShapeProto};
use crate::graph::{Shape, ValueShape};

/// Name of the batch dimension where it is symbolic.
const BATCH: &str = "batch";

/// Name of the sequence dimension where it is symbolic.
const SEQUENCE: &str = "sequence";

/// The shapes that an exported model accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Exactly one.
    Static(Shape),
    /// Every batch size and sequence length between two shapes, both included. A dimension that is equal in both is
    /// written as a number, the others as `batch` and `sequence`.
    Dynamic {
        /// Fewest sequences and tokens.
        smallest: Shape,
        /// Most sequences and tokens.
        largest: Shape,
    },
}

impl Extent {
    /// The extent of two ranges; static if both are single numbers.
    pub fn of(batch: DimensionRange, sequence: DimensionRange) -> Self {
        let smallest = Shape { batch: batch.smallest, sequence: sequence.smallest };
        let largest = Shape { batch: batch.largest, sequence: sequence.largest };
        match smallest == largest {
            true => Extent::Static(smallest),
            false => Extent::Dynamic { smallest, largest },
        }
    }

    /// Fewest sequences and tokens.
    pub fn smallest(self) -> Shape {
        match self {
            Extent::Static(shape) | Extent::Dynamic { smallest: shape, .. } => shape,
        }
    }

    /// Most sequences and tokens.
    pub fn largest(self) -> Shape {
        match self {
            Extent::Static(shape) | Extent::Dynamic { largest: shape, .. } => shape,
        }
    }

    /// Batch sizes.
    pub fn batch(self) -> DimensionRange {
        DimensionRange { smallest: self.smallest().batch, largest: self.largest().batch }
    }

    /// Sequence lengths, tokens.
    pub fn sequence(self) -> DimensionRange {
        DimensionRange { smallest: self.smallest().sequence, largest: self.largest().sequence }
    }

    /// Dimensions of the inputs, `[batch, sequence]`.
    pub(super) fn tokens(self) -> TensorShapeProto {
        TensorShapeProto { dim: vec![self.batch().dimension(BATCH), self.sequence().dimension(SEQUENCE)] }
    }

    /// Dimensions of a value.
    pub(super) fn value(self, shape: ValueShape) -> TensorShapeProto {
        let (batch, sequence) = (self.batch().dimension(BATCH), self.sequence().dimension(SEQUENCE));
        let dim = match shape {
            ValueShape::Tokens(width) => vec![batch, sequence, fixed(width)],
            ValueShape::Sequences(width) => vec![batch, fixed(width)],
            ValueShape::Scores(heads) => vec![batch, fixed(heads), sequence.clone(), sequence],
        };
        TensorShapeProto { dim }
    }
}

/// A number or an inclusive range of numbers, at least 1: `8`, `1..32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DimensionRange {
    /// First.
    pub smallest: usize,
    /// Last.
    pub largest: usize,
}

impl DimensionRange {
    fn dimension(self, symbol: &str) -> DimensionProto {
        match self.smallest == self.largest {
            true => fixed(self.smallest),
            false => DimensionProto { dim_value: None, dim_param: Some(symbol.to_owned()) },
        }
    }
}

fn fixed(size: usize) -> DimensionProto {
    DimensionProto { dim_value: Some(size as i64), dim_param: None }
}

impl FromStr for DimensionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
        match (number(first), number(last)) {
            (Some(smallest), Some(largest)) if smallest <= largest => Ok(DimensionRange { smallest, largest }),
            (Some(smallest), Some(largest)) => {
                Err(format!("the range runs backwards; write {largest}..{smallest} (both ends included)"))
            }
            _ => Err("give a number from 1 up, or a range like 1..32 (both ends included)".to_owned()),
        }
    }
}

impl fmt::Display for DimensionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.smallest == self.largest {
            true => write!(f, "{}", self.smallest),
            false => write!(f, "{}..{}", self.smallest, self.largest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_or_inclusive_ranges() {
        let span = |text: &str| text.parse::<DimensionRange>();
        assert_eq!(span("8"), Ok(DimensionRange { smallest: 8, largest: 8 }));
        assert_eq!(span("1..32").unwrap().to_string(), "1..32");
        for (text, cure) in [("0", "from 1 up"), ("1..", "1..32"), ("x", "from 1 up"), ("9..2", "write 2..9")] {
            assert!(span(text).unwrap_err().contains(cure), "{text}");
        }
    }

    #[test]
    fn a_dimension_that_cannot_vary_is_written_as_a_number() {
        let span = |smallest, largest| DimensionRange { smallest, largest };
        assert_eq!(Extent::of(span(2, 2), span(8, 8)), Extent::Static(Shape { batch: 2, sequence: 8 }));
        let shape = Extent::of(span(2, 2), span(8, 16)).value(ValueShape::Scores(3));
        let written: Vec<String> =
            shape.dim.iter().map(|d| d.dim_param.clone().unwrap_or_else(|| d.dim_value.unwrap().to_string())).collect();
        assert_eq!(written, ["2", "3", "sequence", "sequence"]);
    }
}
