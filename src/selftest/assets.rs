//! Faults in checkpoints and data. A manifest's digests and the paired answers must reveal them.

use std::fs;
use std::path::Path;

use super::experiment::{Classifier, SENTENCES, TestManifest};
use super::{Mutation, Objection, Variant};
use crate::analysis::facts::flips;
use crate::digest::sha256;
use crate::record::Outcome;
use crate::store::schema::ResultRow;

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation::new("checkpoint pin", "one weight tensor times 1.01 in a pinned checkpoint", scaled_checkpoint),
        Mutation::new("dataset pin", "one label swapped in a pinned file of sentences", swapped_label),
        Mutation::new("paired answers", "the two labels of the classifier swapped", swapped_classes),
    ]
}

/// The reason of a failed row.
fn failure(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(failure) => Some(failure.reason),
        Outcome::Ok(_) | Outcome::Built(_) => None,
    }
}

fn scaled_checkpoint(folder: &Path, variant: Variant) -> Objection {
    let mut model = Classifier::drawn(folder)?;
    let pin = model.write(folder, "tiny")?;
    if variant.is_mutated() {
        model.values("intermediate.dense.weight")?.iter_mut().for_each(|value| *value *= 1.01);
        model.write(folder, "tiny")?;
    }
    let models = format!("{{tiny: {{checkpoint: tiny, sha256: \"{pin}\"}}}}");
    Ok(failure(TestManifest { models: &models, ..TestManifest::default() }.outcome(folder)?))
}

fn swapped_label(folder: &Path, variant: Variant) -> Objection {
    Classifier::drawn(folder)?.write(folder, "tiny")?;
    let sentences = match variant {
        Variant::Whole => SENTENCES.to_owned(),
        Variant::Mutated => SENTENCES.replacen("good\t1", "good\t0", 1),
    };
    fs::write(folder.join("dev.tsv"), sentences)?;
    let inputs = format!("{{sentences: {{sst2: dev.tsv, sha256: \"{}\"}}}}", sha256(SENTENCES.as_bytes()));
    let manifest = TestManifest { models: "{tiny: {checkpoint: tiny}}", inputs: &inputs, ..TestManifest::default() };
    Ok(failure(manifest.outcome(folder)?))
}

/// Counts flipped answers, as the table of task quality does: sentences that the two rows answer differently.
fn swapped_classes(folder: &Path, variant: Variant) -> Objection {
    fs::write(folder.join("dev.tsv"), SENTENCES)?;
    let mut model = Classifier::drawn(folder)?;
    let manifest = TestManifest {
        models: "{tiny: {checkpoint: tiny}}",
        inputs: "{sentences: {sst2: dev.tsv}}",
        ..TestManifest::default()
    };
    model.write(folder, "tiny")?;
    let base = manifest.row(folder, manifest.measured(folder)?)?;
    if variant.is_mutated() {
        for tensor in ["classifier.weight", "classifier.bias"] {
            let values = model.values(tensor)?;
            let half = values.len() / 2;
            values.rotate_left(half);
        }
        model.write(folder, "tiny")?;
    }
    let row = manifest.row(folder, manifest.measured(folder)?)?;
    let answered = |row: &ResultRow| row.task_predictions.as_ref().map_or(0, String::len);
    Ok(flips(&base, &row).filter(|&flips| flips > 0).map(|flips| {
        let (right, before) = (row.task_correct.unwrap_or(0), base.task_correct.unwrap_or(0));
        format!("{flips} of {} answers flipped, {right} right where {before} were", answered(&row))
    }))
}
