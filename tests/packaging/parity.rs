//! `make parity`, on the checkpoints whose outputs in transformers are recorded: that needs numpy, and no transformers.

use crate::fixtures;
#[cfg(unix)]
use crate::{both_streams, repository, write_command};

#[test]
fn recorded_checkpoints_are_computed_as_transformers_computes_them() {
    let arguments = ["--recorded", "--mixprec", env!("CARGO_BIN_EXE_mixprec")];
    let Some(said) = fixtures::python("parity/parity.py", &arguments) else { return };
    if let Some(reason) = said.lines().find(|line| line.starts_with("without ")) {
        fixtures::skip(reason);
    }
    let checkpoints = said.lines().filter(|line| line.contains(" reference ")).count();
    assert!(checkpoints >= 40, "{said}");
}

/// A program whose first value is off by a hundred-thousandth, or whose first id is another, does not pass.
#[cfg(unix)]
#[test]
fn a_small_mistake_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("mixprec");
    let python = fixtures::interpreter();
    for (mistake, expected) in [
        ("a[\"values\"][0] += 3e-5", "difference over the limit"),
        ("a[\"ids\"][0] += 1", "ids of 'The good film of Paris'"),
    ] {
        let spoil = format!("import json, sys; a = json.load(sys.stdin); {mistake}; json.dump(a, sys.stdout)");
        let lines = format!(
            "set -e\ncase \"$*\" in\n*--json*) '{}' \"$@\" | '{}' -c '{spoil}' ;;\n*) '{0}' \"$@\" ;;\nesac",
            env!("CARGO_BIN_EXE_mixprec"),
            python.display()
        );
        write_command(&program, &lines);
        let mut command = std::process::Command::new(&python);
        command.arg("-B").arg(repository().join("tests/parity/parity.py"));
        let Ok(output) = command.args(["--recorded", "bert-trunk", "--mixprec"]).arg(&program).output() else { return };
        let said = both_streams(&output);
        if output.status.code() == Some(77) {
            fixtures::skip(said);
            return;
        }
        assert!(output.status.code() == Some(1) && said.contains(expected), "{said}");
    }
}
