//! The sections that a page can have: a template each.

use std::path::Path;

use tera::{Context, Tera};

use super::facts::PageFacts;
use super::{SpliceError, mark_error};
use crate::report::escape;

/// Name and template of every section.
const TEMPLATES: [(&str, &str); 11] = [
    ("agreement", include_str!("../../paper/templates/pages/agreement.md.tera")),
    ("artifact", include_str!("../../paper/templates/pages/artifact.md.tera")),
    ("figure", include_str!("../../paper/templates/pages/figure.md.tera")),
    ("headline", include_str!("../../paper/templates/pages/headline.md.tera")),
    ("hours", include_str!("../../paper/templates/pages/hours.md.tera")),
    ("map", include_str!("../../paper/templates/pages/map.md.tera")),
    ("memory", include_str!("../../paper/templates/pages/memory.md.tera")),
    ("forwards", include_str!("../../paper/templates/pages/forwards.md.tera")),
    ("peers", include_str!("../../paper/templates/pages/peers.md.tera")),
    ("power", include_str!("../../paper/templates/pages/power.md.tera")),
    ("verdicts", include_str!("../../paper/templates/pages/verdicts.md.tera")),
];

/// The templates with what they speak of.
pub(super) struct Sections {
    engine: Tera,
    context: Context,
}

/// A section that cannot be rendered.
#[derive(Debug)]
pub(super) enum SectionError {
    /// There is no section of this name.
    Unknown(String),
    /// Its template fails.
    Template { section: String, source: tera::Error },
}

impl SectionError {
    /// The error with the place of the section's mark.
    pub fn at(self, page: &Path, line: usize) -> SpliceError {
        match self {
            SectionError::Unknown(name) => {
                let known: Vec<&str> = TEMPLATES.iter().map(|(name, _)| *name).collect();
                mark_error(page, line, format!("no section `{name}`; there are {}", known.join(", ")))
            }
            SectionError::Template { section, source } => SpliceError::Template { section, source },
        }
    }
}

impl Sections {
    /// Compiles the templates.
    ///
    /// # Errors
    /// [`SpliceError::Template`], a defect that a test rules out.
    pub fn new(facts: &PageFacts) -> Result<Sections, SpliceError> {
        let failed = |source| SpliceError::Template { section: "all".to_owned(), source };
        let mut engine = Tera::new();
        engine.set_escape_fn(escape::markdown);
        engine.autoescape_on([".md"]);
        engine.add_raw_templates(TEMPLATES.map(|(name, text)| (file(name), text))).map_err(failed)?;
        Ok(Sections { engine, context: Context::from_serialize(facts).map_err(failed)? })
    }

    /// The text of a section, without empty lines around it.
    ///
    /// # Errors
    /// [`SectionError`].
    pub fn render(&self, name: &str) -> Result<String, SectionError> {
        if !TEMPLATES.iter().any(|(known, _)| *known == name) {
            return Err(SectionError::Unknown(name.to_owned()));
        }
        let text = self.engine.render(&file(name), &self.context);
        let text = text.map_err(|source| SectionError::Template { section: name.to_owned(), source })?;
        Ok(text.trim_matches('\n').to_owned())
    }
}

fn file(section: &str) -> String {
    format!("{section}.md")
}
