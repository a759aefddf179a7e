//! Panels of a figure: frame, grid, ticks and labels; and the legend below them.

use super::FigureError;
use super::axis::Scale;
use super::canvas::{Anchor, Canvas, FONT_SIZE, GRID, INK, Point, colour};

/// Width of a figure, pixels.
pub const WIDTH: i32 = 760;
const PANEL_HEIGHT: i32 = 290;
const MARGIN: Margin = Margin { left: 74, right: 14, top: 30, bottom: 52 };
const LEGEND_LINE: i32 = 24;

struct Margin {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

/// An entry of the legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegendEntry {
    /// Text.
    pub label: String,
    /// Index of its colour.
    pub colour: usize,
    /// Index of its marker.
    pub marker: usize,
}

/// Two columns of panels with a legend below.
pub struct Layout {
    panels: i32,
    legend: Vec<Vec<LegendEntry>>,
    extra_bottom: i32,
}

/// The plotting rectangle of one panel.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    left: i32,
    top: i32,
    width: i32,
    height: i32,
}

/// Names of a panel.
pub struct Titles<'a> {
    /// Above.
    pub title: &'a str,
    /// Below.
    pub x: &'a str,
    /// To the left.
    pub y: &'a str,
}

/// Pixels that labels under an axis take below it when they are turned; 0 where they fit side by side.
pub fn turned_labels<'a>(labels: impl ExactSizeIterator<Item = &'a String>) -> i32 {
    let count = labels.len() as i32;
    let longest = labels.map(|label| label.chars().count()).max().unwrap_or(0) as i32;
    if longest * 8 * count > 280 { longest * 6 - 12 } else { 0 }
}

impl Layout {
    /// A layout of so many panels; `extra_bottom` pixels more below each for long labels.
    pub fn new(panels: usize, legend: Vec<LegendEntry>, extra_bottom: i32) -> Self {
        let mut lines: Vec<Vec<LegendEntry>> = vec![vec![]];
        let mut used = 0;
        for entry in legend {
            let width = entry_width(&entry);
            if used + width > WIDTH - 20 && used > 0 {
                lines.push(vec![]);
                used = 0;
            }
            used += width;
            if let Some(line) = lines.last_mut() {
                line.push(entry);
            }
        }
        Layout { panels: i32::try_from(panels).unwrap_or(i32::MAX), legend: lines, extra_bottom }
    }

    /// Size of the whole figure.
    pub fn size(&self) -> (u32, u32) {
        let height = self.panels_height() + LEGEND_LINE * self.legend.len() as i32 + 6;
        (WIDTH as u32, height.unsigned_abs())
    }

    /// The n-th panel.
    pub fn panel(&self, index: usize) -> Panel {
        let index = index as i32;
        let columns = self.columns();
        let width = WIDTH / columns;
        Panel {
            left: (index % columns) * width + MARGIN.left,
            top: (index / columns) * self.row_height() + MARGIN.top,
            width: width - MARGIN.left - MARGIN.right,
            height: PANEL_HEIGHT - MARGIN.top - MARGIN.bottom,
        }
    }

    /// Draws the legend.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn draw_legend(&self, canvas: &Canvas) -> Result<(), FigureError> {
        for (index, line) in self.legend.iter().enumerate() {
            let y = self.panels_height() + LEGEND_LINE * index as i32 + LEGEND_LINE / 2;
            let mut x = (WIDTH - line.iter().map(entry_width).sum::<i32>()) / 2;
            for entry in line {
                canvas.marker((x + 8, y), entry.marker, colour(entry.colour))?;
                canvas.text(&entry.label, (x + 20, y), Anchor::Start)?;
                x += entry_width(entry);
            }
        }
        Ok(())
    }

    fn columns(&self) -> i32 {
        self.panels.clamp(1, 2)
    }

    fn row_height(&self) -> i32 {
        PANEL_HEIGHT + self.extra_bottom
    }

    fn panels_height(&self) -> i32 {
        self.row_height() * ((self.panels + self.columns() - 1) / self.columns())
    }
}

fn entry_width(entry: &LegendEntry) -> i32 {
    40 + entry.label.chars().count() as i32 * FONT_SIZE * 11 / 20
}

impl Panel {
    /// Frame, title and axis labels; `x_offset` pixels between the axis and its label for the ticks.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn frame(&self, canvas: &Canvas, titles: &Titles, x_offset: i32) -> Result<(), FigureError> {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        canvas.line(vec![(self.left, self.top), (self.left, bottom), (right, bottom)], INK, 1)?;
        let middle = self.left + self.width / 2;
        canvas.text(titles.title, (middle, self.top - 15), Anchor::Middle)?;
        canvas.text(titles.x, (middle, bottom + x_offset), Anchor::Middle)?;
        canvas.text(titles.y, (self.left - 58, self.top + self.height / 2), Anchor::Upwards)
    }

    /// Ticks and grid of the vertical axis.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn y_ticks(&self, canvas: &Canvas, scale: Scale) -> Result<(), FigureError> {
        for (value, label) in scale.ticks() {
            let y = self.y(scale.position(value));
            canvas.line(vec![(self.left + 1, y), (self.left + self.width, y)], GRID, 1)?;
            canvas.line(vec![(self.left - 4, y), (self.left, y)], INK, 1)?;
            canvas.text(&label, (self.left - 8, y), Anchor::End)?;
        }
        Ok(())
    }

    /// A tick of the horizontal axis; long labels are turned.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn x_tick(&self, canvas: &Canvas, position: f64, label: &str, turned: bool) -> Result<(), FigureError> {
        let (x, bottom) = (self.x(position), self.top + self.height);
        canvas.line(vec![(x, bottom), (x, bottom + 4)], INK, 1)?;
        match turned {
            false => canvas.text(label, (x, bottom + 16), Anchor::Middle),
            true => canvas.text(label, (x, bottom + 8), Anchor::UpwardsEnd),
        }
    }

    /// Pixel of a position along the horizontal axis.
    pub fn x(&self, position: f64) -> i32 {
        self.left + (position * f64::from(self.width)).round() as i32
    }

    /// Pixel of a position along the vertical axis.
    pub fn y(&self, position: f64) -> i32 {
        self.top + self.height - (position * f64::from(self.height)).round() as i32
    }

    /// Pixel of both.
    pub fn point(&self, x: f64, y: f64) -> Point {
        (self.x(x), self.y(y))
    }
}
