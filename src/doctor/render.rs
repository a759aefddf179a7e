//! The doctor's report as text for people and JSON for programs.

use serde_json::json;

use super::{Finding, Section, Status};

impl Section {
    fn title(self) -> &'static str {
        match self {
            Section::Machine => "Machine",
            Section::Backends => "Backends",
            Section::Libraries => "Libraries",
            Section::Pins => "Pins: what is here against what is pinned",
            Section::Material => "Checkpoints and data",
            Section::Paper => "Paper",
            Section::Commands => "What can run here now",
        }
    }
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "yes",
            Status::Limited => "partly",
            Status::Missing => "no",
            Status::NotNeeded => "n/a",
        }
    }
}

/// One line per finding under the title of its section; a cure follows on a line of its own.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut section = None;
    for finding in findings {
        if section != Some(finding.section) {
            if section.is_some() {
                text.push('\n');
            }
            section = Some(finding.section);
            text.push_str(finding.section.title());
            text.push('\n');
        }
        let width = name_width(findings, finding.section);
        let Finding { name, detail, status, .. } = finding;
        text.push_str(&format!("  {:<6}  {name:<width$}  {detail}\n", status.word()));
        if let Some(cure) = &finding.cure {
            text.push_str(&format!("  {:<6}  {:<width$}  -> {cure}\n", "", ""));
        }
    }
    text
}

/// `{"findings": [{"section", "name", "status", "detail", "cure"}, ...]}`, indented.
pub fn json(findings: &[Finding]) -> String {
    format!("{:#}\n", json!({ "findings": findings }))
}

fn name_width(findings: &[Finding], section: Section) -> usize {
    let names = findings.iter().filter(|finding| finding.section == section);
    names.map(|finding| finding.name.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::new(Section::Backends, "reference", Status::Ok, "always there"),
            Finding::new(Section::Backends, "cuda", Status::Missing, "not in this version"),
            Finding::new(Section::Paper, "LaTeX", Status::Missing, "not found: latexmk").cured_by("install it"),
        ]
    }

    #[test]
    fn text_aligns_names_within_a_section_and_prints_cures_below() {
        let expected = "Backends\n  yes     reference  always there\n  no      cuda       not in this version\n\n\
                        Paper\n  no      LaTeX  not found: latexmk\n                 -> install it\n";
        assert_eq!(text(&findings()), expected);
    }

    #[test]
    fn json_holds_every_field_and_null_for_no_cure() {
        let value: serde_json::Value = serde_json::from_str(&json(&findings())).unwrap();
        let items = value["findings"].as_array().unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0]["status"], "ok");
        assert_eq!(items[0]["cure"], serde_json::Value::Null);
        assert_eq!((&items[2]["section"], &items[2]["cure"]), (&"paper".into(), &"install it".into()));
    }
}
