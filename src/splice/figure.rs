//! The figure of the front page: latency of one sequence against its length, a panel per model, once for light pages and once
//! for dark ones.

use serde::Serialize;
use tera::{Context, Tera};

use super::SpliceError;
use super::facts::Facts;
use crate::analysis::disturbances::Disturbance;
use crate::claims::Claims;
use crate::engine::BackendKind;
use crate::graph::Preset;
use crate::numbers;
use crate::results::data::{Data, Group, Series, timed};
use crate::store::schema::ResultRow;

/// The section whose page needs the figure.
pub(super) const SECTION: &str = "figure";

/// Name and theme of each drawing; the path starts from the page's folder.
const DRAWINGS: [(&str, &str); 2] =
    [("paper/readme/latency-light.svg", "light"), ("paper/readme/latency-dark.svg", "dark")];

const TEMPLATE: &str = include_str!("../../paper/templates/pages/latency.svg.tera");

/// The claim whose limit the figure shows.
const LATENCY_CLAIM: &str = "C2";

/// Pixels.
const PANEL_WIDTH: f64 = 410.0;
const LEFT: f64 = 52.0;
const PLOT_WIDTH: f64 = 222.0;
const TOP: f64 = 58.0;
const PLOT_HEIGHT: f64 = 214.0;
/// Least distance of two labels.
const LABEL_STEP: f64 = 19.0;

/// A panel and everything in it, in pixels.
#[derive(Debug, Serialize)]
struct Panel {
    model: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    /// The claim's limit.
    limit: Option<Tick>,
    curves: Vec<Curve>,
}

#[derive(Debug, Serialize)]
struct Tick {
    at: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct Curve {
    /// `cpu`, `fp32`, `fp16`, `hybrid`
    series: &'static str,
    /// `10.0,20.0 30.0,15.0`
    points: String,
    dots: Vec<Dot>,
    /// Where the label stands.
    label_y: f64,
    /// Value at the longest sequence, milliseconds.
    last: String,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: f64,
    y: f64,
    /// Whether the row was disturbed.
    disturbed: bool,
}

/// A logarithmic axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Share of the way from the low end to the high one.
    fn position(self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }
}

/// Path and text of both drawings.
///
/// # Errors
/// [`SpliceError::Template`], a defect that a test rules out.
pub(super) fn draw(facts: &Facts) -> Result<Vec<(&'static str, String)>, SpliceError> {
    let failed = |source| SpliceError::Template { section: SECTION.to_owned(), source };
    let panels = panels(&facts.study.main, limit_ms()?);
    let mut engine = Tera::new();
    engine.autoescape_on([".svg"]);
    engine.add_raw_templates([("latency.svg", TEMPLATE)]).map_err(failed)?;
    let mut context = Context::from_serialize(facts).map_err(failed)?;
    context.insert("panels", &panels);
    context.insert("width", &(PANEL_WIDTH * panels.len().max(1) as f64));
    context.insert(
        "some_disturbed",
        &panels.iter().flat_map(|panel| &panel.curves).flat_map(|c| &c.dots).any(|dot| dot.disturbed),
    );
    let drawing = |(name, theme)| {
        context.insert("dark", &(theme == "dark"));
        engine.render("latency.svg", &context).map(|text| (name, text)).map_err(failed)
    };
    DRAWINGS.into_iter().map(drawing).collect()
}

/// The latency that the claim allows.
fn limit_ms() -> Result<Option<f64>, SpliceError> {
    let claims = Claims::builtin()?;
    let claim = claims.claims.iter().find(|claim| claim.id == LATENCY_CLAIM);
    Ok(claim.and_then(|claim| claim.checks.iter().find_map(|check| check.expect.less_than)))
}

/// A panel per model with rows of one sequence.
fn panels(data: &Data, limit: Option<f64>) -> Vec<Panel> {
    let groups: Vec<(Group, Vec<Found>)> = data
        .groups()
        .into_iter()
        .map(|group| {
            let found = curves(&group);
            (group, found)
        })
        .filter(|(_, found)| !found.is_empty())
        .collect();
    // All panels have the same axes, so that models can be compared.
    let rows = || groups.iter().flat_map(|(_, found)| found.iter().flat_map(|(_, rows)| rows.iter().copied()));
    let lengths = sorted(rows().map(|row| row.sequence_length as f64));
    let times = sorted(rows().filter_map(|row| row.latency_p50_ms).chain(limit));
    let (Some(shortest), Some(longest)) = (lengths.first(), lengths.last()) else { return Vec::new() };
    let (Some(fastest), Some(slowest)) = (times.first(), times.last()) else { return Vec::new() };
    let x = Axis { low: shortest / 1.12, high: longest * 1.05 };
    let y = Axis { low: 10_f64.powf(fastest.log10().floor()), high: slowest * 1.5 };
    groups
        .iter()
        .enumerate()
        .map(|(index, (group, found))| panel(index, group, found, [x, y], &lengths, limit))
        .collect()
}

type Found<'a> = (&'static str, Vec<&'a ResultRow>);

/// The rows of each curve at batch size 1, by length.
fn curves<'a>(group: &Group<'a>) -> Vec<Found<'a>> {
    let cuda =
        |preset: Preset| Series { backend: BackendKind::Cuda, target: None, precision: preset.name().to_owned() };
    let cpu = Series { backend: BackendKind::OnnxRuntime, ..cuda(Preset::Fp32) };
    let wanted =
        [("cpu", cpu), ("fp32", cuda(Preset::Fp32)), ("fp16", cuda(Preset::Fp16)), ("hybrid", cuda(Preset::Hybrid))];
    let rows = |series: &Series| -> Vec<&'a ResultRow> {
        let shapes = group.shapes().into_iter().filter(|(batch, _)| *batch == 1);
        shapes.filter_map(|at| group.row(series, at)).filter(|row| timed(row)).collect()
    };
    wanted.iter().map(|(name, series)| (*name, rows(series))).filter(|(_, rows)| !rows.is_empty()).collect()
}

fn panel(
    index: usize,
    group: &Group,
    found: &[Found],
    [x, y]: [Axis; 2],
    lengths: &[f64],
    limit: Option<f64>,
) -> Panel {
    let left = PANEL_WIDTH * index as f64 + LEFT;
    let at_x = |value: f64| round(left + x.position(value) * PLOT_WIDTH);
    let at_y = |value: f64| round(TOP + PLOT_HEIGHT - y.position(value) * PLOT_HEIGHT);
    let dot = |row: &&ResultRow| {
        let disturbed = Disturbance::of_ratios(row).is_some();
        Some(Dot { x: at_x(row.sequence_length as f64), y: at_y(row.latency_p50_ms?), disturbed })
    };
    let curve = |(series, rows): &Found| {
        let dots: Vec<Dot> = rows.iter().filter_map(dot).collect();
        let points: Vec<String> = dots.iter().map(|dot| format!("{},{}", dot.x, dot.y)).collect();
        let last = rows.last().and_then(|row| row.latency_p50_ms).unwrap_or_default();
        let label_y = dots.last().map_or(0.0, |dot| dot.y);
        Curve { series, points: points.join(" "), dots, label_y, last: numbers::significant(last, 3) }
    };
    let mut curves: Vec<Curve> = found.iter().map(curve).collect();
    spread(&mut curves);
    let decades = y.low.log10().round() as i32..=y.high.log10().floor() as i32;
    let y_tick = |exponent: i32| {
        let value = 10_f64.powi(exponent);
        Tick { at: at_y(value), label: if exponent < 0 { value.to_string() } else { numbers::fixed(value, 0) } }
    };
    Panel {
        model: group.model.to_owned(),
        left,
        right: left + PLOT_WIDTH,
        top: TOP,
        bottom: TOP + PLOT_HEIGHT,
        x_ticks: lengths.iter().map(|&value| Tick { at: at_x(value), label: numbers::fixed(value, 0) }).collect(),
        y_ticks: decades.map(y_tick).collect(),
        limit: limit.map(|value| Tick { at: at_y(value), label: numbers::fixed(value, 0) }),
        curves,
    }
}

/// Moves labels apart that would lie on one another, the higher ones up.
fn spread(curves: &mut [Curve]) {
    curves.sort_by(|a, b| b.label_y.total_cmp(&a.label_y));
    let mut below = f64::INFINITY;
    for curve in curves {
        curve.label_y = curve.label_y.min(below - LABEL_STEP);
        below = curve.label_y;
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

/// To a tenth of a pixel: the same text everywhere.
fn round(pixels: f64) -> f64 {
    (pixels * 10.0).round() / 10.0
}
