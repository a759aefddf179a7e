//! Distance from the FP32 reference and share of NaN per policy: a dot per configuration.

use super::axis::Scale;
use super::canvas::{Canvas, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles, turned_labels};
use super::{Figure, FigureError};
use crate::analysis::facts::smallest_cosine;
use crate::numbers::cosine_distance;
use crate::results::data::{Data, distinct, series};
use crate::store::schema::ResultRow;

const SLUG: &str = "figure-numerics";
const CAPTION: &str = "Agreement with the FP32 reference per policy, one dot per configuration: distance of the \
                       smallest cosine from 1, over all examined passes. Dots on the axis are exactly 0; configurations with NaN have no cosine.";
/// Two panels, cosine and NaN; without NaN one.
pub(super) fn by_policy(data: &Data) -> Result<Figure, FigureError> {
    let rows: Vec<&ResultRow> = data.measured().filter(|row| row.output_elements.is_some_and(|n| n > 0)).collect();
    if rows.is_empty() {
        return Ok(Figure::empty(SLUG, CAPTION, "No configuration was measured."));
    }
    let models = distinct(rows.iter().map(|row| row.model.clone()));
    let one_backend = distinct(rows.iter().map(|row| row.backend)).len() == 1;
    let categories = distinct(rows.iter().map(|row| series(row)));
    let labels: Vec<String> =
        categories.iter().map(|found| if one_backend { found.precision.clone() } else { found.label() }).collect();
    let extra = turned_labels(labels.iter());
    let turned = extra > 0;
    let legend =
        models.iter().enumerate().map(|(index, model)| LegendEntry { label: model.clone(), colour: index, marker: 0 });
    let share_of_nan = |row: &ResultRow| Some(100.0 * row.nan_count? as f64 / row.output_elements? as f64);
    let has_nan = rows.iter().any(|row| share_of_nan(row).is_some_and(|share| share > 0.0));
    let layout = Layout::new(if has_nan { 2 } else { 1 }, legend.collect(), extra);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;

    let dots = |of: fn(&ResultRow) -> Option<f64>| -> Vec<Dot> {
        rows.iter().filter_map(|row| Dot::new(row, &categories, &models, of(row)?)).collect()
    };
    let axis = Axis { canvas: &canvas, labels: &labels, models: models.len(), turned, x_offset: 36 + extra };
    let category = if one_backend { "precision" } else { "backend and precision" };
    let distance = dots(|row| smallest_cosine(row).map(cosine_distance));
    let scale = Scale::logarithmic(&distance.iter().map(|dot| dot.y).collect::<Vec<_>>());
    let titles = Titles { title: "distance from FP32", x: category, y: "1 − smallest cosine (log scale)" };
    axis.draw(layout.panel(0), &titles, scale, &distance)?;
    if has_nan {
        let nan = dots(share_of_nan);
        let scale = Scale::linear(&[nan.iter().map(|dot| dot.y).fold(1.0, f64::max)]);
        let titles = Titles { title: "NaN in the output", x: category, y: "share of elements (%)" };
        axis.draw(layout.panel(1), &titles, scale, &nan)?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    let nan = if has_nan { "Right: share of NaN in the output." } else { "No compared output holds NaN." };
    Ok(Figure::drawn(SLUG, format!("{CAPTION} {nan}"), svg))
}

struct Dot {
    category: usize,
    model: usize,
    y: f64,
}

impl Dot {
    fn new(row: &ResultRow, categories: &[crate::results::data::Series], models: &[String], y: f64) -> Option<Self> {
        let category = categories.iter().position(|found| *found == series(row))?;
        let model = models.iter().position(|model| *model == row.model)?;
        Some(Dot { category, model, y })
    }
}

struct Axis<'a, 'c> {
    canvas: &'a Canvas<'c>,
    labels: &'a [String],
    models: usize,
    turned: bool,
    x_offset: i32,
}

impl Axis<'_, '_> {
    fn draw(&self, panel: Panel, titles: &Titles, scale: Scale, dots: &[Dot]) -> Result<(), FigureError> {
        let canvas = self.canvas;
        panel.y_ticks(canvas, scale)?;
        panel.frame(canvas, titles, self.x_offset)?;
        let step = 1.0 / self.labels.len() as f64;
        for (index, label) in self.labels.iter().enumerate() {
            panel.x_tick(canvas, (index as f64 + 0.5) * step, label, self.turned)?;
        }
        for dot in dots {
            // Models stand side by side inside a category.
            let shift = (dot.model as f64 + 0.5) / self.models as f64 - 0.5;
            let x = (dot.category as f64 + 0.5 + 0.6 * shift) * step;
            // A logarithmic axis has no place for 0; the caption says that such dots lie on the axis.
            let y = if dot.y > 0.0 { scale.position(dot.y) } else { 0.0 };
            canvas.marker(panel.point(x, y), 0, colour(dot.model))?;
        }
        Ok(())
    }
}
