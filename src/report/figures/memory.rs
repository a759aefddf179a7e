//! Memory per policy at the largest shape of each model: what engines report or, where none does, what follows from the
//! graph.

use super::axis::Scale;
use super::canvas::{Canvas, colour};
use super::panel::{Layout, LegendEntry, Panel, Titles, turned_labels};
use super::{Figure, FigureError};
use crate::analysis::facts::engine_bytes;
use crate::record::Status;
use crate::report::tables::memory::one_input_per_model;
use crate::results::data::{Data, Group, distinct, series, shape};
use crate::store::schema::ResultRow;

const SLUG: &str = "figure-memory";
const MIB: f64 = (1 << 20) as f64;

/// The source of the bars' values.
#[derive(Clone, Copy)]
enum Account {
    /// What native engines report.
    Engines,
    /// Parameters and all intermediate tensors in the policy's formats, computed from the graph.
    Graph,
}

impl Account {
    fn caption(self) -> &'static str {
        match self {
            Account::Engines => {
                "Memory that engines hold at the largest measured shape of each model: weights, activations and \
                 scratch, as the engines report them."
            }
            Account::Graph => {
                "Memory per policy at the largest measured shape of each model, computed from the graph, not measured: \
                 parameters and the sum of all intermediate tensors in the policy's formats."
            }
        }
    }

    /// Names of a bar's parts, from below.
    fn parts(self) -> &'static [&'static str] {
        match self {
            Account::Engines => &["weights", "activations", "scratch"],
            Account::Graph => &["parameters (computed)", "intermediate tensors (computed)"],
        }
    }

    fn has(self, row: &ResultRow) -> bool {
        row.status == Status::Ok
            && match self {
                Account::Engines => row.emulated == Some(false) && engine_bytes(row).is_some(),
                Account::Graph => row.policy_weights_bytes.is_some() && row.policy_activations_bytes.is_some(),
            }
    }

    /// Sizes of a row's parts, MiB.
    fn sizes(self, row: &ResultRow) -> Vec<f64> {
        let bytes = match self {
            Account::Engines => vec![row.weights_bytes, row.activations_bytes, row.workspace_bytes],
            Account::Graph => vec![row.policy_weights_bytes, row.policy_activations_bytes],
        };
        bytes.into_iter().map(|bytes| bytes.unwrap_or(0) as f64 / MIB).collect()
    }
}

/// A bar per series (or per policy, where the graph is asked) at one shape.
struct Bars {
    model: String,
    /// What a bar is of: `precision`, or `engine` of several backends.
    category: &'static str,
    shape: (u64, u64),
    bars: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// At the largest shape of a group that has the account; `None` where no row has.
    fn of(group: &Group, account: Account) -> Option<Bars> {
        let known: Vec<&ResultRow> = group.rows.iter().copied().filter(|row| account.has(row)).collect();
        let size = |(batch, sequence): (u64, u64)| (batch.saturating_mul(sequence), batch);
        let largest = known.iter().map(|row| shape(row)).max_by_key(|&at| size(at))?;
        let at: Vec<&ResultRow> = known.into_iter().filter(|row| shape(row) == largest).collect();
        let one_backend = distinct(at.iter().map(|row| series(row).builder())).len() == 1;
        let by_engine = matches!(account, Account::Engines) && !one_backend;
        let label = |row: &ResultRow| if by_engine { series(row).label() } else { row.precision.clone() };
        let category = if by_engine { "engine" } else { "precision" };
        let labels = distinct(at.iter().map(|row| label(row)));
        let bar = |name: String| {
            let row = at.iter().find(|row| label(row) == name)?;
            Some((name, account.sizes(row)))
        };
        let bars = labels.into_iter().filter_map(bar).collect();
        Some(Bars { model: group.model.to_owned(), category, shape: largest, bars })
    }

    fn draw(&self, canvas: &Canvas, panel: Panel) -> Result<(), FigureError> {
        let heights: Vec<f64> = self.bars.iter().map(|(_, parts)| parts.iter().sum()).collect();
        let scale = Scale::linear(&heights);
        panel.y_ticks(canvas, scale)?;
        let (batch, sequence) = self.shape;
        let title = format!("{}, {batch}×{sequence}", self.model);
        panel.frame(canvas, &Titles { title: &title, x: self.category, y: "MiB" }, self.extra() + 36)?;
        let step = 1.0 / self.bars.len() as f64;
        for (index, (label, parts)) in self.bars.iter().enumerate() {
            let middle = (index as f64 + 0.5) * step;
            panel.x_tick(canvas, middle, label, self.extra() > 0)?;
            let (left, right) = (middle - 0.3 * step, middle + 0.3 * step);
            let corner = |x: f64, y: f64| panel.point(x, scale.position(y));
            let mut below = 0.0;
            for (part, size) in parts.iter().enumerate() {
                canvas.bar([corner(left, below + size), corner(right, below)], colour(part))?;
                below += size;
            }
        }
        Ok(())
    }

    /// Room that turned labels take below the axis; none where they fit side by side.
    fn extra(&self) -> i32 {
        turned_labels(self.bars.iter().map(|(label, _)| label))
    }
}

/// A panel per model.
pub(super) fn by_policy(data: &Data) -> Result<Figure, FigureError> {
    let groups = one_input_per_model(data);
    let of = |account: Account| -> Vec<Bars> { groups.iter().filter_map(|group| Bars::of(group, account)).collect() };
    let (account, panels) = match of(Account::Engines) {
        // Engines are compared with one another; a single one, FP32 on a CPU, says nothing of precision.
        engines if engines.iter().any(|panel| panel.bars.len() > 1) => (Account::Engines, engines),
        _ => (Account::Graph, of(Account::Graph)),
    };
    let caption = account.caption();
    if panels.is_empty() {
        return Ok(Figure::empty(SLUG, caption, "No configuration was measured."));
    }
    let entry = |(index, label): (usize, &&str)| LegendEntry { label: (*label).to_owned(), colour: index, marker: 2 };
    let legend = account.parts().iter().enumerate().map(entry).collect();
    let extra = panels.iter().map(Bars::extra).max().unwrap_or(0);
    let layout = Layout::new(panels.len(), legend, extra);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.size())?;
    for (index, panel) in panels.iter().enumerate() {
        panel.draw(&canvas, layout.panel(index))?;
    }
    layout.draw_legend(&canvas)?;
    canvas.finish()?;
    Ok(Figure::drawn(SLUG, caption.to_owned(), svg))
}
