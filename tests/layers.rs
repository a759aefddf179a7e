//! The plan of the source: a module uses only what stands below it. The floors are listed here and in the documentation of
//! `lib.rs`; this test reads the source and names every path that points up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the roof to the ground. A module may use the modules to its right and those of the floors below.
const FLOORS: [&[&str]; 16] = [
    &["cli"],
    &["artifact", "budget", "explain", "merge", "rerun", "splice", "appendix", "selftest", "search", "infer", "timing"],
    &["report"],
    &["claims"],
    &["analysis"],
    &["results"],
    &["runner", "measure", "numerics"],
    &["store"],
    &["record"],
    &["doctor", "fetch", "plan", "manifest"],
    &["backend"],
    &["cache", "provenance"],
    &["libraries"],
    &["engine"],
    &["onnx", "input", "model", "graph"],
    &[
        "files",
        "lock",
        "signals",
        "digest",
        "json_diff",
        "numbers",
        "panics",
        "nvml",
        "processors",
        "stats",
        "text_table",
        "terminal",
    ],
];

/// Lines that the file of the seam's traits may have.
const SEAM_LINES: usize = 120;

/// Names that two types of different modules may share, at most.
const SHARED_NAMES: usize = 6;

/// Position from the roof: a module may use those of a higher one.
fn rank(module: &str) -> Option<usize> {
    FLOORS.iter().flat_map(|floor| floor.iter()).position(|name| *name == module)
}

/// A Rust file of `src/`: the path below it, and its text without comments.
struct Source {
    path: PathBuf,
    code: String,
}

impl Source {
    fn new(path: impl Into<PathBuf>, text: &str) -> Source {
        let code = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
        Source { path: path.into(), code: code.collect::<Vec<_>>().join("\n") }
    }

    /// `report` of `report/tables/memory.rs`.
    fn module(&self) -> String {
        let first = self.path.iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    /// How many `super` lead from the file's module to the root of the crate.
    fn depth(&self) -> usize {
        let parts = self.path.iter().count();
        parts - usize::from(self.path.ends_with("mod.rs"))
    }

    /// Every name at the root of the crate that the file mentions, with the line.
    fn uses(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut inline: Vec<String> = Vec::new();
        for (index, line) in self.code.lines().enumerate() {
            // Inside an inline module one `super` more leads to the root.
            let supers = vec!["super"; self.depth() + inline.len()].join("::");
            for root in ["crate", supers.as_str()] {
                for (at, _) in line.match_indices(root) {
                    let before = line[..at].chars().next_back();
                    if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                        continue;
                    }
                    let end = at + root.len();
                    let names = match &line[end..] {
                        rest if rest.starts_with("::{") => first_names(&self.rest_of_group(index, end + 2)),
                        rest if rest.starts_with("::") => first_names(&rest[2..]),
                        rest if rest.starts_with(" as ") => vec!["self".to_owned()],
                        _ => continue,
                    };
                    found.extend(names.into_iter().map(|name| (index + 1, name)));
                }
            }
            let indent = &line[..line.len() - line.trim_start().len()];
            if line.ends_with('{') && line.split_whitespace().rev().nth(2) == Some("mod") {
                inline.push(format!("{indent}}}"));
            } else if inline.last().is_some_and(|end| end == line) {
                inline.pop();
            }
        }
        found
    }

    /// The text of a group that may go on over several lines.
    fn rest_of_group(&self, line: usize, at: usize) -> String {
        let text: Vec<&str> = self.code.lines().skip(line).collect();
        let text = text.join("\n");
        let end = text.find(';').unwrap_or(text.len()).max(at);
        text[at..end].to_owned()
    }
}

/// `a` and `c` of `{a::b, c::{d, e}}`, `a` of `a::b`, `*` of `*`.
fn first_names(text: &str) -> Vec<String> {
    let of_name = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '*');
    let name = |text: &str| text.trim().chars().take_while(of_name).collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return vec![name(text)] };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.iter().map(|part| name(part.trim_start_matches(','))).filter(|name| !name.is_empty()).collect()
}

/// The module at the root that stands on no floor: it tells tests why they skip.
const OF_TESTS: &str = "skip";

/// `src/graph/cost.rs:9: graph uses store, which stands above it`, for every such path, and for every other name at the root
/// that is no module of a floor: behind an alias or a re-export an arrow could not be seen.
fn upward(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let module = source.module();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("src/{module} stands on no floor: add it to FLOORS"));
        for (line, used) in source.uses() {
            let wrong = match rank(&used) {
                Some(rank) if rank < own => "stands above it",
                None if used != OF_TESTS => "stands on no floor",
                _ => continue,
            };
            found.push(format!("src/{}:{line}: {module} uses {used}, which {wrong}", source.path.display()));
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    fn visit(folder: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source::new(path.strip_prefix(root()).unwrap(), &text));
            }
        }
    }
    let mut found = Vec::new();
    visit(&root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[test]
fn arrows_only_point_down() {
    let found = upward(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_arrow_that_points_up_is_named_however_it_is_written() {
    let planted = |path: &str, text: &str| upward(&[Source::new(path, text)]);
    let of_cost = "src/graph/cost.rs:1: graph uses store, which stands above it";
    assert_eq!(planted("graph/cost.rs", "use crate::store::record::Record;"), [of_cost]);
    assert_eq!(planted("graph/cost.rs", "use crate::{digest, store::{self, record}};"), [of_cost]);
    assert_eq!(planted("graph/cost.rs", "use super::super::store::Record;"), [of_cost]);
    assert_eq!(planted("graph/mod.rs", "use super::store::Record;").len(), 1);
    assert_eq!(
        planted("nvml.rs", "\nfn f() -> crate::measure::Guard {}"),
        ["src/nvml.rs:2: nvml uses measure, which stands above it"]
    );
    assert_eq!(planted("graph/cost.rs", "mod tests {\n    use super::super::super::store::Record;\n}").len(), 1);
    assert_eq!(planted("graph/cost.rs", "use crate::{\n    digest,\n    store,\n};").len(), 1);
    assert_eq!(planted("graph/cost.rs", "fn f() {\n    super::super::store::x();\n}").len(), 1, "in a function");
    let after = "mod tests {\n    use super::super::Graph;\n}\nfn f() {\n    super::super::store::x();\n}";
    assert_eq!(planted("graph/cost.rs", after).len(), 1, "after an inline module");
    for (hidden, name) in [
        ("use crate::*;", "*"),
        ("use crate::{self as k};", "self"),
        ("use crate as k;", "self"),
        ("use super::super as k;", "self"),
        ("fn f() -> crate::Thing {}", "Thing"),
    ] {
        let expected = format!("src/graph/cost.rs:1: graph uses {name}, which stands on no floor");
        assert_eq!(planted("graph/cost.rs", hidden), [expected], "{hidden}");
    }
    assert_eq!(planted("measure/clock.rs", "use crate::runner::Run;").len(), 1, "of one floor, to the left");
    for fine in [
        "use super::{Graph, Op};",
        "use crate::digest::sha256;",
        "// use crate::store::x;",
        "use other_crate::store;",
        "pub(crate) fn f() {}",
    ] {
        assert_eq!(planted("graph/cost.rs", fine), [""; 0], "{fine}");
    }
}

#[test]
fn every_module_stands_on_one_floor_and_the_documentation_has_the_same_list() {
    let text = fs::read_to_string(root().join("lib.rs")).unwrap();
    assert!(!text.lines().any(|line| line.contains("use ") && !line.starts_with("//")), "lib.rs re-exports nothing");
    let mut declared: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut listed: Vec<&str> = FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    declared.sort_unstable();
    listed.sort_unstable();
    assert_eq!(declared, listed);
    let floors = FLOORS.iter().map(|floor| {
        let names: Vec<String> = floor.iter().map(|name| format!("[`{name}`]")).collect();
        format!("//! | {} |", names.join(" "))
    });
    let mut lines = text.lines();
    for floor in floors {
        assert!(lines.any(|line| line.starts_with(&floor)), "lib.rs does not list `{floor}` in this place");
    }
}

#[test]
fn the_seam_is_small_and_names_no_device_library() {
    let seam = fs::read_to_string(root().join("engine/mod.rs")).unwrap();
    assert!(seam.lines().count() <= SEAM_LINES, "engine/mod.rs has {} lines", seam.lines().count());
    for source in sources().iter().filter(|source| source.module() == "engine") {
        for library in ["cudarc", "trtx", " ort::", "nvml"] {
            assert!(!source.code.contains(library), "{} names {library}", source.path.display());
        }
    }
}

#[test]
fn few_names_are_shared_by_two_types() {
    let mut owners: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for source in sources() {
        let code = source.code.split("#[cfg(test)]\nmod tests").next().unwrap();
        for line in code.lines() {
            let words: Vec<&str> = line.split_whitespace().skip_while(|word| word.starts_with("pub")).collect();
            let [kind, name, ..] = words.as_slice() else { continue };
            // An associated type has the name that its trait gives it.
            let associated = *kind == "type" && line.starts_with(' ');
            if !associated
                && matches!(*kind, "struct" | "enum" | "trait" | "type" | "union")
                && line.trim_start().len() + 4 >= line.len()
            {
                let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                owners.entry(name).or_default().push(source.path.display().to_string());
            }
        }
    }
    let shared: Vec<String> = owners
        .iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(shared.len() <= SHARED_NAMES, "{} names are shared:\n{}", shared.len(), shared.join("\n"));
}

#[test]
fn files_are_locked_and_signals_caught_in_one_place_each() {
    for (words, place) in [
        (["try_lock()", "try_lock_shared", "lock_shared("], "lock.rs"),
        (["signal_hook", "ctrlc", "SIGHUP"], "signals.rs"),
        (["eprintln!", "eprint!(", "println!("], "none"),
    ] {
        for source in sources().iter().filter(|source| !source.path.ends_with(place)) {
            let code = source.code.split("#[cfg(test)]\nmod tests").next().unwrap();
            let shown = source.path.display();
            let tests = source.path.iter().any(|part| part.to_string_lossy().contains("tests"));
            for word in words.iter().filter(|_| !tests) {
                assert!(!code.contains(word), "{shown} has `{word}`, which belongs into {place}");
            }
        }
    }
}
