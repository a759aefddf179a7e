//! Tallies of the tensors of one forward, operation by operation. Padding and masked scores are left out, because no
//! operation reads them.

/// The examination of one forward.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Examination {
    /// One tally per operation, in the order of the graph.
    pub ops: Vec<OpTally>,
}

/// Tally of one operation's inputs and output.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OpTally {
    /// All its inputs together; `None` for an operation that reads only parameters.
    pub input: Option<TensorTally>,
    /// Its output, as stored.
    pub output: TensorTally,
    /// Tally of the rows, for a layer norm.
    pub layer_norm: Option<LayerNormTally>,
}

/// Tally of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TensorTally {
    /// Largest magnitude among the finite elements.
    pub largest: f64,
    /// Number of NaN.
    pub nan: u64,
    /// Number of infinities.
    pub inf: u64,
}

impl TensorTally {
    /// The combined tally of two tensors.
    pub fn and(self, other: TensorTally) -> TensorTally {
        TensorTally { largest: self.largest.max(other.largest), nan: self.nan + other.nan, inf: self.inf + other.inf }
    }
}

/// Tally of a layer norm's rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerNormTally {
    /// Number of rows.
    pub rows: u64,
    /// Rows whose reciprocal deviation is 0, because their variance overflowed. Such a row returns the bias whatever
    /// its input, without any NaN.
    pub silent: u64,
    /// Largest sum of squared deviations over the rows in which it is finite. An FP16 reduction that sums before it
    /// divides must represent it.
    pub square_sum: f64,
    /// Largest deviation from its row's mean, in magnitude, over all rows. Where its square is beyond FP16, the row is silent in
    /// FP16 whatever the order of the reduction.
    pub deviation: f64,
}
