//! Records what the binary is built from: git commit, compiler and target. Nothing here may fail: a source archive
//! without git builds too, and what is not known is left out.

use std::env;
use std::path::Path;
use std::process::Command;

/// What goes into the binary. Only changes to these make a build dirty.
const SOURCES: [&str; 10] = [
    "src",
    "build.rs",
    "Cargo.toml",
    "Cargo.lock",
    "flake.lock",
    "container/wheels.json",
    "container/pins.sha256",
    "paper/templates",
    "paper/fonts",
    "experiments/claims.yaml",
];

fn main() {
    // cargo reruns the script always when a watched path does not exist, so only existing ones are named.
    for source in SOURCES.into_iter().filter(|source| Path::new(source).exists()) {
        println!("cargo::rerun-if-changed={source}");
    }
    set("MIXPREC_TARGET", env::var("TARGET").ok());
    set("MIXPREC_TARGET_FEATURES", env::var("CARGO_CFG_TARGET_FEATURE").ok());
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    set("MIXPREC_RUSTC", output(Command::new(compiler).arg("--version")));
    if is_our_repository() {
        watch_head();
        set("MIXPREC_GIT_COMMIT", git(&["rev-parse", "HEAD"]));
        let mut status = vec!["status", "--porcelain", "--"];
        status.extend(SOURCES);
        set("MIXPREC_GIT_DIRTY", git(&status).map(|changes| (!changes.is_empty()).to_string()));
    }
}

/// An archive unpacked inside somebody else's repository must not borrow that repository's commit.
fn is_our_repository() -> bool {
    git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_some()
}

/// HEAD changes when a branch is switched, its log and the branch's own file when a commit is made.
fn watch_head() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn set(name: &str, value: Option<String>) {
    if let Some(value) = value {
        println!("cargo::rustc-env={name}={value}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    // A build started from a git hook inherits that hook's repository; the folder decides, not the hook.
    let mut command = Command::new("git");
    command.args(arguments).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env("GIT_OPTIONAL_LOCKS", "0");
    output(&mut command)
}

/// Standard output of a command that succeeded, trimmed; it may be empty.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
