//! Generated sections of Markdown pages: those of this repository are what its published results yield, and a page that says
//! something else is named and mended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pages that `make readme` writes, and their sections. Without its marks a section would be checked no longer.
const PAGES: [(&str, &[&str]); 4] = [
    ("README.md", &["headline", "figure", "verdicts", "map"]),
    ("artifacts/README.md", &["artifact", "agreement", "hours", "peers"]),
    ("experiments/README.md", &["visits"]),
    ("experiments/COLUMNS.md", &["results-columns", "samples-columns"]),
];

/// The page of the CUDA backend, which shows its rows beside those of the first edition, and its sections.
const CUDA: (&str, &[&str]) = ("src/backend/cuda/PERFORMANCE.md", &["forwards", "targets", "peers", "power", "memory"]);

/// The page of TensorRT's own results, and its sections.
const TENSORRT: (&str, &[&str]) = ("src/backend/tensorrt/PERFORMANCE.md", &["tensorrt", "artifact", "hours"]);

/// Lines of the front page that a reader is asked to read.
const FRONT_PAGE_LINES: usize = 150;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Exit code and standard error of `mixprec splice` on the published results.
fn splice(pages: &[&Path], more: &[&str]) -> (Option<i32>, String) {
    splice_from("artifacts/h200", pages, &[&["--peers", "artifacts/h200-peers"], more].concat())
}

fn splice_from(artifact: &str, pages: &[&Path], more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    command.current_dir(repository()).args(["splice", artifact]);
    let output = command.args(pages).args(more).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn committed_pages_say_what_the_published_results_say() {
    let (code, said) = splice(&PAGES.map(|(page, _)| Path::new(page)), &["--check"]);
    assert_eq!((code, said.as_str()), (Some(0), "pages up to date: 4\n"), "{said}");
    let more = ["--before", "artifacts/h200", "--peers", "artifacts/h200-peers", "--check"];
    let (code, said) = splice_from("artifacts/h200-cuda", &[Path::new(CUDA.0)], &more);
    assert_eq!((code, said.as_str()), (Some(0), "pages up to date: 1\n"), "{said}");
    let (code, said) = splice_from("artifacts/h200-tensorrt", &[Path::new(TENSORRT.0)], &["--check"]);
    assert_eq!((code, said.as_str()), (Some(0), "pages up to date: 1\n"), "{said}");
}

#[test]
fn every_page_has_all_of_its_sections() {
    for (page, sections) in PAGES.into_iter().chain([CUDA, TENSORRT]) {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let name = |line: &str| line.trim().strip_prefix("<!-- generated: ")?.strip_suffix(" -->").map(str::to_owned);
        assert_eq!(text.lines().filter_map(name).collect::<Vec<_>>(), sections, "{page}");
    }
}

#[test]
fn a_page_without_a_section_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    fs::write(&page, "# Title\n").unwrap();
    let (code, said) = splice(&[&page], &["--check"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("page.md:1: no section is marked; begin one with <!-- generated: NAME -->"), "{said}");
}

#[test]
fn a_number_that_somebody_typed_is_named_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    let committed = fs::read_to_string(repository().join("README.md")).unwrap();
    let typed = committed.replacen("**FAIL**", "**PASS**", 1);
    assert_ne!(typed, committed);
    fs::write(&page, &typed).unwrap();

    let (code, said) = splice(&[&page], &["--check"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("page.md: verdicts\n"), "{said}");
    assert!(said.contains("paper/readme/latency-light.svg\n"), "a figure that is missing is stale: {said}");
    assert!(said.ends_with("cure: make readme\n"), "{said}");
    assert_eq!(fs::read_to_string(&page).unwrap(), typed, "a check writes nothing");

    assert_eq!(splice(&[&page], &[]).0, Some(0));
    assert_eq!(fs::read_to_string(&page).unwrap(), committed);
    let drawing = Path::new("paper/readme/latency-dark.svg");
    assert_eq!(fs::read(folder.path().join(drawing)).unwrap(), fs::read(repository().join(drawing)).unwrap());
}

#[test]
fn a_section_that_does_not_exist_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    fs::write(&page, "# Title\n<!-- generated: verdict -->\n<!-- /generated -->\n").unwrap();
    let (code, said) = splice(&[&page], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("page.md:2: no section `verdict`; there are agreement, artifact, figure"), "{said}");
}

#[test]
fn the_front_page_is_short() {
    let text = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(text.lines().count() <= FRONT_PAGE_LINES, "{} lines", text.lines().count());
}

/// Every relative link of the pages leads to a file, and every anchor to a heading of it.
#[test]
fn links_of_the_pages_lead_somewhere() {
    let pages = [
        "README.md",
        "CHANGELOG.md",
        ".github/CONTRIBUTING.md",
        "artifacts/README.md",
        "container/README.md",
        "experiments/METHOD.md",
        "experiments/README.md",
        "paper/README.md",
        "src/backend/cuda/PERFORMANCE.md",
    ];
    for page in pages {
        let path = repository().join(page);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{page}: {link}");
            let headings = if anchor.is_empty() { String::new() } else { fs::read_to_string(&target).unwrap() };
            assert!(anchor.is_empty() || headings.lines().any(|line| self::anchor(line) == anchor), "{page}: {link}");
        }
    }
}

/// The anchor of a heading, as it is commonly made: lower-case words joined by hyphens.
fn anchor(line: &str) -> String {
    let Some(title) = line.strip_prefix('#') else { return String::new() };
    let title = title.trim_start_matches('#').trim().to_lowercase();
    title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-')).collect::<String>().replace(' ', "-")
}
