//! Generated sections of Markdown pages. What stands between `<!-- generated: NAME -->` and `<!-- /generated -->` is rendered
//! from an artifact by a template in `paper/templates/pages`, so that nobody types a measured number into a page.

mod columns;
mod facts;
mod figure;
mod forwards;
mod page;
mod runs;
mod sections;
mod targets;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::analysis::agreement::AgreementError;
use crate::appendix::AppendixError;
use crate::claims::ClaimsError;
use crate::files::{FileError, read_text, replace};
use crate::report::ReportError;
use crate::report::render::RenderError;
use crate::results::ResultsError;
use facts::PageFacts;
use page::{GeneratedSection, Page};
use sections::Sections;

/// Pages that cannot be brought up to date.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum SpliceError {
    /// The artifact cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// Its report cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The authors' part of the appendix cannot be read.
    #[error(transparent)]
    Author(#[from] AppendixError),
    /// The claims cannot be read.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// A repeat in the artifact cannot be compared with the main run.
    #[error(transparent)]
    Repeat(#[from] AgreementError),
    /// A page or a figure cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A mark of a page is wrong.
    #[error("{path}:{line}: {message}")]
    Mark { path: PathBuf, line: usize, message: String },
    /// The times that the kernels were to reach do not parse.
    #[error("{file}: {message}")]
    Targets { file: &'static str, message: String },
    /// A template does not render.
    #[error("template of the section `{section}`: {source}")]
    Template { section: String, source: RenderError },
}

/// Pages to bring up to date, and from what.
#[derive(Debug, Clone)]
pub struct SpliceRequest {
    /// Folder of the artifact.
    pub artifact: PathBuf,
    /// Folder of a comparison with peers, where a page shows one.
    pub peers: Option<PathBuf>,
    /// Folder of an earlier edition of the artifact, where a page shows what changed since.
    pub before: Option<PathBuf>,
    /// The Markdown pages.
    pub pages: Vec<PathBuf>,
}

/// A file that differs from what the artifact yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The page or the figure.
    pub path: PathBuf,
    /// Sections of the page that differ; empty for a figure.
    pub sections: Vec<String>,
    contents: String,
}

/// The files that differ from what the artifact yields, in the order of the pages. Nothing is written.
pub fn stale(request: &SpliceRequest) -> Result<Vec<Stale>, SpliceError> {
    let pages = request.pages.iter().map(|path| read(path)).collect::<Result<Vec<_>, SpliceError>>()?;
    let facts = PageFacts::read(request)?;
    let sections = Sections::new(&facts)?;
    let mut found = Vec::new();
    for (path, page) in &pages {
        let mut names = Vec::new();
        let contents = page.render(|section| {
            let fresh = sections.render(&section.name)?;
            if fresh != section.body {
                names.push(section.name.clone());
            }
            Ok::<_, SpliceError>(fresh)
        })?;
        if !names.is_empty() {
            found.push(Stale { path: path.to_path_buf(), sections: names, contents });
        }
        if page.sections().any(|section| section.name == figure::SECTION) {
            found.extend(stale_figures(path, &facts)?);
        }
    }
    Ok(found)
}

/// Reads a page and checks its marks.
fn read(path: &Path) -> Result<(&Path, Page), SpliceError> {
    let wrong = |(line, message)| SpliceError::Mark { path: path.to_owned(), line, message };
    let page = Page::parse(&read_text(path)?).map_err(wrong)?;
    if page.sections().next().is_none() {
        return Err(wrong((1, "no section is marked; begin one with <!-- generated: NAME -->".to_owned())));
    }
    let unknown = page.sections().find(|section| !sections::names().contains(&section.name.as_str()));
    match unknown {
        Some(GeneratedSection { name, line, .. }) => {
            Err(wrong((*line, format!("no section `{name}`; there are {}", sections::names().join(", ")))))
        }
        None => Ok((path, page)),
    }
}

/// The figures of a page that differ; their paths start from the page's folder.
fn stale_figures(page: &Path, facts: &PageFacts) -> Result<Vec<Stale>, SpliceError> {
    let folder = page.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (name, contents) in figure::draw(facts)? {
        let path = folder.join(name);
        let same = match std::fs::read_to_string(&path) {
            Ok(text) => text == contents,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(source) => return Err(FileError { path, source }.into()),
        };
        if !same {
            found.push(Stale { path, sections: Vec::new(), contents });
        }
    }
    Ok(found)
}

impl Stale {
    /// Replaces the file by what the artifact yields.
    pub fn mend(&self) -> Result<(), SpliceError> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(FileError::at(folder))?;
        }
        Ok(replace(&self.path, self.contents.as_bytes()).map_err(FileError::at(&self.path))?)
    }

    /// `README.md: verdicts, map`
    pub fn label(&self) -> String {
        match self.sections.as_slice() {
            [] => self.path.display().to_string(),
            sections => format!("{}: {}", self.path.display(), sections.join(", ")),
        }
    }
}
