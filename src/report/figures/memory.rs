//! Memory per policy at the largest shape of each model.

use super::axis::Scale;
use super::canvas::{Canvas, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles};
use super::{Figure, FigureError};
use crate::report::data::{Data, Group, distinct, shape};
use crate::report::tables::memory::{computed_bytes, engine_bytes, one_input_per_model};
use crate::store::schema::{ResultRow, Status};

const SLUG: &str = "figure-memory";
const CAPTION: &str = "Memory per policy at the largest measured shape of each model. Bars are computed from the graph, not \
                       measured: parameters and the sum of all intermediate tensors in the policy's formats. Markers are \
                       what native engines say they hold.";
const MIB: f64 = (1 << 20) as f64;

/// A panel per model, a bar per policy.
pub(super) fn by_policy(data: &Data) -> Result<Figure, FigureError> {
    let groups: Vec<Group> = one_input_per_model(data).into_iter().filter(|group| !bars(group).1.is_empty()).collect();
    if groups.is_empty() {
        return Ok(Figure::empty(SLUG, CAPTION, "No configuration was measured."));
    }
    let entry = |label: &str, colour: usize, marker: usize| LegendEntry { label: label.to_owned(), colour, marker };
    let mut legend = vec![entry("parameters (computed)", 0, 2), entry("intermediate tensors (computed)", 1, 2)];
    if groups.iter().any(|group| bars(group).1.iter().any(|(_, rows)| rows.iter().any(|row| native_mib(row).is_some())))
    {
        legend.push(entry("engine, native rows", 6, 3));
    }
    let layout = Layout::new(groups.len(), legend, 0);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;
    for (index, group) in groups.iter().enumerate() {
        draw_panel(&canvas, layout.panel(index), group)?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    Ok(Figure::drawn(SLUG, CAPTION.to_owned(), svg))
}

/// A policy's name and its measured rows.
type Policy<'a> = (String, Vec<&'a ResultRow>);

/// Measured rows per policy at the largest measured shape.
fn bars<'a>(group: &Group<'a>) -> ((u64, u64), Vec<Policy<'a>>) {
    let measured: Vec<&ResultRow> =
        group.rows.iter().copied().filter(|row| row.status == Status::Ok && computed_bytes(row).is_some()).collect();
    let largest =
        measured.iter().map(|row| shape(row)).max_by_key(|&(batch, sequence)| (batch.saturating_mul(sequence), batch));
    let Some(largest) = largest else { return ((0, 0), vec![]) };
    let at: Vec<&ResultRow> = measured.into_iter().filter(|row| shape(row) == largest).collect();
    let policies = distinct(at.iter().map(|row| row.precision.clone()));
    let rows_of = |policy: String| {
        let rows = at.iter().copied().filter(|row| row.precision == policy).collect();
        (policy, rows)
    };
    (largest, policies.into_iter().map(rows_of).collect())
}

/// What a native engine says it holds. `None` of an emulated row.
fn native_mib(row: &ResultRow) -> Option<f64> {
    engine_bytes(row).filter(|_| row.emulated == Some(false)).map(|bytes| bytes as f64 / MIB)
}

fn draw_panel(canvas: &Canvas, panel: Panel, group: &Group) -> Result<(), FigureError> {
    let ((batch, sequence), bars) = bars(group);
    let heights = bars.iter().flat_map(|(_, rows)| {
        rows.iter().flat_map(|row| [computed_bytes(row).map(|bytes| bytes as f64 / MIB), native_mib(row)])
    });
    let scale = Scale::linear(&heights.flatten().collect::<Vec<f64>>());
    panel.y_ticks(canvas, scale)?;
    let title = format!("{}, {batch}×{sequence}", group.model);
    panel.frame(canvas, &Titles { title: &title, x: "precision", y: "MiB" }, 36)?;
    let step = 1.0 / bars.len() as f64;
    for (index, (policy, rows)) in bars.iter().enumerate() {
        let middle = (index as f64 + 0.5) * step;
        panel.x_tick(canvas, middle, policy, false)?;
        let mib = |bytes: Option<u64>| bytes.unwrap_or(0) as f64 / MIB;
        let weights = mib(rows[0].policy_weights_bytes);
        let all = weights + mib(rows[0].policy_activations_bytes);
        let (left, right) = (middle - 0.3 * step, middle + 0.3 * step);
        let corner = |x: f64, y: f64| panel.point(x, scale.position(y));
        canvas.bar([corner(left, weights), corner(right, 0.0)], colour(0))?;
        canvas.bar([corner(left, all), corner(right, weights)], colour(1))?;
        for total in rows.iter().filter_map(|row| native_mib(row)) {
            canvas.marker(corner(middle, total), 3, colour(6))?;
        }
    }
    Ok(())
}
