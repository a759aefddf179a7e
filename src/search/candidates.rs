//! The operations that a search may compute in FP32, ordered by headroom, and their groups.

use std::collections::BTreeMap;

use super::minimise::Places;
use crate::engine::{Examination, OpTally};
use crate::graph::{Activation, Format, Gelu, Graph, Op, OpClass, OpKind, PolicyError, PrecisionPolicy, Rounding};

/// An operation that the policy at the start does not compute in FP32.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CandidateOp {
    /// Its name, as in a manifest's `ops:`.
    pub op: String,
    /// Its class.
    pub class: OpClass,
    /// Its layer; `None` before the first and after the last.
    pub layer: Option<u64>,
    /// Binary orders of magnitude between the largest number that it forms in FP32 and the largest finite one of its narrowest
    /// format; negative beyond, infinite where all its numbers are zero.
    pub headroom_bits: f64,
}

/// The candidates of a policy, least headroom first, by one forward that was examined in FP32.
///
/// # Errors
/// [`PolicyError`] when the policy does not fit the graph.
pub(super) fn candidates(
    graph: &Graph,
    start: &PrecisionPolicy,
    fp32: &Examination,
) -> Result<Vec<CandidateOp>, PolicyError> {
    let roundings = graph.roundings(start)?;
    let ops = graph.ops.iter().zip(&fp32.ops).zip(roundings);
    let mut all: Vec<CandidateOp> = ops
        .filter(|(_, rounding)| *rounding != Rounding::uniform(Format::Fp32))
        .map(|((op, tally), rounding)| CandidateOp {
            op: op.name.clone(),
            class: op.class,
            layer: op.layer(),
            headroom_bits: (limit(rounding) / largest(op, tally)).log2(),
        })
        .collect();
    // A stable sort: ties stay in the order of the graph.
    all.sort_by(|a, b| a.headroom_bits.total_cmp(&b.headroom_bits));
    Ok(all)
}

/// The groups in which candidates are tried, coarse ones first: by class, then by layer, each in the order of the first member.
pub(super) fn partitions(candidates: &[CandidateOp]) -> Vec<Vec<Places>> {
    fn divided<K: Ord>(candidates: &[CandidateOp], key: impl Fn(&CandidateOp) -> K) -> Vec<Places> {
        let mut groups: BTreeMap<K, Places> = BTreeMap::new();
        for (place, candidate) in candidates.iter().enumerate() {
            groups.entry(key(candidate)).or_default().insert(place);
        }
        let mut groups: Vec<Places> = groups.into_values().collect();
        groups.sort_by_key(|group| group.first().copied());
        groups
    }
    vec![divided(candidates, |candidate| candidate.class), divided(candidates, |candidate| candidate.layer)]
}

/// The largest number that an operation forms on its way, not only what it reads and stores.
fn largest(op: &Op, tally: &OpTally) -> f64 {
    let input = tally.input.map_or(0.0, |input| input.largest);
    let seen = input.max(tally.output.largest);
    match op.kind {
        OpKind::LayerNorm { .. } => {
            tally.layer_norm.map_or(seen, |norm| seen.max(norm.square_sum).max(norm.deviation.powi(2)))
        }
        // The product is stored before it is scaled.
        OpKind::AttentionScores { scale, .. } => seen.max(tally.output.largest / scale),
        OpKind::Activation(Activation::Gelu(Gelu::Tanh)) => seen.max(input.powi(3)),
        _ => seen,
    }
}

/// The largest finite number of the narrowest of an operation's formats.
fn limit(rounding: Rounding) -> f64 {
    let largest_finite = |format| match format {
        Format::Fp16 => 65504.0,
        // (2 - 2⁻⁷) 2¹²⁷
        Format::Bf16 => (2.0 - 2f64.powi(-7)) * 2f64.powi(127),
        Format::Fp32 | Format::Tf32 => f64::from(f32::MAX),
        Format::Fp64 => f64::MAX,
    };
    [rounding.compute, rounding.accumulate, rounding.store].map(largest_finite).into_iter().fold(f64::MAX, f64::min)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::backend::reference::ReferenceBackend;
    use crate::engine::{Backend, BuildRequest};
    use crate::graph::Preset;
    use crate::input::Batch;
    use crate::model::{Architecture, Head, Injection, Model, ModelSource};

    fn of_tiny(start: &PrecisionPolicy, magnitude: f64) -> Vec<CandidateOp> {
        let random = Box::new(ModelSource::Random { seed: 1, architecture: Architecture::BertTiny });
        let source = ModelSource::Injected { source: random, inject: Injection { layer: 0, channel: 5, magnitude } };
        let model = Arc::new(Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap());
        let batch = Batch::single((0..9).collect());
        let fp32 = PrecisionPolicy::preset(Preset::Fp32);
        let request = BuildRequest::new(model.clone(), fp32, batch.shape, 1);
        let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
        engine.bind(&batch).unwrap();
        candidates(&model.graph, start, &engine.examine().unwrap().unwrap()).unwrap()
    }

    #[test]
    fn the_norm_that_reads_an_outlier_comes_first_with_its_square_as_headroom() {
        let all = of_tiny(&PrecisionPolicy::preset(Preset::Fp16), 300.0);
        assert_eq!((all[0].op.as_str(), all[0].layer), ("layer.0/mlp/layer_norm", Some(0)));
        // One channel of 300 among 64.
        let expected = (65504.0 / (300.0f64.powi(2) * 63.0 / 64.0)).log2();
        assert!((all[0].headroom_bits - expected).abs() < 0.05, "{} {expected}", all[0].headroom_bits);
        assert!(all.windows(2).all(|pair| pair[0].headroom_bits <= pair[1].headroom_bits));
        let bf16 = of_tiny(&PrecisionPolicy::preset(Preset::Bf16), 300.0);
        assert!(bf16[0].headroom_bits > 100.0, "bfloat16 has the range of FP32: {:?}", bf16[0]);
    }

    #[test]
    fn what_is_fp32_already_is_no_candidate_and_every_candidate_is_in_one_group_of_each_partition() {
        let hybrid = of_tiny(&PrecisionPolicy::preset(Preset::Hybrid), 300.0);
        assert!(hybrid.iter().all(|one| !matches!(one.class, OpClass::LayerNorm | OpClass::Residual)));
        assert!(hybrid.iter().any(|one| one.class == OpClass::Softmax), "stored in FP16");
        assert_eq!(of_tiny(&PrecisionPolicy::preset(Preset::Fp32), 300.0), []);
        for groups in partitions(&hybrid) {
            let mut members: Vec<usize> = groups.iter().flatten().copied().collect();
            members.sort_unstable();
            assert_eq!(members, (0..hybrid.len()).collect::<Vec<_>>());
            assert!(groups.len() > 1 && groups.windows(2).all(|pair| pair[0].first() < pair[1].first()));
        }
    }
}
