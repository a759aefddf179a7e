//! Tables, figures, claims and the paper's numbers from the results of one run.

pub mod document;
pub mod entries;
pub mod escape;
pub mod figures;
pub mod macros;
pub mod render;
pub mod sentences;
pub mod table;
pub mod tables;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::analysis::agreement::AgreementError;
use crate::claims::{self, Claims, ClaimsError, Verdict};
use crate::files::FileError;
use crate::results::ResultsError;
use crate::results::study::Study;
use document::{Document, document};
use render::Renderer;

/// File name of the page.
pub const HTML_FILE: &str = "report.html";

/// A report that could not be made.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The results cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The claims cannot be read.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The repeat is not of the main run.
    #[error("the repeat: {0}")]
    Repeat(#[source] Box<AgreementError>),
    /// A figure cannot be drawn.
    #[error(transparent)]
    Figure(#[from] figures::FigureError),
    /// The sections' texts cannot be read, a defect that a test rules out.
    #[error("paper/templates/sections.yaml: {0}")]
    Sections(String),
    /// A template cannot be rendered.
    #[error("template: {0}")]
    Template(#[from] render::RenderError),
    /// The values cannot be written as JSON.
    #[error("report.json: {0}")]
    Json(#[source] serde_json::Error),
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportSummary {
    /// The page to open first.
    pub html: PathBuf,
    /// Every file, in the order written.
    pub files: Vec<PathBuf>,
    /// The claims, judged.
    pub verdicts: Vec<Verdict>,
}

/// The part of a report that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Everything.
    All,
    /// What LaTeX includes: tables, sections and macros, and the figures as PDF.
    Latex,
}

impl Files {
    fn include(self, name: &str) -> bool {
        self == Files::All || name.ends_with(".tex") || name.ends_with(".pdf")
    }
}

/// Renders the run in `dir` into `out`: LaTeX table bodies, section files and macros, figures as SVG and PDF,
/// `report.html`, and the values behind all of it as `report.json`. Of an artifact, with the repeat and the other experiments
/// in it. Equal results give equal bytes.
///
/// # Errors
/// [`ReportError`] naming the file that cannot be read or written.
pub fn report(dir: &Path, out: &Path) -> Result<ReportSummary, ReportError> {
    report_with(&Study::read(dir)?, &Claims::builtin()?, out, Files::All)
}

/// [`report`] of results that were read already, with other claims, or of some of its files.
///
/// # Errors
/// [`ReportError`] naming the file that cannot be written; or that a repeat is not of the main run.
pub fn report_with(study: &Study, claims: &Claims, out: &Path, wanted: Files) -> Result<ReportSummary, ReportError> {
    let verdicts = claims::judge_study(study, claims);
    let document = document(study, claims, verdicts.clone())?;
    std::fs::create_dir_all(out).map_err(FileError::of_output(out))?;
    let files = files(&document)?
        .into_iter()
        .filter(|(name, _)| wanted.include(name))
        .map(|(name, bytes)| {
            let path = out.join(name);
            std::fs::write(&path, bytes).map_err(FileError::of_output(&path))?;
            Ok(path)
        })
        .collect::<Result<Vec<PathBuf>, ReportError>>()?;
    Ok(ReportSummary { html: out.join(HTML_FILE), files, verdicts })
}

/// Name and contents of every file of a report.
fn files(document: &Document) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let renderer = Renderer::new()?;
    let mut files = vec![(HTML_FILE.to_owned(), renderer.html(document)?.into_bytes())];
    for name in ["macros.tex", "verdicts.tex", "findings.tex", "claims.tex", "readings.tex", "caveats.tex"] {
        files.push((name.to_owned(), renderer.tex(name, document)?.into_bytes()));
    }
    files.push(("report.json".to_owned(), serde_json::to_vec_pretty(document).map_err(ReportError::Json)?));
    for section in &document.sections {
        let (text, appendix) = section.on_paper();
        files.push((format!("section-{}.tex", section.slug), renderer.tex("section.tex", &text)?.into_bytes()));
        if !(appendix.tables.is_empty() && appendix.figures.is_empty()) {
            files
                .push((format!("appendix-{}.tex", section.slug), renderer.tex("section.tex", &appendix)?.into_bytes()));
        }
        for table in &section.tables {
            files.push((format!("{}.tex", table.slug), renderer.table(table)?.into_bytes()));
        }
        for figure in &section.figures {
            let Some(svg) = &figure.svg else { continue };
            files.push((format!("{}.svg", figure.slug), svg.clone().into_bytes()));
            if let Some(pdf) = figures::to_pdf(figure)? {
                files.push((format!("{}.pdf", figure.slug), pdf));
            }
        }
    }
    Ok(files)
}
