//! Figures: drawn as SVG with a fixed size, palette and font, and turned into PDF for LaTeX.

mod axis;
mod canvas;
mod curves;
mod deviation;
mod headroom;
mod memory;
mod numerics;
mod panel;
mod pdf;
mod searches;

use serde::Serialize;
use thiserror::Error;

use crate::results::data::Data;
pub use pdf::to_pdf;
pub use searches::minimal_sets;

/// A figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// File name without extension.
    pub slug: String,
    /// What it shows.
    pub caption: String,
    /// The drawing; `None` when there is nothing to draw.
    #[serde(skip)]
    pub svg: Option<String>,
    /// Why there is nothing to draw.
    pub empty: Option<String>,
}

impl Figure {
    fn drawn(slug: &str, caption: String, svg: String) -> Self {
        Figure { slug: slug.to_owned(), caption, svg: Some(svg), empty: None }
    }

    fn empty(slug: &str, caption: &str, why: &str) -> Self {
        Figure { slug: slug.to_owned(), caption: caption.to_owned(), svg: None, empty: Some(why.to_owned()) }
    }
}

/// A figure that could not be made.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum FigureError {
    /// The drawing library failed.
    #[error("figure: {0}")]
    Draw(String),
    /// The conversion to PDF failed.
    #[error("figure {slug}: conversion to PDF: {message}")]
    Pdf { slug: String, message: String },
}

impl FigureError {
    fn draw<E: std::error::Error>(error: E) -> Self {
        FigureError::Draw(error.to_string())
    }
}

/// Latency against batch size and against sequence length.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn latency(data: &Data) -> Result<Vec<Figure>, FigureError> {
    Ok(vec![curves::latency_by_batch(data)?, curves::latency_by_sequence(data)?])
}

/// Speed-up over FP32.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn speedup(data: &Data) -> Result<Vec<Figure>, FigureError> {
    Ok(vec![curves::speedup_by_batch(data)?])
}

/// Memory per policy.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn memory(data: &Data) -> Result<Vec<Figure>, FigureError> {
    Ok(vec![memory::by_policy(data)?])
}

/// Deviations by layer norm; distance from the reference and share of NaN, per policy; headroom below FP16's largest value.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn numerics(data: &Data) -> Result<Vec<Figure>, FigureError> {
    let mut figures = deviation::by_model(data)?;
    figures.extend([numerics::by_policy(data)?, headroom::map(data)?]);
    Ok(figures)
}
