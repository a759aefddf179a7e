//! Checkpoints and data that were exchanged: the digests that a manifest pins, and labels that answers are compared with.

use std::fs;
use std::path::Path;

use super::experiment::{Cells, Classifier, SENTENCES};
use super::{Mutation, Said, State};
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

/// The reason of a row that failed.
fn failure(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(failure) => Some(failure.reason),
        Outcome::Ok(_) | Outcome::Built(_) => None,
    }
}

fn scaled_checkpoint(folder: &Path, state: State) -> Said {
    let mut model = Classifier::drawn(folder)?;
    let pin = model.write(folder, "tiny")?;
    if state.is_mutated() {
        model.values("intermediate.dense.weight")?.iter_mut().for_each(|value| *value *= 1.01);
        model.write(folder, "tiny")?;
    }
    let models = format!("{{tiny: {{checkpoint: tiny, sha256: \"{pin}\"}}}}");
    Ok(failure(Cells { models: &models, ..Cells::default() }.outcome(folder)?))
}

fn swapped_label(folder: &Path, state: State) -> Said {
    Classifier::drawn(folder)?.write(folder, "tiny")?;
    let sentences = match state {
        State::Whole => SENTENCES.to_owned(),
        State::Mutated => SENTENCES.replacen("good\t1", "good\t0", 1),
    };
    fs::write(folder.join("dev.tsv"), sentences)?;
    let inputs = format!("{{sentences: {{sst2: dev.tsv, sha256: \"{}\"}}}}", sha256(SENTENCES.as_bytes()));
    let cells = Cells { models: "{tiny: {checkpoint: tiny}}", inputs: &inputs, ..Cells::default() };
    Ok(failure(cells.outcome(folder)?))
}

/// What the table of task quality counts: sentences answered otherwise than by the row compared with.
fn swapped_classes(folder: &Path, state: State) -> Said {
    fs::write(folder.join("dev.tsv"), SENTENCES)?;
    let mut model = Classifier::drawn(folder)?;
    let cells =
        Cells { models: "{tiny: {checkpoint: tiny}}", inputs: "{sentences: {sst2: dev.tsv}}", ..Cells::default() };
    model.write(folder, "tiny")?;
    let base = cells.row(folder, cells.measured(folder)?)?;
    if state.is_mutated() {
        for tensor in ["classifier.weight", "classifier.bias"] {
            let values = model.values(tensor)?;
            let half = values.len() / 2;
            values.rotate_left(half);
        }
        model.write(folder, "tiny")?;
    }
    let row = cells.row(folder, cells.measured(folder)?)?;
    let answered = |row: &ResultRow| row.task_predictions.as_ref().map_or(0, String::len);
    Ok(flips(&base, &row).filter(|&flips| flips > 0).map(|flips| {
        let (right, before) = (row.task_correct.unwrap_or(0), base.task_correct.unwrap_or(0));
        format!("{flips} of {} answers flipped, {right} right where {before} were", answered(&row))
    }))
}
