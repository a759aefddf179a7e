//! Headroom below FP16's largest value, per class of operation.

use crate::analysis::headroom;
use crate::analysis::headroom::Headroom;
use crate::numbers;
use crate::report::sentences::headroom::{layer_name, place_name};
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::{Data, distinct, slug};

const SLUG: &str = "headroom";

/// A table per model, its inputs side by side.
pub fn headroom(data: &Data) -> Vec<Table> {
    let all = headroom::of(data);
    let caption = |model: &str| {
        let what = "Largest magnitude in FP32 runs per class of operation, the layer that has it, and the headroom of \
                    FP16 above it, log₂(65504 / magnitude), in bits. Where the headroom is negative, FP16 overflows";
        match model {
            "" => format!("{what}."),
            model => format!("{what}. Model {model}."),
        }
    };
    if all.is_empty() {
        let why =
            "No FP32 run of the reference backend recorded magnitudes; the manifest's numerics.forwards asks for them.";
        return vec![Table::empty(SLUG, caption(""), why)];
    }
    let models = distinct(all.iter().map(|found| found.model));
    let table = |(index, model): (usize, &&str)| {
        let inputs: Vec<&Headroom> = all.iter().filter(|found| found.model == *model).collect();
        let injected = data.rows.iter().find(|row| row.model == **model);
        let label = injected.map_or_else(|| (*model).to_string(), super::forwards::labelled);
        table_of(format!("{SLUG}-{}-{}", index + 1, slug(model)), caption(&label), &inputs)
    };
    models.iter().enumerate().map(table).collect()
}

fn table_of(slug: String, caption: String, inputs: &[&Headroom]) -> Table {
    let mut headings = vec![Heading::text("Operation")];
    for found in inputs {
        headings.extend(["largest", "layer", "headroom"].map(|text| Heading::number(text).under(found.input)));
    }
    let mut table = Table::new(slug, caption, headings);
    for place in distinct(inputs.iter().flat_map(|found| found.places())) {
        let mut cells = vec![TableCell::new(place_name(place))];
        for found in inputs {
            let worst = found.worst(place);
            let values = [
                TableCell::optional(worst.map(|worst| numbers::magnitude(worst.magnitude))),
                TableCell::optional(worst.map(|worst| layer_name(worst.layer))),
                TableCell::optional(worst.map(|worst| numbers::fixed(worst.bits, 1))),
            ];
            cells.extend(values.map(|cell| if worst.is_some() { cell.of(found.rows.iter().copied()) } else { cell }));
        }
        table.push(cells);
    }
    let text = "The sum of squares is over a row's deviations from its mean; a layer norm that sums before it divides \
                must hold this sum in its own format. Layer “outside” is before the first layer or after the last. Each \
                value is the largest over all shapes and passes of the run.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table
}
