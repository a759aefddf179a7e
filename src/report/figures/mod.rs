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
mod peers;
mod searches;

use serde::Serialize;
use thiserror::Error;

use crate::results::data::Data;
pub use pdf::to_pdf;
pub use peers::peers;
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
    /// Whether the paper shows it in its appendix instead of its text.
    pub in_appendix: bool,
}

impl Figure {
    fn drawn(slug: &str, caption: String, svg: String) -> Self {
        Figure { slug: slug.to_owned(), caption, svg: Some(svg), empty: None, in_appendix: false }
    }

    fn empty(slug: &str, caption: &str, why: &str) -> Self {
        let (slug, caption, empty) = (slug.to_owned(), caption.to_owned(), Some(why.to_owned()));
        Figure { slug, caption, svg: None, empty, in_appendix: false }
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

/// Kinds of figures of which a run may have several, one for each model or experiment, by what their slugs contain.
const KINDS: [&str; 5] =
    ["figure-latency-", "figure-deviation-", "figure-numerics", "figure-headroom", "figure-memory"];

/// The kind of a figure with this slug, where others of it may stand beside it.
pub fn kind(slug: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| slug.contains(kind))
}

/// Latency against sequence length and, for the paper's appendix, against batch size.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn latency(data: &Data) -> Result<Vec<Figure>, FigureError> {
    Ok(vec![curves::latency_by_sequence(data)?, curves::latency_by_batch(data)?])
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
    let details = [numerics::by_policy(data)?, headroom::map(data)?];
    figures.extend(details.map(|figure| Figure { in_appendix: true, ..figure }));
    Ok(figures)
}
