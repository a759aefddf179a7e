//! Exported models in the hands of others: ONNX's checker and shape inference, its evaluator against the reference backend's
//! emulation, external data, the command. Needs a python3 with `onnx`; skips with a reason otherwise.

mod command;
mod numerics;
mod structure;

use std::path::{Path, PathBuf};
use std::process::Command;

use mixprec::manifest::schema::{Architecture, ModelSource};
use mixprec::model::{Head, Model};

use crate::fixtures::skip;

const ARCHITECTURES: [Architecture; 2] = [Architecture::BertTiny, Architecture::Gpt2Tiny];

/// A small model with random weights.
fn tiny(architecture: Architecture) -> Model {
    with_head(architecture, Head::Natural)
}

fn with_head(architecture: Architecture, head: Head) -> Model {
    let source = ModelSource::Random { seed: 3, architecture };
    Model::open(architecture.name(), &source, Path::new("."), head).unwrap()
}

/// Runs a script of this folder; `None`, with the reason printed, where a module is missing.
fn python(script: &str, arguments: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = root.join("runs/venv/bin/python3");
    let interpreter = if venv.exists() { venv } else { PathBuf::from("python3") };
    let Ok(output) =
        Command::new(&interpreter).arg(root.join("tests/backends/export").join(script)).args(arguments).output()
    else {
        skip(format_args!("no {}", interpreter.display()));
        return None;
    };
    let stdout = String::from_utf8(output.stdout).unwrap();
    if output.status.code() == Some(77) {
        skip(stdout.trim());
        return None;
    }
    assert!(output.status.success(), "{script} {arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(stdout)
}
