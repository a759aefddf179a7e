//! Records what the binary is built from: git commit, compiler, target and the digests of its arithmetic. Nothing here may
//! fail: a source archive without git builds too, and what is not known is left out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

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

/// The sources that decide the outputs and counts of every backend: each is compared with the reference.
const SHARED_ARITHMETIC: [&str; 5] = ["src/graph", "src/model", "src/input", "src/numerics", "src/backend/reference"];

/// The crates that compute for them: tokens, random numbers, half precision and products.
const ARITHMETIC_CRATES: [&str; 9] =
    ["faer", "half", "private-gemm-x86", "pulp", "rand", "rand_chacha", "rand_distr", "safetensors", "tokenizers"];

/// What each backend adds.
pub const ARITHMETIC: [(&str, &[&str]); 5] = [
    ("REFERENCE", &[]),
    ("ONNXRUNTIME", &["src/onnx", "src/backend/onnxruntime"]),
    ("CUDA", &["src/backend/cuda"]),
    ("TENSORRT", &["src/onnx", "src/backend/tensorrt"]),
    ("MOCK", &["src/backend/mock.rs"]),
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
    for (backend, own) in ARITHMETIC {
        set(&format!("MIXPREC_ARITHMETIC_{backend}"), arithmetic(Path::new("."), own));
    }
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

/// SHA-256 over the shared sources below `root`, those of a backend, and the versions of the crates.
pub fn arithmetic(root: &Path, own: &[&str]) -> Option<String> {
    let mut files = Vec::new();
    for place in SHARED_ARITHMETIC.iter().chain(own) {
        sources(&root.join(place), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        digest.update(format!("{}\n", path.strip_prefix(root).ok()?.to_str()?));
        digest.update(code(&fs::read_to_string(&path).ok()?));
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).ok()?;
    let lines: Vec<&str> = lock.lines().collect();
    for package in lines.windows(2) {
        let name = package[0].strip_prefix("name = \"").and_then(|name| name.strip_suffix('"'));
        if name.is_some_and(|name| ARITHMETIC_CRATES.contains(&name)) {
            digest.update(format!("{} {}\n", package[0], package[1]));
        }
    }
    Some(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Every Rust and CUDA source at or below a place, except those of tests.
fn sources(place: &Path, found: &mut Vec<PathBuf>) -> Option<()> {
    let name = place.file_stem()?.to_str()?;
    if name == "tests" || name.ends_with("_tests") {
        return Some(());
    }
    if place.is_dir() {
        for entry in fs::read_dir(place).ok()? {
            sources(&entry.ok()?.path(), found)?;
        }
    } else if place.extension().is_some_and(|extension| extension == "rs" || extension == "cu") {
        found.push(place.to_owned());
    }
    Some(())
}

/// The lines of a source without comments, blank lines and the unit tests at its foot.
fn code(text: &str) -> String {
    let counts = |line: &&str| !line.trim_start().is_empty() && !line.trim_start().starts_with("//");
    let lines = text.lines().take_while(|line| *line != "mod tests {");
    lines.filter(counts).map(|line| line.trim_end().to_owned() + "\n").collect()
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
