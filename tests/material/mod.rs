//! Checkpoints, sentences and float64 outputs beside the checkout, for the tests that compare with them. Needs ../shared and
//! a python3 with numpy and safetensors to expand its checkpoints; `None`, with the reason printed, otherwise.
#![allow(dead_code, reason = "every test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use mixprec::backend::onnxruntime::OnnxRuntimeBackend;
use mixprec::engine::{Backend, Engine};
use mixprec::input::Batch;
use mixprec::input::InputSource;
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use safetensors::SafeTensors;

pub fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")
}

/// Expands a shared checkpoint once per test run; `Err` is the reason to skip.
pub fn expanded(name: &str) -> Result<PathBuf, String> {
    let source = shared().join("models").join(name);
    if !source.exists() {
        return Err(format!("{} is absent", source.display()));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.join("tokenizer.json").exists() {
        return Ok(folder);
    }
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/venv/bin/python3");
    let python = if venv.exists() { venv } else { PathBuf::from("python3") };
    let scratch = folder.with_extension("partial");
    let output = Command::new(&python)
        .arg(shared().join("models/expand.py"))
        .arg(&source)
        .arg(&scratch)
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "expand.py failed ({}); `make test` installs what it needs",
            text.lines().last().unwrap_or("")
        ));
    }
    std::fs::rename(&scratch, &folder).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The folder of a model, expanded once for all tests of this binary.
pub fn model_folder(name: &'static str) -> Option<PathBuf> {
    static BERT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    static GPT2: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let cell = if name.starts_with("bert") { &BERT } else { &GPT2 };
    match cell.get_or_init(|| expanded(name)) {
        Ok(folder) => Some(folder.clone()),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

pub fn open(name: &'static str, head: Head) -> Option<Arc<Model>> {
    let source = ModelSource::Checkpoint { path: model_folder(name)?, sha256: None };
    Some(Arc::new(Model::open(name, &source, Path::new("."), head).unwrap()))
}

/// The golden tensors.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open() -> Golden {
        Golden(std::fs::read(shared().join("golden/reference_f64.safetensors")).unwrap())
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data().to_vec()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.bytes(name).chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }

    pub fn f64s(&self, name: &str) -> Vec<f64> {
        self.bytes(name).chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn f32s(&self, name: &str) -> Vec<f64> {
        self.bytes(name).chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    }
}

/// `‖ours - golden‖ / ‖golden‖`
pub fn relative_error(ours: &[f64], golden: &[f64]) -> f64 {
    assert_eq!(ours.len(), golden.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let error = square(&mut ours.iter().zip(golden).map(|(a, b)| a - b));
    (error / square(&mut golden.iter().copied())).sqrt()
}

pub fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

pub fn sst2() -> InputSource {
    let sha256 = Some("54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0".to_owned());
    InputSource::Sst2 { path: shared().join("data/sst2/dev.tsv"), sha256 }
}

pub fn outputs(engine: &mut dyn Engine, batch: &Batch) -> Vec<f32> {
    engine.bind(batch).unwrap();
    engine.enqueue().unwrap();
    engine.outputs().unwrap().values
}

/// ONNX Runtime, or `None` with the reason printed.
pub fn onnxruntime() -> Option<OnnxRuntimeBackend> {
    let backend = OnnxRuntimeBackend::default();
    match backend.availability() {
        Ok(_) => Some(backend),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}
