//! Licences of everything that is linked in, against deny.toml, through container/licences.py.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fixtures::skip;
use crate::{both_streams, repository};

/// `None`, with the reason printed, where Python is missing or too old to read TOML.
fn licences(arguments: &[&Path]) -> Option<Output> {
    if !Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|output| output.status.success()) {
        skip("python3 with tomllib (3.11 or newer) is not there");
        return None;
    }
    let script = repository().join("container/licences.py");
    // Cargo has fetched everything to build this test.
    Some(Command::new("python3").arg(script).args(arguments).env("CARGO_NET_OFFLINE", "true").output().unwrap())
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let Some(output) = licences(&[]) else { return };
    let said = both_streams(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("serde_json 1.") && said.contains(" 0 refused"), "{said}");

    // The same crates under a stricter rule: the list above is what lets them pass.
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("deny.toml");
    let text = fs::read_to_string(repository().join("deny.toml")).unwrap();
    assert!(text.contains("    \"Unicode-3.0\",\n"));
    fs::write(&config, text.replace("    \"Unicode-3.0\",\n", "")).unwrap();
    let output = licences(&[Path::new("--config"), &config]).unwrap();
    let said = both_streams(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("unicode-ident") && said.contains("is not allowed"), "{said}");
}

/// Where every crate of this program comes from.
fn registry() -> String {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let source = lock.lines().find_map(|line| line.strip_prefix("source = \"")).unwrap();
    source.trim_end_matches('"').to_owned()
}

/// What is said of a program with one crate, under the rules of deny.toml with these for [sources] in their place.
fn said_of(licence: &Value, source: &Value, sources: Option<&str>) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (folder.path().join("metadata.json"), folder.path().join("deny.toml"));
    let own = json!({"id": "own", "name": "mixprec", "version": "0.1.0", "license": null, "source": null});
    let one = json!({"id": "one", "name": "one", "version": "1.0.0", "license": licence, "source": source});
    let nodes = json!([{"id": "own"}, {"id": "one"}]);
    let metadata = json!({"packages": [own, one], "workspace_members": ["own"], "resolve": {"nodes": nodes}});
    fs::write(&file, metadata.to_string()).unwrap();
    let text = fs::read_to_string(repository().join("deny.toml")).unwrap();
    let (before, after) = text.split_once("[sources]\n").unwrap();
    fs::write(&config, format!("{before}[sources]\n{}", sources.unwrap_or(after))).unwrap();
    let output = licences(&[Path::new("--metadata"), &file, Path::new("--config"), &config])?;
    Some((output.status.success(), both_streams(&output)))
}

/// Which licence expressions can be met with what is allowed (MIT, Apache-2.0 and its exception for LLVM among them).
#[test]
fn expressions_are_read_as_spdx_means_them() {
    let registry = json!(registry());
    for (licence, expected) in [
        (json!("MIT"), None),
        (json!("GPL-3.0-only"), Some("GPL-3.0-only is not allowed")),
        (json!("GPL-3.0-only OR MIT"), None),
        (json!("GPL-3.0-only/MIT"), None),
        (json!("GPL-3.0-only AND MIT"), Some("is not allowed")),
        (json!("MIT OR Apache-2.0 AND GPL-3.0-only"), None),
        (json!("(MIT OR Apache-2.0) AND GPL-3.0-only"), Some("is not allowed")),
        (json!("Apache-2.0 WITH LLVM-exception"), None),
        (json!("MIT WITH LLVM-exception"), Some("is not allowed")),
        (json!("(MIT"), Some("open parenthesis")),
        (json!(null), Some("states no licence")),
    ] {
        let Some((passed, said)) = said_of(&licence, &registry, None) else { return };
        assert_eq!(passed, expected.is_none(), "{licence}: {said}");
        assert!(expected.is_none_or(|expected| said.contains(expected)), "{licence}: {said}");
    }
}

/// A registry of somebody's own is as strange as a repository; what [sources] names is not.
#[test]
fn crates_come_from_where_the_rules_say() {
    let (registry, git) = (registry(), "git+https://code.invalid/crate.git?branch=main#0123abc");
    let own = "allow-git = [\"https://code.invalid/crate\"]\nallow-registry = [\"https://index.invalid\"]\n";
    let denied = "unknown-registry = \"deny\"\nunknown-git = \"deny\"\n";
    let only_own = format!("{denied}{own}");
    for (source, sources, passes, expected) in [
        (json!(registry), None, true, " 0 refused"),
        (json!("registry+https://index.invalid"), None, false, "registry+https://index.invalid, which"),
        (json!("sparse+https://index.invalid/"), None, false, "comes from sparse+https://index.invalid/"),
        (json!(git), None, false, "comes from git+https://code.invalid/crate.git"),
        (json!(null), None, false, "comes from a folder"),
        (json!("registry+https://index.invalid"), Some(only_own.as_str()), true, " 0 refused"),
        (json!(git), Some(only_own.as_str()), true, " 0 refused"),
        (json!(registry), Some(only_own.as_str()), false, "which [sources] does not allow"),
        (json!(git), Some("unknown-git = \"warn\"\n"), true, "warning: one 1.0.0: comes from git+"),
        (json!(git), Some("unknown-git = \"allow\"\n"), true, " 0 refused"),
        (json!(registry), Some("allow-org = {}\n"), false, "sources.allow-org is not applied here"),
    ] {
        let Some((passed, said)) = said_of(&json!("MIT"), &source, sources) else { return };
        assert_eq!(passed, passes, "{source} under {sources:?}: {said}");
        assert!(said.contains(expected), "{source} under {sources:?}: {said}");
    }
}
