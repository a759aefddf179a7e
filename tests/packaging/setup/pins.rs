//! What is committed: scripts, and the pins that they read.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::fixtures::skip;
use crate::{both_streams, have, repository};

/// Scripts that git tracks: their first line names a shell, or shellcheck's.
fn scripts() -> Vec<PathBuf> {
    let mut git = Command::new("git");
    // A test started from a hook has that hook's repository in its environment.
    git.args(["ls-files", "-z"]).current_dir(repository()).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    let listed = git.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let is_script = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        let line = String::from_utf8_lossy(bytes.split(|&byte| byte == b'\n').next().unwrap_or_default());
        line.starts_with("# shellcheck shell=") || (line.starts_with("#!") && line.trim_end().ends_with("sh"))
    };
    listed.split_terminator('\0').map(|name| repository().join(name)).filter(is_script).collect()
}

#[test]
fn shell_scripts_parse_and_pass_shellcheck() {
    let scripts = scripts();
    if scripts.is_empty() {
        skip("git tracks nothing here");
        return;
    }
    for name in [".ci/run", "container/slurm.sbatch", "nix/driver.sh", "tests/slurm.sh"] {
        assert!(scripts.contains(&repository().join(name)), "{name} is none of {scripts:?}");
    }
    if have("shellcheck", &["--version"]) {
        let output = Command::new("shellcheck").args(&scripts).output().unwrap();
        assert!(output.status.success(), "{}", both_streams(&output));
    } else {
        skip("shellcheck is not there");
    }
    for script in &scripts {
        let output = Command::new("bash").arg("-n").arg(script).output().unwrap();
        assert!(output.status.success(), "{}", both_streams(&output));
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
}

/// Exact versions, each with the digests of its wheels, and no address: whoever installs says which index.
#[test]
fn packages_of_the_tests_are_pinned_by_digest() {
    let tests = ["ml_dtypes", "numpy", "onnx", "protobuf", "pyarrow", "safetensors", "typing_extensions"];
    assert_eq!(pinned("container/requirements-test.txt"), tests);
    let parity = pinned("container/requirements-parity.txt");
    for name in ["numpy", "tokenizers", "torch", "transformers"] {
        assert!(parity.iter().any(|pinned| pinned == name), "{parity:?}");
    }
}

/// Names of packages that are pinned in a file.
fn pinned(path: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(path)).unwrap();
    let text = text.replace("\\\n", " ");
    assert!(!text.contains("://"));
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once("==").unwrap();
        let digests: Vec<_> = rest.split(" --hash=sha256:").skip(1).map(str::trim).collect();
        assert!(!digests.is_empty() && digests.iter().all(|digest| is_digest(digest)), "{line}");
        names.push(name.to_owned());
    }
    // One release may serve some Pythons and another one the rest.
    names.dedup();
    names
}

/// The pins that readers use: complete, well-formed digests, and safe names.
#[test]
fn committed_pins_are_complete() {
    let text = fs::read(repository().join("container/wheels.json")).unwrap();
    let pins: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let is_digest = |value: &serde_json::Value| value.as_str().is_some_and(is_digest);
    let wheels = pins["wheels"].as_object().unwrap();
    assert_eq!(wheels.keys().collect::<Vec<_>>(), ["cublas", "cuda-nvrtc", "minilm", "onnxruntime", "tensorrt-rtx"]);
    for (key, wheel) in wheels {
        let is_size = |value: &serde_json::Value| value.as_u64().is_some_and(|bytes| bytes > 0);
        assert!(is_digest(&wheel["sha256"]) && is_size(&wheel["bytes"]), "{key}");
        let version = wheel["version"].as_str().unwrap();
        assert!(wheel["file"].as_str().unwrap().contains(&format!("-{version}-")), "{key}");
        assert!(wheel["licence"].as_str().is_some_and(|licence| !licence.is_empty()), "{key}");
        for (name, file) in wheel["unpack"].as_object().unwrap() {
            assert!(!name.contains('/') && !name.starts_with('.'), "{key}: {name}");
            assert!(is_digest(&file["sha256"]) && is_size(&file["bytes"]), "{key}: {name}");
        }
    }
}
