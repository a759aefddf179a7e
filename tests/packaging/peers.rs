//! `make peers` and `make search-peers` as far as they go without PyTorch, other tools and a GPU: the statistics and tables of the
//! Python side, its conversation with the program, and what is said where there is nothing to compare with.

use std::process::Command;

use crate::fixtures::skip;
use crate::repository;

/// A Python from 3.9 on; `None`, with the reason printed, where there is none.
fn python() -> Option<Command> {
    let version = "import sys; sys.exit(sys.version_info < (3, 9))";
    if !Command::new("python3").args(["-c", version]).status().is_ok_and(|status| status.success()) {
        skip("python3, 3.9 or newer, is not there");
        return None;
    }
    let mut python = Command::new("python3");
    // No __pycache__ beside the manifests.
    python.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(repository());
    Some(python)
}

#[test]
fn ratios_tables_turns_and_the_child_are_right() {
    passes("peers_test.py", 13);
}

#[test]
fn nodes_of_other_tools_become_operations_and_policies() {
    passes("search_peers_test.py", 5);
}

/// Runs the tests in a Python file beside this one.
fn passes(file: &str, tests: usize) {
    let Some(mut python) = python() else { return };
    python.arg(format!("tests/packaging/{file}")).env("MIXPREC", env!("CARGO_BIN_EXE_mixprec"));
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("Ran {tests} tests")) && said.trim_end().ends_with("OK"),
        "nothing is skipped: {said}"
    );
}

#[test]
fn without_pytorch_or_a_gpu_one_line_says_so() {
    let Some(mut python) = python() else { return };
    // Isolated from the user's packages, so that PyTorch is there only where it is installed for everybody.
    let output = python.args(["-s", "experiments/peers.py", "--out", "/nowhere"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if !said.contains("PyTorch") && said.contains("/nowhere") {
        skip("this machine has PyTorch and a GPU");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with("error: ") && said.contains("PyTorch"), "{said}");
    assert_eq!(output.stdout, b"");
}
