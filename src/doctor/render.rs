//! Prints the report as text for people and as JSON for programs.

use serde_json::json;

use super::{Area, Diagnosis, Readiness};

impl Area {
    fn title(self) -> &'static str {
        match self {
            Area::Machine => "Machine",
            Area::Backends => "Backends",
            Area::Libraries => "Libraries",
            Area::Pins => "Pins: what is here against what is pinned",
            Area::Assets => "Checkpoints and data",
            Area::Paper => "Paper",
            Area::Commands => "What can run here now",
        }
    }
}

impl Readiness {
    fn word(self) -> &'static str {
        match self {
            Readiness::Ok => "yes",
            Readiness::Limited => "partly",
            Readiness::Missing => "no",
            Readiness::NotNeeded => "n/a",
        }
    }
}

/// One line per diagnosis, under the title of its area. A cure follows on a line of its own.
pub fn text(diagnoses: &[Diagnosis]) -> String {
    let mut text = String::new();
    let mut section = None;
    for diagnosis in diagnoses {
        if section != Some(diagnosis.section) {
            if section.is_some() {
                text.push('\n');
            }
            section = Some(diagnosis.section);
            text.push_str(diagnosis.section.title());
            text.push('\n');
        }
        let width = name_width(diagnoses, diagnosis.section);
        let Diagnosis { name, detail, status, .. } = diagnosis;
        text.push_str(&format!("  {:<6}  {name:<width$}  {detail}\n", status.word()));
        if let Some(cure) = &diagnosis.cure {
            text.push_str(&format!("  {:<6}  {:<width$}  -> {cure}\n", "", ""));
        }
    }
    text
}

/// `{"findings": [{"section", "name", "status", "detail", "cure"}, ...]}`, indented.
pub fn json(diagnoses: &[Diagnosis]) -> String {
    format!("{:#}\n", json!({ "findings": diagnoses }))
}

fn name_width(diagnoses: &[Diagnosis], section: Area) -> usize {
    let names = diagnoses.iter().filter(|diagnosis| diagnosis.section == section);
    names.map(|diagnosis| diagnosis.name.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnoses() -> Vec<Diagnosis> {
        vec![
            Diagnosis::new(Area::Backends, "reference", Readiness::Ok, "always there"),
            Diagnosis::new(Area::Backends, "cuda", Readiness::Missing, "not in this version"),
            Diagnosis::new(Area::Paper, "LaTeX", Readiness::Missing, "not found: latexmk").cured_by("install it"),
        ]
    }

    #[test]
    fn text_aligns_names_within_a_section_and_prints_cures_below() {
        let expected = "Backends\n  yes     reference  always there\n  no      cuda       not in this version\n\n\
                        Paper\n  no      LaTeX  not found: latexmk\n                 -> install it\n";
        assert_eq!(text(&diagnoses()), expected);
    }

    #[test]
    fn json_holds_every_field_and_null_for_no_cure() {
        let value: serde_json::Value = serde_json::from_str(&json(&diagnoses())).unwrap();
        let items = value["findings"].as_array().unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0]["status"], "ok");
        assert_eq!(items[0]["cure"], serde_json::Value::Null);
        assert_eq!((&items[2]["section"], &items[2]["cure"]), (&"paper".into(), &"install it".into()));
    }
}
