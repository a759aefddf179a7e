//! The noise floor in words.

use crate::analysis::noise::{Floor, floor, floors};
use crate::engine::BackendKind;
use crate::numbers;
use crate::report::table::Note;
use crate::results::data::Data;

/// The remark under a table of ratios of these backends; `None` where none of them was tested.
pub fn note(data: &Data, backends: &[BackendKind]) -> Option<Note> {
    let floors: Vec<Floor> = backends.iter().filter_map(|&backend| floor(data, backend)).collect();
    if floors.is_empty() {
        return None;
    }
    let each: Vec<String> =
        floors.iter().map(|found| format!("{} {}", found.backend, numbers::percent(found.floor))).collect();
    let text = format!(
        "Noise floor: {}. Two engines of one configuration can appear this far apart. A ratio is as uncertain as the \
         noise floor of the noisier of its two backends; a ratio nearer to 1 than that must not be called a \
         difference.",
        each.join(", ")
    );
    Some(Note { mark: String::new(), text })
}

/// The noise floors, or that there was no A/A test.
pub fn sentence(data: &Data) -> String {
    let floors = floors(data);
    if floors.is_empty() {
        return "This run has no A/A test, so its noise floor is not known.".to_owned();
    }
    let each: Vec<String> = floors
        .iter()
        .map(|found| {
            format!(
                "{} {} ({}, half of them within {})",
                found.backend,
                numbers::percent(found.floor),
                numbers::plural(found.rows.len(), "A/A test"),
                numbers::percent(found.typical)
            )
        })
        .collect();
    format!("The noise floor is {}.", each.join(", "))
}
