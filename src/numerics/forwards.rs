//! Examines many forwards for NaN, infinity, output rows far from the FP32 reference, and layer norms that returned their
//! bias. For the first forward with any but the third of these, finds the operation where it began.

use super::compare::{count_nonfinite, fill};
use super::{ForwardReferences, NumericsError};
use crate::engine::{Engine, Examination, OpTally, Output};
use crate::graph::{Graph, Shape};
use crate::input::{Batch, InputStream};
use crate::manifest::schema::Numerics;
use crate::record::magnitudes::{MagnitudeKind, Magnitudes};
use crate::record::{BadKind, FirstBad, ForwardSummary, NumericsSummary};

/// The forwards to examine.
#[derive(Debug, Clone, Copy)]
pub struct Forwards<'a> {
    /// The model's operations.
    pub graph: &'a Graph,
    /// The engine's shape.
    pub shape: Shape,
    /// The number of forwards, and which rows are broken. Without a number only the first batch is examined, and its
    /// tensors only under other policies than FP32.
    pub settings: Numerics,
    /// Whether the policy is FP32, so that its magnitudes are those of the model.
    pub fp32: bool,
}

impl Forwards<'_> {
    /// Runs the forwards. Each reads different rows of the input, so the length of a text limits their number. When
    /// only the first batch is examined, its outputs are those that `first` has counted. A missing reference leaves a
    /// remark in `first`.
    ///
    /// # Errors
    /// [`NumericsError`] when the engine or the input fails.
    pub fn examine(
        &self,
        engine: &mut dyn Engine,
        input: &InputStream,
        references: &mut ForwardReferences<'_>,
        first: &mut NumericsSummary,
    ) -> Result<ForwardSummary, NumericsError> {
        let wanted = self.settings.forwards.unwrap_or(1);
        let rows = input.len(self.shape.sequence);
        let forwards = rows.map_or(wanted, |rows| wanted.min((rows / self.shape.batch).max(1)));
        let mut summary = ForwardSummary::default();
        if self.settings.forwards.is_none() {
            summary.count(first);
            if !self.fp32 {
                engine.bind(&input.batch(self.shape, 0)?)?;
                engine.examine()?.iter().for_each(|examination| self.add(&mut summary, examination, 0));
            }
            return Ok(summary);
        }
        let mut missing = None;
        for forward in 0..forwards {
            let start = forward * self.shape.batch;
            let batch = input.batch(self.shape, start)?;
            engine.bind(&batch)?;
            let examination = engine.examine()?;
            if examination.is_none() {
                engine.enqueue()?;
                engine.synchronize()?;
            }
            let (counted, unknown) = compare_forward(&engine.outputs()?, &batch, references, start, self.settings);
            missing = missing.or(unknown);
            summary.count(&counted);
            if let Some(examination) = examination {
                self.add(&mut summary, &examination, forward as u64);
            }
        }
        if let Some(reason) = missing {
            first.add_remark(&format!("passes not compared: {reason}"));
        }
        Ok(summary)
    }

    fn add(&self, summary: &mut ForwardSummary, examination: &Examination, forward: u64) {
        let norms = examination.ops.iter().filter_map(|op| op.layer_norm);
        let (rows, silent) = norms.fold((0, 0), |sums, norm| (sums.0 + norm.rows, sums.1 + norm.silent));
        *summary.layer_norm_rows.get_or_insert(0) += rows;
        *summary.silent_rows.get_or_insert(0) += silent;
        *summary.silent_forwards.get_or_insert(0) += u64::from(silent > 0);
        if summary.first_bad.is_none() {
            summary.first_bad = first_bad(self.graph, examination, forward);
        }
        if self.fp32 {
            summary.magnitudes.get_or_insert_default().merge(&magnitudes(self.graph, examination));
        }
    }
}

/// Counts what is not finite in a forward's output, and compares its rows with the references. The batch begins with the
/// sequence `start` of the input. The reason why a sequence has no reference comes second.
pub fn compare_forward(
    output: &Output,
    batch: &Batch,
    references: &mut ForwardReferences<'_>,
    start: usize,
    settings: Numerics,
) -> (NumericsSummary, Option<String>) {
    let mut counted = count_nonfinite(output, batch);
    match references.distances(output, batch.shape, start) {
        Ok(rows) => fill(&mut counted, &rows, output, settings),
        Err(reason) => return (counted, Some(reason)),
    }
    (counted, None)
}

impl ForwardSummary {
    /// Adds a forward with these counts in its output.
    fn count(&mut self, counted: &NumericsSummary) {
        // A sum is known only if every forward is.
        let is_first = self.forwards == 0;
        let sum = |sum: Option<u64>, more: Option<u64>| {
            if is_first { more } else { sum.zip(more).map(|(sum, more)| sum + more) }
        };
        let broken = counted.broken_rows.map(|rows| rows > 0);
        let non_finite = counted.nan_count + counted.inf_count > 0;
        let failed = if non_finite { Some(true) } else { broken };
        self.compared_rows = sum(self.compared_rows, counted.broken_rows.map(|_| counted.compared_rows));
        self.broken_rows = sum(self.broken_rows, counted.broken_rows);
        self.broken_forwards = sum(self.broken_forwards, broken.map(u64::from));
        self.failed_forwards = sum(self.failed_forwards, failed.map(u64::from));
        self.cosine_min = match self.cosine_min {
            None if is_first => counted.cosine_min,
            known => known.zip(counted.cosine_min).map(|(known, cosine)| known.min(cosine)),
        };
        self.forwards += 1;
        self.nan_forwards += u64::from(counted.nan_count > 0);
        self.inf_forwards += u64::from(counted.inf_count > 0);
    }
}

/// The first operation of a forward that wrote NaN or infinity or returned its bias, with the magnitude of its input.
fn first_bad(graph: &Graph, examination: &Examination, forward: u64) -> Option<FirstBad> {
    let mut kinds =
        graph.ops.iter().zip(&examination.ops).filter_map(|(op, tally)| Some((op, tally, bad_kind(tally)?)));
    let (op, tally, kind) = kinds.next()?;
    let magnitude = tally.input.map(|input| input.largest);
    Some(FirstBad { forward, op: op.name.clone(), layer: op.layer(), kind, magnitude })
}

fn bad_kind(tally: &OpTally) -> Option<BadKind> {
    let silent = tally.layer_norm.is_some_and(|norm| norm.silent > 0);
    match tally.output {
        output if output.nan > 0 => Some(BadKind::Nan),
        output if output.inf > 0 => Some(BadKind::Inf),
        _ => silent.then_some(BadKind::Silent),
    }
}

fn magnitudes(graph: &Graph, examination: &Examination) -> Magnitudes {
    let mut all = Magnitudes::default();
    for (op, tally) in graph.ops.iter().zip(&examination.ops) {
        all.raise(op.layer(), MagnitudeKind::Output(op.class), tally.output.largest);
        if let Some(norm) = tally.layer_norm {
            all.raise(op.layer(), MagnitudeKind::SquareSum, norm.square_sum);
            all.raise_deviation(&op.name, norm.deviation);
        }
    }
    all
}

#[cfg(test)]
mod tests;
