//! Drawing primitives on an SVG of fixed size. The font is the one the paper ships, so that a figure is the same on
//! every host.

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, Color, DrawingArea, EmptyElement, IntoDrawingArea, IntoFont, PathElement, Polygon, RGBColor, Rectangle,
    SVGBackend, ShapeStyle, Text, TextStyle,
};
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::FigureError;
use crate::terminal::is_hidden;

/// Family name of the shipped font, as the font file states it.
pub const FONT_FAMILY: &str = "Latin Modern Sans";
/// Size of text, pixels.
pub const FONT_SIZE: i32 = 14;
/// Text and axes.
pub const INK: RGBColor = RGBColor(40, 40, 40);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(225, 225, 225);

/// Colours that stay apart for colour-blind readers (Okabe and Ito 2008), in order of use.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(160, 140, 20),
];

/// Colour of the n-th series.
pub fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// A pixel.
pub type Point = (i32, i32);

/// Where a text sits relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Starts at the point.
    Start,
    /// Centred on the point.
    Middle,
    /// Ends at the point.
    End,
    /// Centred, turned to read upwards.
    Upwards,
    /// Ends at the point, turned to read upwards.
    UpwardsEnd,
}

/// An SVG being drawn.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl<'a> Canvas<'a> {
    /// A white canvas; `buffer` receives the SVG when the canvas is finished.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn new(buffer: &'a mut String, size: (u32, u32)) -> Result<Self, FigureError> {
        let area = SVGBackend::with_string(buffer, size).into_drawing_area();
        area.fill(&plotters::style::WHITE).map_err(FigureError::draw)?;
        Ok(Canvas { area })
    }

    /// A line through points.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn line(&self, points: Vec<Point>, colour: RGBColor, width: u32) -> Result<(), FigureError> {
        let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: width };
        self.area.draw(&PathElement::new(points, style)).map_err(FigureError::draw)
    }

    /// A filled rectangle. (Nothing is translucent: the PDF converter numbers graphics states in no fixed order.)
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn bar(&self, corners: [Point; 2], colour: RGBColor) -> Result<(), FigureError> {
        self.area.draw(&Rectangle::new(corners, colour.filled())).map_err(FigureError::draw)
    }

    /// Horizontal text.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn text(&self, text: &str, at: Point, anchor: Anchor) -> Result<(), FigureError> {
        let (horizontal, vertical) = match anchor {
            Anchor::Start => (HPos::Left, VPos::Center),
            Anchor::Middle | Anchor::Upwards => (HPos::Center, VPos::Center),
            Anchor::End | Anchor::UpwardsEnd => (HPos::Right, VPos::Center),
        };
        let turned = match anchor {
            Anchor::Upwards | Anchor::UpwardsEnd => FontTransform::Rotate270,
            _ => FontTransform::None,
        };
        let font = (FONT_FAMILY, FONT_SIZE).into_font().transform(turned);
        let style = TextStyle::from(font).color(&INK).pos(Pos::new(horizontal, vertical));
        // What XML has no form for, not even as an entity, would make the whole figure unreadable.
        let text: String =
            text.chars().map(|c| if is_hidden(c) || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c }).collect();
        self.area.draw(&(EmptyElement::at(at) + Text::new(text, (0, 0), style))).map_err(FigureError::draw)
    }

    /// The marker of the n-th backend: circle, triangle, square, diamond, in turn.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn marker(&self, (x, y): Point, shape: usize, colour: RGBColor) -> Result<(), FigureError> {
        let fill = colour.filled();
        match shape % 4 {
            0 => self.area.draw(&Circle::new((x, y), 4, fill)),
            1 => self.area.draw(&Polygon::new(vec![(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)], fill)),
            2 => self.area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], fill)),
            _ => self.area.draw(&Polygon::new(vec![(x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)], fill)),
        }
        .map_err(FigureError::draw)
    }

    /// A ring around a marker.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn ring(&self, at: Point, colour: RGBColor) -> Result<(), FigureError> {
        let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 1 };
        self.area.draw(&Circle::new(at, 8, style)).map_err(FigureError::draw)
    }

    /// Writes the SVG.
    ///
    /// # Errors
    /// [`FigureError::Draw`].
    pub fn finish(self) -> Result<(), FigureError> {
        self.area.present().map_err(FigureError::draw)
    }
}
