//! Curves against batch size or sequence length: a panel per model and input, a curve per backend and precision. Emulated rows
//! are left out: their time says nothing about hardware.

use super::axis::Scale;
use super::canvas::{Canvas, INK, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles};
use super::{Figure, FigureError};
use crate::analysis::facts::latency;
use crate::analysis::pairs::{self, Ranged, RowPair};
use crate::results::data::{Data, Group, Series, distinct, series, timed};
use crate::store::schema::ResultRow;

/// What runs along the horizontal axis; the other size is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    Batch,
    Sequence,
}

/// A value of a row, and whether something disturbed the pair that it is made of.
#[derive(Clone, Copy)]
struct Measured {
    value: Ranged,
    disturbed: bool,
}

/// A point of a curve.
struct CurvePoint {
    x: f64,
    measured: Measured,
}

struct Curve {
    entry: LegendEntry,
    points: Vec<CurvePoint>,
}

struct PanelData {
    title: String,
    input: String,
    curves: Vec<Curve>,
}

impl PanelData {
    /// Whether any curve has two points: one shape is a point, which the tables show.
    fn has_a_curve(&self) -> bool {
        self.curves.iter().any(|curve| curve.points.len() > 1)
    }
}

/// What a figure plots.
struct Plot<'a> {
    slug: &'a str,
    caption: &'a str,
    nothing: &'a str,
    x: &'a str,
    y: &'a str,
    along: Along,
    logarithmic: bool,
}

type ValueOf<'a> = dyn Fn(&Group, &ResultRow) -> Option<Measured> + 'a;

/// The caption's sentence about rings.
const RINGS: &str = "A ring marks a ratio with a disturbed row.";

const NOTHING_TIMED: &str = "No configuration was timed natively, so there is no curve to draw.";

const ONE_SIZE: &str =
    "Only one size was timed on this axis, so there is no curve to draw; the tables have its values.";

/// Latency against batch size.
pub(super) fn latency_by_batch(data: &Data) -> Result<Figure, FigureError> {
    let plot = Plot {
        slug: "figure-latency-batch",
        caption: "Median latency against batch size; bars are 95 % intervals. Emulated rows are left out.",
        nothing: NOTHING_TIMED,
        x: "batch size (log scale)",
        y: "latency (ms, log scale)",
        along: Along::Batch,
        logarithmic: true,
    };
    draw(data, &plot, &latency_of)
}

/// Latency against sequence length.
pub(super) fn latency_by_sequence(data: &Data) -> Result<Figure, FigureError> {
    let plot = Plot {
        slug: "figure-latency-sequence",
        caption: "Median latency against sequence length; bars are 95 % intervals. Emulated rows are left out.",
        nothing: NOTHING_TIMED,
        x: "sequence length (tokens, log scale)",
        y: "latency (ms, log scale)",
        along: Along::Sequence,
        logarithmic: true,
    };
    draw(data, &plot, &latency_of)
}

/// Speed-up over FP32 of the same backend against batch size.
pub(super) fn speedup_by_batch(data: &Data) -> Result<Figure, FigureError> {
    let plot = Plot {
        slug: "figure-speedup",
        caption: "Speed-up over FP32 of the same backend against batch size; bars are intervals. Emulated rows are left \
                  out.",
        nothing: "No backend was timed natively in both FP32 and another precision at one shape in one environment \
                  (emulated rows do not count), so there is no speed-up to draw.",
        x: "batch size (log scale)",
        y: "speed-up over fp32",
        along: Along::Batch,
        logarithmic: false,
    };
    draw(data, &plot, &|group, row| {
        let numerator = pairs::fp32_counterpart(data, group, row).filter(|base| timed(base))?;
        let pair = RowPair { numerator, denominator: row };
        Some(Measured { value: pair.latency_ratio()?, disturbed: pair.disturbance().is_some() })
    })
}

fn latency_of(_group: &Group, row: &ResultRow) -> Option<Measured> {
    Some(Measured { value: latency(row)?, disturbed: false })
}

fn draw(data: &Data, plot: &Plot, value: &ValueOf) -> Result<Figure, FigureError> {
    let all = distinct(data.rows.iter().map(series));
    let panels: Vec<PanelData> =
        data.groups().iter().filter_map(|group| panel_data(group, &all, plot.along, value)).collect();
    if panels.is_empty() {
        return Ok(Figure::empty(plot.slug, plot.caption, plot.nothing));
    }
    let panels: Vec<PanelData> = panels.into_iter().filter(PanelData::has_a_curve).collect();
    if panels.is_empty() {
        return Ok(Figure::empty(plot.slug, plot.caption, ONE_SIZE));
    }
    let legend = distinct(panels.iter().flat_map(|panel| panel.curves.iter().map(|curve| curve.entry.clone())));
    let layout = Layout::new(panels.len(), legend, 0);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;
    for (index, panel) in panels.iter().enumerate() {
        draw_panel(&canvas, layout.panel(index), panel, plot)?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    let inputs = distinct(panels.iter().map(|panel| panel.input.clone()));
    let mut points = panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points);
    let rings = if points.any(|point| point.measured.disturbed) { format!(" {RINGS}") } else { String::new() };
    let named = if inputs.len() == 1 { "Input" } else { "Inputs" };
    let caption = format!("{}{rings} {named}: {}.", plot.caption, inputs.join(", "));
    Ok(Figure::drawn(plot.slug, caption, svg))
}

/// The curves of one model and input at the fixed size that has most rows (the largest of several).
fn panel_data(group: &Group, all: &[Series], along: Along, value: &ValueOf) -> Option<PanelData> {
    let sizes = |row: &ResultRow| match along {
        Along::Batch => (row.batch_size, row.sequence_length),
        Along::Sequence => (row.sequence_length, row.batch_size),
    };
    let usable: Vec<(&ResultRow, Measured)> = group
        .rows
        .iter()
        .filter(|row| timed(row))
        .filter_map(|row| value(group, row).map(|found| (*row, found)))
        .collect();
    let fixed = distinct(usable.iter().map(|(row, _)| sizes(row).1));
    let fixed =
        fixed.into_iter().max_by_key(|&size| (usable.iter().filter(|(row, _)| sizes(row).1 == size).count(), size))?;
    let mut curves: Vec<Curve> = Vec::new();
    for (row, measured) in usable.iter().filter(|(row, _)| sizes(row).1 == fixed) {
        let entry = entry_of(&series(row), all);
        let point = CurvePoint { x: sizes(row).0 as f64, measured: *measured };
        match curves.iter_mut().find(|curve| curve.entry == entry) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { entry, points: vec![point] }),
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let what = match along {
        Along::Batch => format!("sequence {fixed}"),
        Along::Sequence => format!("batch {fixed}"),
    };
    let title = format!("{}, {}, {what}", group.model, group.input);
    Some(PanelData { title, input: group.input.to_owned(), curves })
}

/// Colour by precision, marker by backend.
fn entry_of(wanted: &Series, all: &[Series]) -> LegendEntry {
    let precisions = distinct(all.iter().map(|series| &series.precision));
    let backends = distinct(all.iter().map(|series| series.backend));
    LegendEntry {
        label: wanted.label(),
        colour: precisions.iter().position(|precision| **precision == wanted.precision).unwrap_or(0),
        marker: backends.iter().position(|backend| *backend == wanted.backend).unwrap_or(0),
    }
}

fn draw_panel(canvas: &Canvas, panel: Panel, data: &PanelData, plot: &Plot) -> Result<(), FigureError> {
    let points = || data.curves.iter().flat_map(|curve| &curve.points);
    let xs = distinct(points().map(|point| point.x));
    let values = points().map(|point| point.measured.value);
    let ys: Vec<f64> =
        values.flat_map(|(y, ends)| [Some(y), ends.map(|ends| ends.0), ends.map(|ends| ends.1)]).flatten().collect();
    let x_scale = Scale::logarithmic(&xs);
    let y_scale = if plot.logarithmic { Scale::logarithmic(&ys) } else { Scale::linear(&ys) };
    panel.y_ticks(canvas, y_scale)?;
    for &x in &xs {
        panel.x_tick(canvas, x_scale.position(x), &x.to_string(), false)?;
    }
    panel.frame(canvas, &Titles { title: &data.title, x: plot.x, y: plot.y }, 36)?;
    if !plot.logarithmic {
        let y = panel.y(y_scale.position(1.0));
        canvas.line(vec![(panel.x(0.0), y), (panel.x(1.0), y)], INK, 1)?;
    }
    for curve in &data.curves {
        let ink = colour(curve.entry.colour);
        let at = |x: f64, y: f64| panel.point(x_scale.position(x), y_scale.position(y));
        canvas.line(curve.points.iter().map(|point| at(point.x, point.measured.value.0)).collect(), ink, 2)?;
        for &CurvePoint { x, measured: Measured { value: (y, interval), disturbed } } in &curve.points {
            if let Some((low, high)) = interval {
                canvas.line(vec![at(x, low), at(x, high)], ink, 1)?;
            }
            canvas.marker(at(x, y), curve.entry.marker, ink)?;
            if disturbed {
                canvas.ring(at(x, y), ink)?;
            }
        }
    }
    Ok(())
}
