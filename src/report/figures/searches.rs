//! Minimal sets: a row for each model, input and tolerance, layers across; a cell is filled where an operation of the layer needs FP32.

use super::canvas::{Anchor, Canvas, GRID, INK, colour};
use super::panel::WIDTH;
use super::{Figure, FigureError};
use crate::record::certificate::Certificate;
use crate::report::sentences::searches::{part, subject, tolerance};
use crate::results::data::distinct;

const SLUG: &str = "figure-searches";
const CAPTION: &str = "Operations that need FP32, by layer, for each tolerance: a cell is filled where the set has an operation of the layer, \
                       in the colour of the operation. The column “–” holds the operations before the first layer and after the \
                       last. At the right: how many of the operations that the policy at the start rounds.";
const ROW: i32 = 22;
const GAP: i32 = 12;
/// Where the cells begin and end; labels stand beside them.
const CELLS: (i32, i32) = (470, WIDTH - 76);
const TOP: i32 = 12;
const LEGEND_COLUMN: i32 = 190;

/// A group of rows for each model, input, start, backend and shape.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn minimal_sets(searches: &[Certificate]) -> Result<Figure, FigureError> {
    let subjects: Vec<&[Certificate]> = searches.chunk_by(|a, b| a.subject_key() == b.subject_key()).collect();
    let parts = distinct(searches.iter().flat_map(|one| &one.operations).map(|one| part(&one.op)));
    let bottom = TOP + ROW * searches.len() as i32 + GAP * subjects.len() as i32;
    let legend_lines = (parts.len() as i32 + 3) / 4;
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, (WIDTH as u32, (bottom + 48 + ROW * legend_lines).unsigned_abs()))?;
    let columns = searches.iter().map(layers).max().unwrap_or(0) + 1;
    let mut top = TOP;
    for subject in subjects {
        for (index, one) in subject.iter().enumerate() {
            row(&canvas, (top, index == 0), one, (columns, &parts))?;
            top += ROW;
        }
        canvas.line(vec![(8, top + GAP / 2), (WIDTH - 8, top + GAP / 2)], GRID, 1)?;
        top += GAP;
    }
    for column in 0..columns {
        let label = if column + 1 == columns { "–".to_owned() } else { column.to_string() };
        canvas.text(&label, ((x(column, columns) + x(column + 1, columns)) / 2, bottom + 8), Anchor::Middle)?;
    }
    canvas.text("layer", ((CELLS.0 + CELLS.1) / 2, bottom + 28), Anchor::Middle)?;
    for (index, part) in parts.iter().enumerate() {
        let (left, y) = (12 + LEGEND_COLUMN * (index as i32 % 4), bottom + 48 + ROW * (index as i32 / 4));
        canvas.marker((left, y), 2, colour(index))?;
        canvas.text(part, (left + 12, y), Anchor::Start)?;
    }
    canvas.finish()?;
    Ok(Figure::drawn(SLUG, CAPTION.to_owned(), svg))
}

/// Layers of a model; of an older certificate, as many as its set shows.
fn layers(one: &Certificate) -> u64 {
    let shown = one.operations.iter().filter_map(|one| one.layer).max().map_or(0, |last| last + 1);
    one.subject.layers.map_or(shown, |layers| layers as u64)
}

/// Left edge of a column, pixels.
fn x(column: u64, columns: u64) -> i32 {
    CELLS.0 + (f64::from(CELLS.1 - CELLS.0) * column as f64 / columns as f64).round() as i32
}

/// One set; the first of its group names the model and the input.
fn row(
    canvas: &Canvas,
    (top, first): (i32, bool),
    one: &Certificate,
    (columns, parts): (u64, &[&str]),
) -> Result<(), FigureError> {
    let middle = top + ROW / 2;
    if first {
        canvas.text(&subject(one), (8, middle), Anchor::Start)?;
    }
    canvas.text(&tolerance(&one.tolerance), (CELLS.0 - 8, middle), Anchor::End)?;
    for column in 0..=columns {
        canvas.line(vec![(x(column, columns), top), (x(column, columns), top + ROW)], GRID, 1)?;
    }
    for column in 0..columns {
        let layer = Some(column).filter(|_| column + 1 < columns);
        let needed: Vec<&str> =
            one.operations.iter().filter(|one| one.layer == layer).map(|one| part(&one.op)).collect();
        for (strip, part) in needed.iter().enumerate() {
            let (left, right) = (x(column, columns) + 2, x(column + 1, columns) - 1);
            let edge = |strip: usize| left + (right - left) * strip as i32 / needed.len() as i32;
            let index = parts.iter().position(|known| known == part).unwrap_or(0);
            canvas.bar([(edge(strip), top + 3), (edge(strip + 1), top + ROW - 3)], colour(index))?;
        }
    }
    let count = format!("{} of {}", one.operations.len(), one.subject.candidates);
    canvas.line(vec![(CELLS.0, top), (CELLS.0, top + ROW)], INK, 1)?;
    canvas.text(&count, (WIDTH - 8, middle), Anchor::End)
}
