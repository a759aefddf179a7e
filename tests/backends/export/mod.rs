//! Exported models in the hands of others: ONNX's checker and shape inference, its evaluator against the reference backend's
//! emulation, external data, the command. Needs a python3 with `onnx`; skips with a reason otherwise.

mod command;
mod numerics;
mod structure;

use std::path::Path;

use mixprec::model::{Architecture, ModelSource};
use mixprec::model::{Head, Model};

use crate::fixtures;

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
    fixtures::python(&format!("backends/export/{script}"), arguments)
}
