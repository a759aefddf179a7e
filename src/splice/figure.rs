//! The figures of the front page: the report's own of deviations; and latency of one sequence against its length, a panel per
//! model, once for light pages and once for dark ones.

use serde::Serialize;
use tera::{Context, Tera};

use super::SpliceError;
use super::facts::PageFacts;
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
const PANEL_WIDTH: i32 = 440;
const LEFT: i32 = 52;
const PLOT_WIDTH: i32 = 238;
const TOP: i32 = 58;
const PLOT_HEIGHT: i32 = 214;
/// Least distance of two labels next to the curves.
const LABEL_STEP: i32 = 19;
/// Least distance of two labels under the horizontal axis.
const TICK_STEP: i32 = 30;

/// The panels and everything in them, in pixels.
#[derive(Debug, Serialize)]
pub(super) struct LatencyFigure {
    width: i32,
    panels: Vec<LatencyPanel>,
    /// Whether any point comes from a disturbed row.
    some_disturbed: bool,
}

#[derive(Debug, Serialize)]
struct LatencyPanel {
    model: String,
    left: i32,
    right: i32,
    bottom: i32,
    x_ticks: Vec<AxisTick>,
    y_ticks: Vec<AxisTick>,
    /// The claim's limit.
    limit: Option<AxisTick>,
    curves: Vec<LatencyCurve>,
}

#[derive(Debug, Serialize)]
struct AxisTick {
    at: i32,
    label: String,
}

#[derive(Debug, Serialize)]
struct LatencyCurve {
    /// `cpu`, `fp32`, `fp16`, `hybrid`
    series: &'static str,
    /// `10,20 30,15`
    points: String,
    dots: Vec<Dot>,
    /// Where the label stands.
    label_y: i32,
    /// Value at the longest sequence, milliseconds.
    last: String,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: i32,
    y: i32,
    /// Whether the row was disturbed.
    disturbed: bool,
}

/// A logarithmic axis between two pixels.
#[derive(Debug, Clone, Copy)]
struct LogAxis {
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl LogAxis {
    fn pixel(self, value: f64) -> i32 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + (share * f64::from(self.to - self.from)).round() as i32
    }
}

/// Path of the drawing of deviations, from the page's folder. It has a white ground on every page.
const DEVIATION: &str = "paper/readme/deviation.svg";

/// Path and text of all drawings.
///
/// # Errors
/// [`SpliceError::Template`], a defect that a test rules out.
pub(super) fn draw(facts: &PageFacts) -> Result<Vec<(&'static str, String)>, SpliceError> {
    let failed = |source| SpliceError::Template { section: SECTION.to_owned(), source };
    let mut engine = Tera::new();
    engine.autoescape_on([".svg"]);
    engine.add_raw_templates([("latency.svg", TEMPLATE)]).map_err(failed)?;
    let mut context = Context::from_serialize(facts).map_err(failed)?;
    let drawing = |(name, theme)| {
        context.insert("dark", &(theme == "dark"));
        engine.render("latency.svg", &context).map(|text| (name, text)).map_err(failed)
    };
    let deviation = facts.deviation.as_ref().and_then(|figure| Some(Ok((DEVIATION, figure.svg.clone()?))));
    deviation.into_iter().chain(DRAWINGS.into_iter().map(drawing)).collect()
}

/// The figure of a run.
///
/// # Errors
/// [`SpliceError::Claims`] when the built-in claims cannot be read, a defect that a test rules out.
pub(super) fn of(data: &Data) -> Result<LatencyFigure, SpliceError> {
    let panels = panels(data, limit_ms()?);
    let mut dots = panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.dots);
    let some_disturbed = dots.any(|dot| dot.disturbed);
    Ok(LatencyFigure { width: PANEL_WIDTH * panels.len().max(1) as i32, panels, some_disturbed })
}

/// The latency that the claim allows.
fn limit_ms() -> Result<Option<f64>, SpliceError> {
    let claims = Claims::builtin()?;
    let claim = claims.claims.iter().find(|claim| claim.id == LATENCY_CLAIM);
    Ok(claim.and_then(|claim| claim.checks.iter().find_map(|check| check.expect.less_than)))
}

/// A panel per model with rows of one sequence.
fn panels(data: &Data, limit: Option<f64>) -> Vec<LatencyPanel> {
    let groups = data.groups();
    let found: Vec<(&str, Vec<Found>)> = groups.iter().map(|group| (group.model, curves(group))).collect();
    let found: Vec<(&str, Vec<Found>)> = found.into_iter().filter(|(_, curves)| !curves.is_empty()).collect();
    // All panels have the same axes, so that models can be compared.
    let rows = || found.iter().flat_map(|(_, curves)| curves.iter().flat_map(|(_, rows)| rows.iter().copied()));
    let lengths = sorted(rows().map(|row| row.sequence_length as f64));
    let times = sorted(rows().filter_map(|row| row.latency_p50_ms).chain(limit));
    let (Some(shortest), Some(longest)) = (lengths.first(), lengths.last()) else { return Vec::new() };
    let (Some(fastest), Some(slowest)) = (times.first(), times.last()) else { return Vec::new() };
    let x = LogAxis { low: shortest / 1.12, high: longest * 1.05, from: LEFT, to: LEFT + PLOT_WIDTH };
    let lowest_decade = 10_f64.powf(fastest.log10().floor());
    let y = LogAxis { low: lowest_decade, high: slowest * 1.5, from: TOP + PLOT_HEIGHT, to: TOP };
    let panel = |(index, (model, curves)): (usize, &(&str, Vec<Found>))| {
        let shift = PANEL_WIDTH * index as i32;
        let x = LogAxis { from: x.from + shift, to: x.to + shift, ..x };
        panel(model, curves, [x, y], (&lengths, limit))
    };
    found.iter().enumerate().map(panel).collect()
}

/// Name and rows of a curve.
type Found<'a> = (&'static str, Vec<&'a ResultRow>);

/// The rows of each curve at batch size 1, by length.
fn curves<'a>(group: &Group<'a>) -> Vec<Found<'a>> {
    let cuda =
        |preset: Preset| Series { backend: BackendKind::Cuda, target: None, precision: preset.name().to_owned() };
    let cpu = Series { backend: BackendKind::OnnxRuntime, ..cuda(Preset::Fp32) };
    let gpu = [("fp32", Preset::Fp32), ("fp16", Preset::Fp16), ("hybrid", Preset::Hybrid)];
    let wanted = std::iter::once(("cpu", cpu)).chain(gpu.map(|(name, preset)| (name, cuda(preset))));
    let rows = |series: &Series| -> Vec<&'a ResultRow> {
        let shapes = group.shapes().into_iter().filter(|(batch, _)| *batch == 1);
        shapes.filter_map(|at| group.row(series, at)).filter(|row| timed(row)).collect()
    };
    wanted.map(|(name, series)| (name, rows(&series))).filter(|(_, rows)| !rows.is_empty()).collect()
}

fn panel(model: &str, found: &[Found], [x, y]: [LogAxis; 2], (lengths, limit): (&[f64], Option<f64>)) -> LatencyPanel {
    let mut curves: Vec<LatencyCurve> = found.iter().map(|(series, rows)| curve(series, rows, [x, y])).collect();
    spread(&mut curves);
    let decades = y.low.log10().round() as i32..=y.high.log10().floor() as i32;
    let y_tick = |exponent: i32| {
        let value = 10_f64.powi(exponent);
        AxisTick { at: y.pixel(value), label: numbers::fixed(value, exponent.min(0).unsigned_abs() as usize) }
    };
    LatencyPanel {
        model: model.to_owned(),
        left: x.from,
        right: x.to,
        bottom: y.from,
        x_ticks: length_ticks(lengths, x),
        y_ticks: decades.map(y_tick).collect(),
        limit: limit.map(|value| AxisTick { at: y.pixel(value), label: numbers::fixed(value, 0) }),
        curves,
    }
}

/// A tick per length; one that is too close to a longer one has no label.
fn length_ticks(lengths: &[f64], x: LogAxis) -> Vec<AxisTick> {
    let mut ticks: Vec<AxisTick> = Vec::new();
    let mut labelled = i32::MAX;
    for &length in lengths.iter().rev() {
        let at = x.pixel(length);
        let fits = labelled.saturating_sub(at) >= TICK_STEP;
        ticks.push(AxisTick { at, label: if fits { numbers::fixed(length, 0) } else { String::new() } });
        labelled = if fits { at } else { labelled };
    }
    ticks.reverse();
    ticks
}

fn curve(series: &'static str, rows: &[&ResultRow], [x, y]: [LogAxis; 2]) -> LatencyCurve {
    let dot = |row: &&ResultRow| {
        let disturbed = Disturbance::of_ratios(row).is_some();
        Some(Dot { x: x.pixel(row.sequence_length as f64), y: y.pixel(row.latency_p50_ms?), disturbed })
    };
    let dots: Vec<Dot> = rows.iter().filter_map(dot).collect();
    let points: Vec<String> = dots.iter().map(|dot| format!("{},{}", dot.x, dot.y)).collect();
    let last = rows.last().and_then(|row| row.latency_p50_ms).unwrap_or_default();
    let label_y = dots.last().map_or(0, |dot| dot.y);
    LatencyCurve { series, points: points.join(" "), dots, label_y, last: numbers::significant(last, 3) }
}

/// Moves labels apart that would lie on one another, the higher ones up.
fn spread(curves: &mut [LatencyCurve]) {
    curves.sort_by_key(|curve| -curve.label_y);
    let mut lowest = i32::MAX;
    for curve in curves {
        curve.label_y = curve.label_y.min(lowest);
        lowest = curve.label_y - LABEL_STEP;
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}
