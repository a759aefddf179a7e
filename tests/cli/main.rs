//! The program from the outside: every command on checkpoints that the tests write, faults as rows, numerics and quality
//! against the library's float64 oracle. The runner's own faults are in tests/runner.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blocks;
mod checkpoint;
mod commands;
mod configs;
mod definitions;
mod downloads;
mod examples;
mod experiment;
mod families;
mod faults;
mod fetch;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod infer;
mod libraries;
mod manifest;
mod materials;
mod numerics;
mod pins;
mod portability;
mod quality;
mod search;
mod selftest;
mod tasks;
mod timing;
mod vocabularies;

use std::process::Output;

use assert_cmd::Command;

/// The program with these arguments.
fn mixprec(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    command.args(arguments).env_remove("RUST_BACKTRACE").env_remove("MIXPREC_MOCK_FAULT");
    command
}

/// Runs the program and expects this exit code; returns standard output and standard error.
fn expect(code: i32, arguments: &[&str]) -> (String, String) {
    let output = mixprec(arguments).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Asserts that one clear line says all of this.
fn assert_says(message: &str, fragments: &[&str]) {
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    assert!(message.matches("(os error").count() <= 1, "a cause is said once: {message}");
    for fragment in fragments {
        assert!(message.contains(fragment), "`{fragment}` is not in: {message}");
    }
}
