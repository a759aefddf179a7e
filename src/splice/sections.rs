//! The sections that a page can have: a template each.

use tera::{Context, Tera};

use super::SpliceError;
use super::facts::PageFacts;
use crate::report::escape;

/// Name and template of every section.
const TEMPLATES: [(&str, &str); 16] = [
    ("agreement", include_str!("../../paper/templates/pages/agreement.md.tera")),
    ("artifact", include_str!("../../paper/templates/pages/artifact.md.tera")),
    ("figure", include_str!("../../paper/templates/pages/figure.md.tera")),
    ("forwards", include_str!("../../paper/templates/pages/forwards.md.tera")),
    ("headline", include_str!("../../paper/templates/pages/headline.md.tera")),
    ("hours", include_str!("../../paper/templates/pages/hours.md.tera")),
    ("map", include_str!("../../paper/templates/pages/map.md.tera")),
    ("memory", include_str!("../../paper/templates/pages/memory.md.tera")),
    ("peers", include_str!("../../paper/templates/pages/peers.md.tera")),
    ("power", include_str!("../../paper/templates/pages/power.md.tera")),
    ("results-columns", include_str!("../../paper/templates/pages/results-columns.md.tera")),
    ("samples-columns", include_str!("../../paper/templates/pages/samples-columns.md.tera")),
    ("targets", include_str!("../../paper/templates/pages/targets.md.tera")),
    ("tensorrt", include_str!("../../paper/templates/pages/tensorrt.md.tera")),
    ("verdicts", include_str!("../../paper/templates/pages/verdicts.md.tera")),
    ("visits", include_str!("../../paper/templates/pages/visits.md.tera")),
];

/// The sections, as marks name them.
pub(super) fn names() -> [&'static str; TEMPLATES.len()] {
    TEMPLATES.map(|(name, _)| name)
}

/// The templates with what they speak of.
pub(super) struct Sections {
    engine: Tera,
    context: Context,
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

    /// The text of a section, one of [`names`], without empty lines around it.
    pub fn render(&self, name: &str) -> Result<String, SpliceError> {
        let failed = |source| SpliceError::Template { section: name.to_owned(), source };
        let text = self.engine.render(&file(name), &self.context).map_err(failed)?;
        Ok(text.trim_matches('\n').to_owned())
    }
}

fn file(section: &str) -> String {
    format!("{section}.md")
}
