//! Templates: LaTeX table bodies, section files and macros; one self-contained HTML page.
//!
//! Everything a template prints is escaped for its language unless it is marked safe; the only such text is SVG drawn
//! here.

use serde::Serialize;
use tera::{Context, Delimiters, Tera};

use super::document::{ClaimView, Document, Section};
use super::escape::{self, latex};
use super::figures::Figure;
use super::table::{Align, Heading, Table};
use crate::claims::Outcome;

/// A template that does not render: a defect of the program.
pub type RenderError = tera::Error;

/// The templates, compiled.
#[derive(Debug)]
pub struct Renderer {
    tex: Tera,
    html: Tera,
}

impl Renderer {
    /// Compiles the templates.
    ///
    /// # Errors
    /// [`RenderError`] where a template has a mistake; a test rules it out.
    pub fn new() -> Result<Self, RenderError> {
        let mut tex = tex_engine()?;
        tex.add_raw_templates([
            ("table.tex", include_str!("../../paper/templates/table.tex.tera")),
            ("section.tex", include_str!("../../paper/templates/section.tex.tera")),
            ("findings.tex", include_str!("../../paper/templates/findings.tex.tera")),
            ("verdicts.tex", include_str!("../../paper/templates/verdicts.tex.tera")),
            ("claims.tex", include_str!("../../paper/templates/claims.tex.tera")),
            ("readings.tex", include_str!("../../paper/templates/readings.tex.tera")),
            ("caveats.tex", include_str!("../../paper/templates/caveats.tex.tera")),
            ("macros.tex", include_str!("../../paper/templates/macros.tex.tera")),
        ])?;
        let mut html = Tera::new();
        html.set_escape_fn(escape::html);
        html.add_raw_templates([
            ("table.html", include_str!("../../paper/templates/table.html.tera")),
            ("section.html", include_str!("../../paper/templates/section.html.tera")),
            ("report.html", include_str!("../../paper/templates/report.html.tera")),
        ])?;
        Ok(Renderer { tex, html })
    }

    /// The body of a table: tabular and notes.
    pub fn table(&self, table: &Table) -> Result<String, RenderError> {
        self.tex("table.tex", &LatexTable { columns: columns(table), table })
    }

    /// One of the other LaTeX files, by the name of its template: `section.tex` of a section; the others of a document.
    pub fn tex(&self, template: &str, value: &impl Serialize) -> Result<String, RenderError> {
        self.tex.render(template, &context(value)?)
    }

    /// The HTML page.
    pub fn html<'a>(&self, document: &'a Document) -> Result<String, RenderError> {
        let drawn =
            |section: &'a Section| HtmlSection { section, drawings: section.figures.iter().map(inline).collect() };
        let (leading, sections): (Vec<&Section>, Vec<&Section>) =
            document.sections.iter().partition(|section| section.leads);
        let [leading, sections] =
            [leading, sections].map(|sections| sections.into_iter().map(drawn).collect::<Vec<_>>());
        let claims = ("claims", document.claims.as_slice());
        let findings = ("findings", document.findings.as_slice());
        // What the rows answer comes first: the findings, where any of them is answered.
        let answered = |view: &ClaimView| !matches!(view.verdict.outcome, Outcome::NotRun | Outcome::NoHardware);
        let groups = if document.findings.iter().any(answered) { [findings, claims] } else { [claims, findings] };
        let verdicts = groups.map(|(slug, views)| VerdictGroup { slug, views }).into();
        let glance = if leading.is_empty() { glance(&document.sections) } else { Vec::new() };
        let page = HtmlPage { document, verdicts, leading, glance, sections };
        self.html.render("report.html", &context(&page)?)
    }
}

/// An engine for LaTeX, which is full of braces and percent signs: `<< value >>`, `<% block %>`. What it prints is escaped.
pub fn tex_engine() -> Result<Tera, RenderError> {
    let mut tex = Tera::new();
    tex.set_delimiters(Delimiters {
        block_start: "<%".into(),
        block_end: "%>".into(),
        variable_start: "<<".into(),
        variable_end: ">>".into(),
        comment_start: "<#".into(),
        comment_end: "#>".into(),
    })?;
    tex.set_escape_fn(latex);
    tex.autoescape_on([".tex"]);
    Ok(tex)
}

#[derive(Serialize)]
struct LatexTable<'a> {
    /// Argument of `tabular`; made of letters of this program only.
    columns: String,
    table: &'a Table,
}

#[derive(Serialize)]
struct HtmlPage<'a> {
    document: &'a Document,
    /// The claims of the paper and the findings, in the order of the page.
    verdicts: Vec<VerdictGroup<'a>>,
    /// What answers the experiment's question.
    leading: Vec<HtmlSection<'a>>,
    /// What shows the result at a glance, where no section leads.
    glance: Vec<DrawnFigure<'a>>,
    sections: Vec<HtmlSection<'a>>,
}

#[derive(Serialize)]
struct VerdictGroup<'a> {
    /// `claims` or `findings`: the anchor, and which words stand above.
    slug: &'static str,
    views: &'a [ClaimView],
}

#[derive(Serialize)]
struct HtmlSection<'a> {
    section: &'a Section,
    /// SVG elements, as many as there are figures; empty where there is nothing to draw.
    drawings: Vec<String>,
}

#[derive(Serialize)]
struct DrawnFigure<'a> {
    figure: &'a Figure,
    /// An SVG element.
    drawing: String,
}

/// The kinds of figures that show a result at a glance, by their slugs, which name an experiment before, the most telling first.
const GLANCE: [&str; 3] = ["figure-deviation-", "figure-latency-sequence", "figure-numerics"];

/// How many of them a page shows.
const GLANCED: usize = 2;

/// The first figure of each kind that was drawn.
fn glance(sections: &[Section]) -> Vec<DrawnFigure<'_>> {
    let drawn = |kind: &&str| {
        let mut figures = sections.iter().flat_map(|section| &section.figures);
        let figure = figures.find(|figure| figure.svg.is_some() && figure.slug.contains(kind))?;
        Some(DrawnFigure { figure, drawing: inline(figure) })
    };
    GLANCE.iter().filter_map(drawn).take(GLANCED).collect()
}

fn context<T: Serialize>(value: &T) -> Result<Context, RenderError> {
    Context::from_serialize(value)
}

/// An SVG without its XML declaration, for use inside HTML.
fn inline(figure: &Figure) -> String {
    let svg = figure.svg.as_deref().unwrap_or_default();
    svg.find("<svg").map_or_else(String::new, |start| svg[start..].to_owned())
}

fn columns(table: &Table) -> String {
    table.headings.iter().map(column).collect()
}

fn column(heading: &Heading) -> String {
    match (heading.align, heading.detail) {
        (Align::Left, _) => "l".to_owned(),
        (Align::Right, false) => "r".to_owned(),
        (Align::Right, true) => "r@{\\,}l".to_owned(),
        (Align::Wide, _) => format!(">{{\\raggedright\\arraybackslash}}p{{{}cm}}", heading.width_cm.unwrap_or(6)),
    }
}
