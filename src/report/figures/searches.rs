//! Minimal sets by layer: a panel per model and input, layers across, the operations of a layer down. A cell has a strip for each
//! tolerance, filled where the operation needs FP32.

use super::canvas::{Anchor, Canvas, GRID, Point, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles};
use super::{Figure, FigureError};
use crate::record::certificate::Certificate;
use crate::report::sentences::searches::part;
use crate::results::data::distinct;

const SLUG: &str = "figure-searches";
const CAPTION: &str = "Operations that need FP32, by layer: a strip for each tolerance of the table, from the loosest at the left to the \
                       tightest at the right, filled where the set has the operation. Above each panel: the number of operations in \
                       each set. The column “–” holds the operations before the first layer and after the last.";
/// Colours of the palette, loosest tolerance first.
const COLOURS: [usize; 4] = [6, 1, 4, 5];

/// A panel for each model, input, start, backend and shape.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn minimal_sets(searches: &[Certificate]) -> Result<Figure, FigureError> {
    let subjects: Vec<&[Certificate]> = searches.chunk_by(|a, b| a.subject_key() == b.subject_key()).collect();
    let most = subjects.iter().map(|subject| subject.len()).max().unwrap_or(0);
    let entry = |strip| LegendEntry { label: label(strip, most), colour: strip_colour(strip), marker: 2 };
    let layout = Layout::new(subjects.len(), (0..most).map(entry).collect(), 0);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;
    for (index, subject) in subjects.iter().enumerate() {
        draw(&canvas, layout.panel(index), subject)?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    Ok(Figure::drawn(SLUG, CAPTION.to_owned(), svg))
}

fn strip_colour(strip: usize) -> usize {
    COLOURS[strip % COLOURS.len()]
}

fn label(strip: usize, strips: usize) -> String {
    match strip {
        0 if strips == 1 => "needs FP32".to_owned(),
        0 => "loosest tolerance".to_owned(),
        _ if strip + 1 == strips => "tightest".to_owned(),
        _ if strips == 3 => "between".to_owned(),
        _ => format!("tolerance {}", strip + 1),
    }
}

fn draw(canvas: &Canvas, panel: Panel, subject: &[Certificate]) -> Result<(), FigureError> {
    let Some(first) = subject.first() else { return Ok(()) };
    let needed = || subject.iter().flat_map(|one| &one.operations);
    let layers = first.subject.layers.map(|layers| layers as u64);
    let layers = layers.or(needed().filter_map(|one| one.layer).max().map(|last| last + 1)).unwrap_or(0);
    let parts = distinct(needed().map(|one| part(&one.op)));
    let (columns, rows) = (layers as f64 + 1.0, parts.len() as f64);
    for (row, part) in parts.iter().enumerate() {
        let (x, y) = panel.point(0.0, 1.0 - (row as f64 + 0.5) / rows);
        canvas.text(&short(part), (x - 6, y), Anchor::End)?;
        let (_, below) = panel.point(0.0, 1.0 - (row as f64 + 1.0) / rows);
        canvas.line(vec![(x, below), (panel.x(1.0), below)], GRID, 1)?;
    }
    for (strip, one) in subject.iter().enumerate() {
        for operation in &one.operations {
            let Some(row) = parts.iter().position(|known| *known == part(&operation.op)) else { continue };
            let column = operation.layer.unwrap_or(layers) as f64;
            let x = |strip: usize| panel.x((column + strip as f64 / subject.len() as f64) / columns);
            let y = |row: usize| panel.y(1.0 - row as f64 / rows);
            let corners: [Point; 2] = [(x(strip) + 1, y(row) + 2), (x(strip + 1), y(row + 1) - 2)];
            canvas.bar(corners, colour(strip_colour(strip)))?;
        }
    }
    for layer in 0..=layers {
        let label = if layer == layers { "–".to_owned() } else { layer.to_string() };
        panel.x_tick(canvas, (layer as f64 + 0.5) / columns, &label, false)?;
        canvas.line(
            vec![panel.point(layer as f64 / columns, 0.0), panel.point(layer as f64 / columns, 1.0)],
            GRID,
            1,
        )?;
    }
    if parts.is_empty() {
        canvas.text("no operation needs FP32", panel.point(0.5, 0.5), Anchor::Middle)?;
    }
    let counts: Vec<String> = subject.iter().map(|one| one.operations.len().to_string()).collect();
    let (model, input, ..) = first.subject_key();
    let title = format!("{model}, {input}: {} of {}", counts.join(", "), first.subject.candidates);
    panel.frame(canvas, &Titles { title: &title, x: "layer", y: "" }, 36)
}

/// A name that fits next to the panel.
fn short(part: &str) -> String {
    let words = [
        ("attention/", "att "),
        ("embeddings/", "emb "),
        ("layer_norm", "norm"),
        ("residual", "res"),
        ("softmax", "soft"),
        ("context", "ctx"),
        ("output", "out"),
    ];
    let text = words.into_iter().fold(part.to_owned(), |text, (long, short)| text.replace(long, short));
    text.replace('/', " ").chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_beside_a_panel() {
        let names = ["attention/layer_norm", "mlp/layer_norm", "final/layer_norm", "attention/scores", "pooler/tanh"];
        assert_eq!(names.map(short), ["att norm", "mlp norm", "final norm", "att scores", "pooler tan"]);
        assert_eq!([0, 1, 2].map(|strip| label(strip, 3)), ["loosest tolerance", "between", "tightest"]);
    }
}
