//! What a row says of an engine's outputs.

use std::sync::Arc;

use super::protocol::{References, Settings};
use crate::engine::Engine;
use crate::graph::Preset;
use crate::input::{Batch, InputStream};
use crate::model::{Model, ScoreFunction};
use crate::numerics::{
    ComparisonSettings, Evaluation, ForwardReferences, Forwards, Part, PathOf, ReferenceOutputs, ReferenceSource,
    compare, evaluate, limit_forwards,
};
use crate::plan::Configuration;
use crate::record::{Failure, NOT_SCORED, NumericsSummary, QualitySummary};

/// The outputs of the measured batch and of the forwards against the references, and the task's quality.
pub(super) fn examined(
    settings: &Settings,
    (of, references): (&Configuration, &References),
    (model, input): (&Arc<Model>, &InputStream),
    engine: &mut dyn Engine,
    batch: &Batch,
) -> Result<(NumericsSummary, QualitySummary), Failure> {
    let numerics = settings.numerics;
    let part = Part::Compared(numerics.compare_sequences);
    let source = ReferenceSource { model, input, sequence: of.shape.sequence, part };
    let path = |part| ReferenceOutputs::path(&references.dir, of, part);
    let reference = match &references.compared_missing {
        None => source.read(&path(part)).map_err(|error| error.to_string()),
        Some(reason) => Err(reason.clone()),
    };
    let tolerance = settings.tolerances.get(&of.policy.name);
    let reference = reference.as_ref().map_err(Clone::clone);
    let alternatives = model.config.score_function() == ScoreFunction::Softmax;
    let limits = ComparisonSettings { settings: numerics, tolerance, alternatives };
    let output = engine.outputs()?;
    let has_cosine = output.width > 1;
    let mut found = compare(&output, batch, reference, limits);
    let Evaluation { quality, remark } = evaluate(engine, input, of.shape, numerics)
        .unwrap_or_else(|error| Evaluation { remark: Some(format!("{NOT_SCORED}{error}")), ..Evaluation::default() });
    remark.into_iter().for_each(|remark| found.add_remark(&remark));
    let forwards = Forwards {
        graph: &model.graph,
        shape: of.shape,
        settings: numerics,
        fp32: of.policy.as_preset() == Some(Preset::Fp32),
    };
    let paths: Result<PathOf<'_>, String> = match &references.forwards_missing {
        None => Ok(Box::new(path)),
        Some(reason) => Err(reason.clone()),
    };
    match forwards.examine(engine, input, &mut ForwardReferences::new(source, paths), &mut found) {
        Ok(counted) => found.forwards = Some(counted),
        Err(error) => found.add_remark(&format!("passes not examined: {error}")),
    }
    limit_forwards(&mut found, tolerance, has_cosine);
    Ok((found, quality))
}
