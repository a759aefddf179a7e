//! Checks whether `make paper` can make the PDF.

use std::process::Command;

use super::{Area, Diagnosis, Readiness, is_on_path};

/// Programs that `make paper` starts.
const PROGRAMS: [&str; 2] = ["latexmk", "pdflatex"];

/// Style files that the paper loads. Those that a small TeX installation lacks come first.
const STYLES: [&str; 5] = ["booktabs.sty", "threeparttable.sty", "adjustbox.sty", "placeins.sty", "lmodern.sty"];

/// One diagnosis of the LaTeX installation.
pub(super) fn find() -> Diagnosis {
    let mut missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !is_on_path(program)).collect();
    if missing.is_empty() {
        missing.extend(missing_styles(&located(&STYLES)));
    }
    diagnosis(&missing)
}

fn diagnosis(missing: &[&str]) -> Diagnosis {
    if missing.is_empty() {
        return Diagnosis::new(Area::Paper, "LaTeX", Readiness::Ok, "latexmk and the packages of the paper are there");
    }
    Diagnosis::new(Area::Paper, "LaTeX", Readiness::Missing, format!("not found: {}", missing.join(", ")))
        .cured_by("container/setup.sh --paper")
}

/// Paths of the files that TeX would load, one per line.
fn located(files: &[&str]) -> String {
    let output = Command::new("kpsewhich").args(files).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn missing_styles(located: &str) -> impl Iterator<Item = &'static str> {
    STYLES.into_iter().filter(move |style| !located.lines().any(|line| line.rsplit('/').next() == Some(style)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tex_lacks_is_named_with_the_cure() {
        let there = STYLES.into_iter().filter(|&style| style != "threeparttable.sty");
        let located: String = there.map(|style| format!("/usr/share/tex/{style}\n")).collect();
        let missing: Vec<&str> = missing_styles(&located).collect();
        assert_eq!(missing, ["threeparttable.sty"]);
        let diagnosis = diagnosis(&missing);
        assert_eq!(
            (diagnosis.status, diagnosis.detail.as_str()),
            (Readiness::Missing, "not found: threeparttable.sty")
        );
        assert_eq!(diagnosis.cure.as_deref(), Some("container/setup.sh --paper"));
    }
}
