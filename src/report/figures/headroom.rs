//! Heat map of the headroom below FP16's largest value: a panel per model and input, layers across, operations down.

use super::canvas::{Anchor, Canvas, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles};
use super::{Figure, FigureError};
use crate::analysis::headroom;
use crate::analysis::headroom::Headroom;
use crate::graph::OpClass;
use crate::record::magnitudes::MagnitudeKind;
use crate::results::data::{Data, distinct};

const SLUG: &str = "figure-headroom";
const CAPTION: &str = "Headroom below FP16's largest value, log₂(65504 / largest magnitude), in FP32 runs: one cell per \
                       layer and class of operation. Σd² is the sum of squared deviations inside a layer norm. The \
                       column “–” holds the operations before the first layer and after the last.";

/// A class of headroom: its lower end in bits, its label and its colour in the palette.
struct Band {
    from: f64,
    label: &'static str,
    colour: usize,
}

/// From hot to cool; the first that holds a value is its band.
const BANDS: [Band; 5] = [
    Band { from: 8.0, label: "8 bits and more", colour: 0 },
    Band { from: 4.0, label: "4 to 8", colour: 5 },
    Band { from: 1.0, label: "1 to 4", colour: 4 },
    Band { from: 0.0, label: "0 to 1", colour: 1 },
    Band { from: f64::NEG_INFINITY, label: "overflows", colour: 6 },
];

/// A panel per model and input.
///
/// # Errors
/// [`FigureError::Draw`].
pub(super) fn map(data: &Data) -> Result<Figure, FigureError> {
    let all = headroom::of(data);
    if all.is_empty() {
        return Ok(Figure::empty(SLUG, CAPTION, "No FP32 run of the reference backend recorded magnitudes."));
    }
    let entry = |band: &Band| LegendEntry { label: band.label.to_owned(), colour: band.colour, marker: 2 };
    let layout = Layout::new(all.len(), BANDS.iter().map(entry).collect(), 0);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;
    for (index, found) in all.iter().enumerate() {
        draw(&canvas, layout.panel(index), found)?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    Ok(Figure::drawn(SLUG, CAPTION.to_owned(), svg))
}

fn draw(canvas: &Canvas, panel: Panel, found: &Headroom) -> Result<(), FigureError> {
    let places = distinct(found.places().into_iter());
    let layers = found.layers();
    let (across, down) = (1.0 / layers.len() as f64, 1.0 / places.len() as f64);
    for (row, &place) in places.iter().enumerate() {
        let top = 1.0 - row as f64 * down;
        let (x, y) = panel.point(0.0, top - down / 2.0);
        canvas.text(short(place), (x - 6, y), Anchor::End)?;
        for (column, &layer) in layers.iter().enumerate() {
            let Some(bits) = found.bits(layer, place) else { continue };
            let left = column as f64 * across;
            let (x0, y0) = panel.point(left, top);
            let (x1, y1) = panel.point(left + across, top - down);
            canvas.bar([(x0 + 1, y0 + 1), (x1 - 1, y1 - 1)], colour(band(bits).colour))?;
        }
    }
    for (column, layer) in layers.iter().enumerate() {
        let label = layer.map_or_else(|| "–".to_owned(), |layer| layer.to_string());
        panel.x_tick(canvas, (column as f64 + 0.5) * across, &label, false)?;
    }
    let title = format!("{}, {}", found.model, found.input);
    panel.frame(canvas, &Titles { title: &title, x: "layer", y: "" }, 36)
}

fn band(bits: f64) -> &'static Band {
    // The last holds everything.
    BANDS.iter().find(|band| bits >= band.from).unwrap_or(&BANDS[BANDS.len() - 1])
}

/// A name that fits next to the panel.
fn short(place: MagnitudeKind) -> &'static str {
    match place {
        MagnitudeKind::SquareSum => "Σd²",
        MagnitudeKind::Output(OpClass::Embedding) => "embed",
        MagnitudeKind::Output(OpClass::LayerNorm) => "norm",
        MagnitudeKind::Output(OpClass::Linear) => "linear",
        MagnitudeKind::Output(OpClass::ResidualLinear) => "res. lin.",
        MagnitudeKind::Output(OpClass::OutputLinear) => "logits",
        MagnitudeKind::Output(OpClass::AttentionScores) => "scores",
        MagnitudeKind::Output(OpClass::AttentionContext) => "context",
        MagnitudeKind::Output(OpClass::Softmax) => "softmax",
        MagnitudeKind::Output(OpClass::Gelu) => "gelu",
        MagnitudeKind::Output(OpClass::Tanh) => "tanh",
        MagnitudeKind::Output(OpClass::Residual) => "residual",
        MagnitudeKind::Output(OpClass::Select) => "select",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_meet_at_their_ends() {
        let labels = [9.0, 8.0, 7.9, 4.0, 1.0, 0.99, 0.0, -0.001, -20.0].map(|bits| band(bits).label);
        let expected = ["8 bits and more", "8 bits and more", "4 to 8", "4 to 8", "1 to 4", "0 to 1", "0 to 1"];
        assert_eq!(labels[..7], expected);
        assert_eq!(labels[7..], ["overflows", "overflows"]);
    }
}
