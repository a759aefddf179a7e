//! Curves of the largest deviation that enters each layer norm, an input each: a figure per model, with the line above which
//! every square overflows FP16.

use super::axis::Scale;
use super::canvas::{Anchor, Canvas, INK, colour};
use super::panel::{Layout, LegendEntry, Titles, WIDTH, turned_labels};
use super::{Figure, FigureError};
use crate::analysis::headroom;
use crate::analysis::headroom::Headroom;
use crate::record::magnitudes::deviation_limit;
use crate::results::data::{Data, distinct, slug};

/// Pixels that a label of the horizontal axis takes.
const LABEL: usize = 16;

/// A figure per model whose FP32 runs recorded deviations; none before schema 8.
///
/// # Errors
/// [`FigureError::Draw`].
pub(super) fn by_model(data: &Data) -> Result<Vec<Figure>, FigureError> {
    let mut all = headroom::of(data);
    all.retain(|found| !found.magnitudes.deviations.is_empty());
    let models = distinct(all.iter().map(|found| found.model));
    let figure = |(index, model): (usize, &&str)| {
        let inputs: Vec<&Headroom> = all.iter().filter(|found| found.model == *model).collect();
        of_model(&format!("figure-deviation-{}-{}", index + 1, slug(model)), model, &inputs)
    };
    models.iter().enumerate().map(figure).collect()
}

fn of_model(slug: &str, model: &str, inputs: &[&Headroom]) -> Result<Figure, FigureError> {
    let norms = distinct(inputs.iter().flat_map(|found| found.magnitudes.deviations.iter().map(|(norm, _)| norm)));
    let labels: Vec<String> = norms.iter().map(|norm| short(norm)).collect();
    let entry = |(index, found): (usize, &&Headroom)| LegendEntry {
        label: found.input.to_owned(),
        colour: index,
        marker: index,
    };
    let extra = turned_labels(labels.iter());
    let layout = Layout::new(1, inputs.iter().enumerate().map(entry).collect(), extra);
    let panel = layout.panel(0);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;

    let values = inputs.iter().flat_map(|found| found.magnitudes.deviations.iter().map(|(_, value)| *value));
    let scale = Scale::logarithmic(&values.chain([deviation_limit()]).collect::<Vec<_>>());
    let x = |index: usize| (index as f64 + 0.5) / norms.len() as f64;
    panel.y_ticks(&canvas, scale)?;
    for (index, label) in labels.iter().enumerate().step_by((labels.len() * LABEL).div_ceil(WIDTH as usize)) {
        panel.x_tick(&canvas, x(index), label, extra > 0)?;
    }
    let titles = Titles { title: model, x: "layer norm", y: "deviation (log scale)" };
    panel.frame(&canvas, &titles, 36 + extra)?;
    let (left, limit) = panel.point(0.0, scale.position(deviation_limit()));
    canvas.line(vec![(left, limit), (panel.x(1.0), limit)], INK, 2)?;
    canvas.text("above 256 every square overflows FP16", (left + 8, limit - 11), Anchor::Start)?;
    for (index, found) in inputs.iter().enumerate() {
        let place = |(norm, value): &(String, f64)| {
            // A logarithmic axis has no place for 0.
            let at = norms.iter().position(|known| *known == norm).filter(|_| *value > 0.0)?;
            Some(panel.point(x(at), scale.position(*value)))
        };
        let points: Vec<_> = found.magnitudes.deviations.iter().filter_map(place).collect();
        canvas.line(points.clone(), colour(index), 2)?;
        for point in points {
            canvas.marker(point, index, colour(index))?;
        }
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    let caption = format!(
        "Largest deviation from the mean of its row that enters each layer norm of {model} in FP32 runs, in the order of the \
         graph, a curve per input. Above 256 (√65504 = 255.9) its square overflows FP16 in either order of the reduction, and a \
         layer norm that computes in FP16 returns its bias for the row. Below it, a norm that sums the squares before it \
         divides does so where the row's sum of squares exceeds 65504."
    );
    Ok(Figure::drawn(slug, caption, svg))
}

/// `9/mlp` of `layer.9/mlp/layer_norm`, `final` of `final/layer_norm`.
fn short(norm: &str) -> String {
    norm.trim_start_matches("layer.").trim_end_matches("/layer_norm").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_the_layer_and_the_block() {
        let names = ["embeddings/layer_norm", "layer.11/attention/layer_norm", "final/layer_norm"].map(short);
        assert_eq!(names, ["embeddings", "11/attention", "final"]);
    }
}
