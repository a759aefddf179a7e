//! What a pass showed of its tensors, operation by operation. Padding and masked scores are left out: nothing reads them.

/// One pass, looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Examination {
    /// A tally per operation, in the order of the graph.
    pub ops: Vec<OpTally>,
}

/// What one operation read and wrote.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OpTally {
    /// Its inputs together; `None` for an operation that reads parameters alone.
    pub input: Option<TensorTally>,
    /// Its output, as stored.
    pub output: TensorTally,
    /// Of a layer norm: what became of its rows.
    pub layer_norm: Option<LayerNormTally>,
}

/// Elements of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TensorTally {
    /// Largest magnitude among the finite ones.
    pub largest: f64,
    /// NaN.
    pub nan: u64,
    /// Infinities.
    pub inf: u64,
}

impl TensorTally {
    /// Both together.
    pub fn and(self, other: TensorTally) -> TensorTally {
        TensorTally { largest: self.largest.max(other.largest), nan: self.nan + other.nan, inf: self.inf + other.inf }
    }
}

/// Rows of a layer norm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerNormTally {
    /// Rows.
    pub rows: u64,
    /// Rows whose reciprocal deviation is 0, because their variance has overflowed: they come out as the bias, whatever
    /// went in, and without any NaN.
    pub silent: u64,
    /// Largest sum of squared deviations over the rows in which it is finite: what an FP16 reduction that sums before it
    /// divides has to hold.
    pub square_sum: f64,
}
