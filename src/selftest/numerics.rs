//! Faults in numbers: NaN, overflow, silent layer norms, changed weights, damaged references.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::experiment::{Classifier, TestManifest, flip};
use super::{Mutation, Objection, SelftestError, Variant};
use crate::backend::reference::ReferenceBackend;
use crate::engine::{Backend, BuildRequest};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::input::{InputSource, InputStream};
use crate::manifest::schema::{Numerics, Tolerance};
use crate::model::{Head, Model, ModelSource};
use crate::numerics::{ComparisonSettings, Part, ReferenceOutputs, ReferenceSource, compare};
use crate::record::{BadKind, EngineMeasurements};

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation::new("numerics", "a NaN in one weight", nan),
        Mutation::new("overflow", "an activation of 100000 under FP16", |folder, variant| {
            bad_operation(folder, &tiny("bert-tiny", 100_000, variant), BadKind::Inf)
        }),
        Mutation::new("silent failure", "an activation of 300 before a layer norm under FP16", |folder, variant| {
            bad_operation(folder, &tiny("gpt2-tiny", 300, variant), BadKind::Silent)
        }),
        Mutation::new("broken rows", "an activation of 300 before a layer norm under FP16, in every pass", broken_rows),
        Mutation::new("comparison with FP32", "one weight tensor times 1.01", scaled_weight),
        Mutation::new(
            "reference of other weights",
            "one weight tensor times 1.01, after the reference was made",
            other_weights,
        ),
        Mutation::new("reference file", "a flipped bit in the FP32 reference", damaged_reference),
    ]
}

/// A model of this architecture. The mutated variant has an activation of this magnitude.
fn tiny(architecture: &str, magnitude: u32, variant: Variant) -> String {
    let (name, inject) = match variant {
        Variant::Whole => ("tiny", String::new()),
        Variant::Mutated => ("tiny-injected", format!(", inject: {{layer: 1, channel: 7, magnitude: {magnitude}}}")),
    };
    format!("{{{name}: {{random: 1, architecture: {architecture}{inject}}}}}")
}

/// Follows the whole path of a row: checkpoint, engine, comparison, tolerance. The reference comes from the same
/// weights, so it has the NaN too. The count of non-finite values does not depend on it.
fn nan(folder: &Path, variant: Variant) -> Objection {
    let mut model = Classifier::drawn(folder)?;
    if variant.is_mutated() {
        model.values("output.dense.weight")?[3] = f32::NAN;
    }
    model.write(folder, "tiny")?;
    let EngineMeasurements { numerics, .. } =
        TestManifest { models: "{tiny: {checkpoint: tiny}}", ..TestManifest::default() }.measured(folder)?;
    Ok(match (numerics.within_tolerance, numerics.nan_count) {
        (Some(false), 1..) => numerics.remark,
        _ => None,
    })
}

/// The passes in which rows are broken. The activation leaves no NaN.
fn broken_rows(folder: &Path, variant: Variant) -> Objection {
    let models = &tiny("gpt2-tiny", 300, variant);
    let more = "numerics: {forwards: 3}\n";
    let measured = TestManifest { models, precision: "fp16", more, ..TestManifest::default() }.measured(folder)?;
    let forwards = measured.numerics.forwards.unwrap_or_default();
    Ok(forwards.failed_forwards.zip(forwards.broken_rows).filter(|(failed, _)| *failed > 0).map(|(failed, rows)| {
        format!(
            "{failed} of {} passes fail, with {rows} broken rows and {} NaN",
            forwards.forwards, forwards.nan_forwards
        )
    }))
}

/// The first failing operation that the examination finds in an FP16 row, if it fails in this way.
fn bad_operation(folder: &Path, models: &str, wanted: BadKind) -> Objection {
    let measured = TestManifest { models, precision: "fp16", ..TestManifest::default() }.measured(folder)?;
    let first = measured.numerics.forwards.and_then(|forwards| forwards.first_bad).filter(|first| first.kind == wanted);
    Ok(first.map(|first| {
        let magnitude = first.magnitude.map(|value| format!(", which reads {value}")).unwrap_or_default();
        format!("{} begins in {}{magnitude}", first.kind.label(), first.op)
    }))
}

const SHAPE: Shape = Shape { batch: 1, sequence: 8 };
const SETTINGS: Numerics = Numerics { compare_sequences: 1, ..Numerics::DEFAULT };

fn source<'a>(model: &'a Arc<Model>, input: &'a InputStream) -> ReferenceSource<'a> {
    ReferenceSource { model, input, sequence: SHAPE.sequence, part: Part::Compared(SETTINGS.compare_sequences) }
}

/// The original model's reference, a model that may have a scaled weight, and the input of both.
struct Scaled {
    reference: PathBuf,
    model: Arc<Model>,
    input: InputStream,
}

fn scaled(folder: &Path, variant: Variant) -> Result<Scaled, SelftestError> {
    let open = |name: &str| -> Result<Arc<Model>, SelftestError> {
        let source = ModelSource::Checkpoint { path: name.into(), sha256: None };
        Ok(Arc::new(Model::open(name, &source, folder, Head::Natural)?))
    };
    let mut weights = Classifier::drawn(folder)?;
    weights.write(folder, "original")?;
    let original = open("original")?;
    let input = InputStream::open(&InputSource::Random { seed: 7 }, folder, &original)?;
    let reference = folder.join("reference.safetensors");
    source(&original, &input).compute(&reference, &ReferenceBackend::default())?;
    if variant.is_mutated() {
        weights.values("intermediate.dense.weight")?.iter_mut().for_each(|value| *value *= 1.01);
    }
    weights.write(folder, "scaled")?;
    Ok(Scaled { reference, model: open("scaled")?, input })
}

fn scaled_weight(folder: &Path, variant: Variant) -> Objection {
    let Scaled { reference, model, input } = scaled(folder, variant)?;
    let request = BuildRequest::new(model, PrecisionPolicy::preset(Preset::Fp32), SHAPE, 1);
    let mut engine = ReferenceBackend::default().build(&request)?.engine?;
    let batch = input.batch(SHAPE, 0)?;
    engine.bind(&batch)?;
    engine.enqueue()?;
    let limit = Tolerance { relative_l2: Some(1e-6), ..Tolerance::default() };
    let reference = ReferenceOutputs::read(&reference)?;
    let limits = ComparisonSettings { settings: SETTINGS, tolerance: Some(&limit), alternatives: true };
    Ok(compare(&engine.outputs()?, &batch, Ok(&reference), limits).remark)
}

fn other_weights(folder: &Path, variant: Variant) -> Objection {
    let Scaled { reference, model, input } = scaled(folder, variant)?;
    Ok(source(&model, &input).read(&reference).err().map(|error| error.to_string()))
}

fn damaged_reference(folder: &Path, variant: Variant) -> Objection {
    let Scaled { reference, model, input } = scaled(folder, Variant::Whole)?;
    if variant.is_mutated() {
        flip(&reference, 0)?;
    }
    Ok(source(&model, &input).read(&reference).err().map(|error| error.to_string()))
}
