//! What a reader installs and builds with: set-up, container, flake, licences, the Python side of `make peers`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arithmetic;
#[allow(dead_code, reason = "only cargo runs all of it")]
#[path = "../../build.rs"]
mod build_script;
mod container;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod flake;
mod licences;
mod models;
mod parity;
mod peers;
mod setup;
#[cfg(unix)]
mod summary;

#[cfg(unix)]
use std::io::Write;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::process::Stdio;
use std::process::{Command, Output};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn have(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The program's file, wherever this system keeps it.
#[cfg(unix)]
fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file()).unwrap()
}

fn both_streams(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Writes a command of a few lines of shell. A child process writes it: the tests of this binary start programs all the time,
/// and a file that one of those inherits open for writing cannot be executed.
#[cfg(unix)]
fn write_command(path: &Path, lines: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{lines}\n").unwrap();
    assert!(writer.wait().unwrap().success(), "{}", path.display());
}
