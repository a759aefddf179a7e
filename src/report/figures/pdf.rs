//! SVG to PDF with the shipped font, independent of the host's fonts.

use svg2pdf::usvg::{Options, Tree};
use svg2pdf::{ConversionOptions, PageOptions};

use super::{Figure, FigureError};

/// Latin Modern Sans, GUST Font License (paper/fonts).
const FONT: &[u8] = include_bytes!("../../../paper/fonts/lmsans10-regular.otf");

/// The figure as a PDF page; `None` when there is nothing to draw. Equal drawings give equal bytes.
///
/// # Errors
/// [`FigureError::Pdf`].
pub fn to_pdf(figure: &Figure) -> Result<Option<Vec<u8>>, FigureError> {
    let Some(svg) = &figure.svg else { return Ok(None) };
    let failed = |message: String| FigureError::Pdf { slug: figure.slug.clone(), message };
    let mut options = Options::default();
    options.fontdb_mut().load_font_data(FONT.to_vec());
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    svg2pdf::to_pdf(&tree, ConversionOptions::default(), PageOptions::default())
        .map(Some)
        .map_err(|error| failed(error.to_string()))
}
