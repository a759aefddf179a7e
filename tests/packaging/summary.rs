//! tests/summary.sh: what `make test` says at its end, of test programs made here.

use std::process::{Command, Output};

use crate::{repository, write_command};

/// The script, with a command of these lines in the place of `cargo test`.
fn summary(lines: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("tests");
    write_command(&command, lines);
    let output = Command::new("bash").arg(repository().join("tests/summary.sh")).arg(&command).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output, said)
}

const PASSED: &str = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 5 filtered out; finished in 0.20s";

#[test]
fn totals_and_reasons_stand_at_the_end() {
    let (output, said) = summary(&format!(
        "echo '{PASSED}'\n\
         printf '%s\\n' 'one::a: no GPU: libcuda.so.1' >>\"$MIXPREC_SKIPPED\"\n\
         printf '%s\\n' 'two::a::b: no GPU: libcuda.so.1' >>\"$MIXPREC_SKIPPED\"\n\
         printf '%s\\n' 'two::a::b: no \\nix' >>\"$MIXPREC_SKIPPED\"\n\
         echo '{PASSED}'"
    ));
    assert!(output.status.success(), "{said}");
    let end = "\ntests: 24 passed, 2 of which skipped themselves in part or as a whole; 0 failed; 6 ignored, for they take long \
               (cargo test -- --ignored)\n\
               2 skipped: no GPU: libcuda.so.1\n    one::a\n    two::a::b\n\
               1 skipped: no \\nix\n    two::a::b\n";
    assert_eq!(said, format!("{PASSED}\n{PASSED}\n{end}"));
}

#[test]
fn the_exit_code_is_that_of_the_tests() {
    let (output, said) = summary(&format!("echo '{}'; exit 101", PASSED.replace("12 passed; 0", "11 passed; 1")));
    assert_eq!(output.status.code(), Some(101), "{said}");
    assert!(said.contains("tests: 11 passed, 0 of which") && said.contains("; 1 failed; 3 ignored"), "{said}");
}
