//! A certificate for readers.

use tera::{Context, Tera};

use crate::record::certificate::{Breakage, Certificate};
use crate::report::escape;

/// The certificate as Markdown.
///
/// # Errors
/// An error of the template, which a test rules out.
pub(super) fn page(certificate: &Certificate, policy_yaml: &str) -> Result<String, tera::Error> {
    const TEMPLATE: &str = include_str!("../../paper/templates/certificate.md.tera");
    let mut engine = Tera::new();
    engine.set_escape_fn(escape::markdown);
    engine.autoescape_on([".md"]);
    engine.add_raw_templates([("certificate.md", TEMPLATE)])?;
    let mut context = Context::from_serialize(certificate)?;
    let text = |breakage: &Breakage| breakage.to_string();
    let without: Vec<String> = certificate.operations.iter().map(|one| text(&one.without)).collect();
    context.insert("without", &without);
    context.insert("start_text", &certificate.start_breaks.as_ref().map(text));
    context.insert("held_out_texts", &certificate.held_out.breaking.iter().map(text).collect::<Vec<_>>());
    let violations = certificate.monotonicity.violations.iter().map(|one| text(&one.breaks));
    context.insert("violation_texts", &violations.collect::<Vec<_>>());
    let confirmation = certificate.confirmation.as_ref().and_then(|found| found.breaks.as_ref()).map(text);
    context.insert("confirmation_text", &confirmation);
    context.insert("policy_yaml", policy_yaml);
    engine.render("certificate.md", &context)
}
