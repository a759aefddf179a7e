//! The appendix as LaTeX and Markdown. Everything that a template prints is escaped for its language.

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera, Value};

use super::AppendixError;
use super::document::Appendix;
use crate::report::escape;
use crate::report::render::tex_engine;

/// The format of an appendix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DocumentFormat {
    /// A file that compiles by itself and inside another document.
    Latex,
    /// A page for a repository.
    Markdown,
}

impl DocumentFormat {
    /// Both.
    pub const ALL: [DocumentFormat; 2] = [DocumentFormat::Latex, DocumentFormat::Markdown];

    /// Extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            DocumentFormat::Latex => "tex",
            DocumentFormat::Markdown => "md",
        }
    }
}

impl Appendix {
    /// The text in one of the formats.
    ///
    /// # Errors
    /// [`AppendixError::Template`], which a test rules out.
    pub fn render(&self, format: DocumentFormat) -> Result<String, AppendixError> {
        let context = Context::from_serialize(self)?;
        let text = match format {
            DocumentFormat::Latex => {
                let mut engine = tex_engine()?;
                let template = include_str!("../../paper/templates/appendix.tex.tera");
                engine.add_raw_templates([("appendix.tex", template)])?;
                engine.render("appendix.tex", &context)?
            }
            DocumentFormat::Markdown => {
                let mut engine = Tera::new();
                engine.set_escape_fn(escape::markdown);
                engine.autoescape_on([".md"]);
                engine.register_filter("code", code);
                let template = include_str!("../../paper/templates/appendix.md.tera");
                engine.add_raw_templates([("appendix.md", template)])?;
                engine.render("appendix.md", &context)?
            }
        };
        Ok(text)
    }
}

/// A Markdown code span. It is marked safe, since nothing inside it is markup.
fn code(text: &str, _: Kwargs, _: &State<'_>) -> Value {
    Value::safe_string(&escape::markdown_code(text))
}
