//! Times of other engines over mixprec's: a panel per model, shapes across, a bar per peer.

use super::axis::Scale;
use super::canvas::{Canvas, INK, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles};
use super::{Figure, FigureError};
use crate::report::sentences::peers::setting;
use crate::results::data::distinct;
use crate::results::peers::PeerRow;

const SLUG: &str = "figure-peers";

/// Share of a shape's place that its bars fill.
const FILLED: f64 = 0.72;

/// A panel per model.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn peers(rows: &[PeerRow]) -> Result<Figure, FigureError> {
    let models = distinct(rows.iter().map(|row| row.model.as_str()));
    let names = distinct(rows.iter().map(|row| row.peer.as_str()));
    let entry = |(index, name): (usize, &&str)| LegendEntry { label: (*name).to_owned(), colour: index, marker: 2 };
    let layout = Layout::new(models.len(), names.iter().enumerate().map(entry).collect(), 0);
    let ends: Vec<f64> = rows.iter().flat_map(|row| [row.ratio, row.interval.1, 1.0]).collect();
    let scale = Scale::linear(&ends);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;
    for (index, model) in models.iter().enumerate() {
        let own: Vec<&PeerRow> = rows.iter().filter(|row| row.model == *model).collect();
        draw(&canvas, layout.panel(index), &own, (&names, scale))?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    let caption = format!(
        "Time of a forward pass in other engines over that in mixprec's, by batch size × sequence length; bars have 95 % \
         intervals. The line at 1 is mixprec's own time: above it mixprec is faster. {}",
        setting(rows)
    );
    Ok(Figure::drawn(SLUG, caption, svg))
}

fn draw(canvas: &Canvas, panel: Panel, rows: &[&PeerRow], (names, scale): (&[&str], Scale)) -> Result<(), FigureError> {
    let shapes = distinct(rows.iter().map(|row| row.shape));
    let (place, width) = (1.0 / shapes.len() as f64, FILLED / (shapes.len() * names.len()) as f64);
    panel.y_ticks(canvas, scale)?;
    for (index, (batch, sequence)) in shapes.iter().enumerate() {
        panel.x_tick(canvas, (index as f64 + 0.5) * place, &format!("{batch}×{sequence}"), false)?;
    }
    let title = rows.first().map_or("", |row| row.model.as_str());
    panel.frame(canvas, &Titles { title, x: "shape", y: "time over mixprec's" }, 36)?;
    for row in rows {
        let (Some(shape), Some(peer)) =
            (shapes.iter().position(|at| *at == row.shape), names.iter().position(|name| *name == row.peer))
        else {
            continue;
        };
        let left = (shape as f64 + (1.0 - FILLED) / 2.0) * place + peer as f64 * width;
        let at = |x: f64, y: f64| panel.point(x, scale.position(y));
        canvas.bar([at(left, row.ratio), at(left + 0.92 * width, 0.0)], colour(peer))?;
        let middle = left + 0.46 * width;
        canvas.line(vec![at(middle, row.interval.0), at(middle, row.interval.1)], INK, 1)?;
    }
    let one = panel.y(scale.position(1.0));
    canvas.line(vec![(panel.x(0.0), one), (panel.x(1.0), one)], INK, 2)
}
