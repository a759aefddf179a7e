//! Licences of everything that is linked in, against deny.toml, through container/licences.py.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn both_streams(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `None`, with the reason printed, where Python is missing or too old to read TOML.
fn licences(arguments: &[&Path]) -> Option<Output> {
    if !Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 with tomllib (3.11 or newer) is not there");
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

/// Which licence expressions can be met with what is allowed (MIT, Apache-2.0 and its exception for LLVM among them).
#[test]
fn expressions_are_read_as_spdx_means_them() {
    let registry = "registry+https://index.invalid";
    for (licence, source, expected) in [
        (json!("MIT"), json!(registry), None),
        (json!("GPL-3.0-only"), json!(registry), Some("GPL-3.0-only is not allowed")),
        (json!("GPL-3.0-only OR MIT"), json!(registry), None),
        (json!("GPL-3.0-only/MIT"), json!(registry), None),
        (json!("GPL-3.0-only AND MIT"), json!(registry), Some("is not allowed")),
        (json!("MIT OR Apache-2.0 AND GPL-3.0-only"), json!(registry), None),
        (json!("(MIT OR Apache-2.0) AND GPL-3.0-only"), json!(registry), Some("is not allowed")),
        (json!("Apache-2.0 WITH LLVM-exception"), json!(registry), None),
        (json!("MIT WITH LLVM-exception"), json!(registry), Some("is not allowed")),
        (json!("(MIT"), json!(registry), Some("open parenthesis")),
        (json!(null), json!(registry), Some("states no licence")),
        (json!("MIT"), json!("git+https://code.invalid/crate"), Some("not from the registry")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("metadata.json");
        let own = json!({"id": "own", "name": "mixprec", "version": "0.1.0", "license": null, "source": null});
        let one = json!({"id": "one", "name": "one", "version": "1.0.0", "license": licence, "source": source});
        let nodes = json!([{"id": "own"}, {"id": "one"}]);
        let metadata = json!({"packages": [own, one], "workspace_members": ["own"], "resolve": {"nodes": nodes}});
        fs::write(&file, metadata.to_string()).unwrap();
        let Some(output) = licences(&[Path::new("--metadata"), &file]) else { return };
        let said = both_streams(&output);
        assert_eq!(output.status.success(), expected.is_none(), "{licence}: {said}");
        assert!(expected.is_none_or(|expected| said.contains(expected)), "{licence}: {said}");
    }
}
