//! A/A tests: the same engine under two names.

use crate::analysis::facts;
use crate::analysis::noise::floors;
use crate::numbers;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::Data;
use crate::store::schema::ResultRow;

const SLUG: &str = "noise-floor";

/// A row per backend that was tested.
pub fn noise_floor(data: &Data) -> Table {
    let caption = "Noise floor: the ratio of the times of two engines of one configuration, timed interleaved.";
    let floors = floors(data);
    if floors.is_empty() {
        let why = "No configuration was timed against itself: the manifest asks for no `noise_floor`, or none of the \
                   configurations that it names has run.";
        return Table::empty(SLUG, caption, why);
    }
    let headings = vec![
        Heading::text("Backend"),
        Heading::number("Tests"),
        Heading::number("Rounds"),
        Heading::number("lowest").under("Ratio"),
        Heading::number("highest").under("Ratio"),
        Heading::number("typical").under("Noise: distance from 1"),
        Heading::number("noise floor").under("Noise: distance from 1"),
        Heading::sentences("at", 5),
    ];
    let mut table = Table::new(SLUG, caption, headings);
    for found in &floors {
        let ratio = |pick: fn(f64, f64) -> f64| found.rows.iter().filter_map(|row| row.aa_ratio).reduce(pick);
        let ratio = |pick| TableCell::optional(ratio(pick).map(|ratio| numbers::fixed(ratio, 4)));
        let cells = vec![
            found.backend.name().into(),
            numbers::count(found.rows.len() as u64).into(),
            rounds(&found.rows).into(),
            ratio(f64::min),
            ratio(f64::max),
            format!("±{}", numbers::percent(found.typical)).into(),
            format!("±{}", numbers::percent(found.floor)).into(),
            TableCell {
                source: Some(found.worst.id.clone()),
                ..TableCell::new(facts::configuration_label(found.worst))
            },
        ];
        table.push_of(cells, found.rows.iter().copied());
    }
    for text in [
        "A round is four blocks of passes, two of each engine, in an order that cancels a steady drift; the ratio is \
         the median over rounds.",
        "Noise is the largest distance from 1 within a test's bootstrap 95 % interval over rounds; typical is the \
         median over tests, and the noise floor is the largest. This is noise within one process; noise between runs is \
         larger.",
    ] {
        table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    }
    let tested = floors.iter().flat_map(|found| found.rows.iter().copied());
    let mut table = table.covering(tested);
    let untested: Vec<&str> = data.measured().filter_map(|row| row.aa_remark.as_deref()).collect();
    if let Some(first) = untested.first() {
        let text = format!("{} could not be run: {first}.", numbers::plural(untested.len(), "test"));
        table.notes.push(Note { mark: String::new(), text });
    }
    table
}

/// `20`, `6 to 20`
fn rounds(rows: &[&ResultRow]) -> String {
    let rounds = || rows.iter().filter_map(|row| row.aa_rounds);
    match (rounds().min(), rounds().max()) {
        (Some(least), Some(most)) if least == most => numbers::count(least),
        (Some(least), Some(most)) => format!("{} to {}", numbers::count(least), numbers::count(most)),
        _ => "–".to_owned(),
    }
}
