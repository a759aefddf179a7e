//! A manifest of a few cells in a temporary folder, and the rows that come of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mixprec::input::InputSource;
use mixprec::input::InputStream;
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use mixprec::store::parquet::read_results;
use mixprec::store::schema::ResultRow;
use tempfile::TempDir;

use crate::expect;

/// The parts of a manifest that differ from test to test, as YAML.
pub struct Cells<'a> {
    pub models: &'a str,
    pub backends: &'a str,
    pub precisions: &'a str,
    pub batch_sizes: &'a str,
    pub sequence_lengths: &'a str,
    pub inputs: &'a str,
    /// Further sections.
    pub more: &'a str,
    pub count: usize,
}

impl Default for Cells<'_> {
    fn default() -> Self {
        Cells {
            models: "{tiny: {random: 1, architecture: bert-tiny}}",
            backends: "[reference]",
            precisions: "[fp32]",
            batch_sizes: "[1]",
            sequence_lengths: "[8]",
            inputs: "{random: {random: 7}}",
            more: "",
            count: 1,
        }
    }
}

/// A folder with `experiments/test.yaml`, its checkpoints and data beside it, and its results in `run`.
pub struct Experiment {
    root: TempDir,
}

impl Experiment {
    pub fn new(cells: &Cells<'_>) -> Self {
        let experiment = Experiment { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(experiment.folder()).unwrap();
        experiment.manifest(cells);
        experiment
    }

    pub fn manifest(&self, cells: &Cells<'_>) {
        let Cells { models, backends, precisions, batch_sizes, sequence_lengths, inputs, more, count } = cells;
        let text = format!(
            "schema: 1\nname: test\nquestion: What comes of it?\nmodels: {models}\nbackends: {backends}\n\
             precisions: {precisions}\nbatch_sizes: {batch_sizes}\nsequence_lengths: {sequence_lengths}\n\
             inputs: {inputs}\nexpect_configurations: {count}\nmeasurement: {{warmup: 0, min_samples: 3, \
             max_samples: 3, time_cap_s: 20, timeout_s: 60, threads: 1}}\n{more}\n"
        );
        std::fs::write(self.yaml(), text).unwrap();
    }

    /// Where the manifest is and its paths start.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("experiments")
    }

    pub fn yaml(&self) -> PathBuf {
        self.folder().join("test.yaml")
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// Runs and expects this exit code; returns standard error.
    pub fn run(&self, code: i32) -> String {
        expect(code, &["run", text(&self.yaml()), "--out", text(&self.dir())]).1
    }

    pub fn rows(&self) -> Vec<ResultRow> {
        read_results(&self.dir()).unwrap()
    }

    /// A checkpoint of the folder, opened through the library.
    pub fn model(&self, name: &str, head: Head) -> Arc<Model> {
        let source = ModelSource::Checkpoint { path: name.into(), sha256: None };
        Arc::new(Model::open(name, &source, &self.folder(), head).unwrap())
    }

    /// An input of the folder, opened through the library.
    pub fn input(&self, source: &InputSource, model: &Model) -> InputStream {
        InputStream::open(source, &self.folder(), model).unwrap()
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
