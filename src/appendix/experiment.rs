//! An experiment in the appendix: one manifest, with its requirements, its cost and its output.

use std::path::Path;

use serde::Serialize;

use super::author::Effort;
use super::folder::{ResultsFolder, WallTime, size};
use crate::engine::{BackendKind, Target};
use crate::input::InputSource;
use crate::manifest::schema::Manifest;
use crate::manifest::{LoadedManifest, without_parents};
use crate::model::{ModelSource, hub_folder};
use crate::numbers;
use crate::plan::{Plan, duration};
use crate::results::data::distinct;

/// The text in place of a value that was not measured.
pub const NOT_MEASURED: &str = "not measured";

/// An experiment of the appendix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExperimentEntry {
    /// `E1`
    pub label: String,
    /// Manifest name.
    pub name: String,
    /// The manifest's question.
    pub question: String,
    /// `E1: 1 estimated human-minute + 1.5 compute-minutes + 4.2 MB disk`
    pub effort: String,
    /// What to do first.
    pub preparation: Vec<String>,
    /// What to type, in order.
    pub commands: Vec<String>,
    /// The page that it writes.
    pub page: String,
    /// Claims it answers: `C4, C5`.
    pub claims: String,
    /// The requirements of its backends.
    pub hardware: Vec<String>,
    /// Models and inputs, with their size if they are on this disk.
    pub data: Vec<String>,
    /// Time, labelled as measured or estimated.
    pub time: String,
    /// Size of results.
    pub disk: String,
    /// Peak host memory.
    pub memory: String,
    /// Device memory of an engine; `None` without a GPU backend.
    pub device_memory: Option<String>,
    /// The number of configurations, and the outcomes of the runs.
    pub outcome: Vec<String>,
    /// Machines of the runs.
    pub machines: Vec<String>,
}

/// A manifest with its plan, the runs of it and the author's part.
#[derive(Debug)]
pub struct PlannedExperiment<'a> {
    /// The file, as it is typed.
    pub path: String,
    /// The manifest.
    pub loaded: &'a LoadedManifest,
    /// Its expansion.
    pub plan: Plan,
    /// Folders with its results.
    pub runs: Vec<&'a ResultsFolder>,
    /// A person's part in it.
    pub effort: Effort,
    /// Ids of the claims that name it.
    pub claims: Vec<String>,
}

impl PlannedExperiment<'_> {
    /// The experiment as entry `index`, from 0.
    pub fn entry(&self, index: usize) -> ExperimentEntry {
        let manifest = &self.loaded.manifest;
        let uses_gpu = manifest.backends.iter().any(|backend| backend.device() == crate::engine::DeviceKind::Gpu);
        ExperimentEntry {
            label: format!("E{}", index + 1),
            name: manifest.name.clone(),
            question: manifest.question.clone(),
            effort: self.summary(),
            preparation: self.effort.preparation.clone(),
            commands: vec![
                format!("mixprec run {} --out runs/{}", self.path, manifest.name),
                format!("mixprec report runs/{}", manifest.name),
                format!("mixprec verify runs/{}", manifest.name),
            ],
            page: format!("runs/{}/report/report.html", manifest.name),
            claims: if self.claims.is_empty() { "none of the abstract".to_owned() } else { self.claims.join(", ") },
            hardware: manifest.backends.iter().map(|&backend| needs(backend, &manifest.targets)).collect(),
            data: data(manifest, &self.loaded.base_dir),
            time: self.time(),
            disk: self.measured(|run| run.bytes.map(disk_size)),
            memory: self.measured(|run| run.host_memory_bytes().map(disk_size)),
            device_memory: uses_gpu.then(|| self.measured(|run| run.device_memory_bytes().map(disk_size))),
            outcome: self.outcome(),
            machines: distinct(self.runs.iter().flat_map(|run| run.machines())),
        }
    }

    /// Estimated seconds of the whole plan.
    pub fn estimated_s(&self) -> f64 {
        self.plan.estimates().iter().map(|estimate| estimate.total_s).sum()
    }

    /// The wall time of the first run that recorded one.
    pub fn wall_time(&self) -> Option<WallTime> {
        self.runs.iter().find_map(|run| run.wall_time())
    }

    fn summary(&self) -> String {
        let human = match self.effort.human_minutes {
            Some(minutes) => numbers::plural(minutes as usize, "estimated human-minute"),
            None => "human time not stated".to_owned(),
        };
        let compute = match self.wall_time() {
            Some(WallTime { seconds, rows, run }) if rows == run => compute(seconds),
            Some(WallTime { seconds, .. }) => format!("at least {}", compute(seconds)),
            None => format!("{} by estimate", compute(self.estimated_s())),
        };
        let disk = self.runs.iter().find_map(|run| run.bytes).map(|bytes| format!(" + {} disk", disk_size(bytes)));
        format!("{human} + {compute}{}", disk.unwrap_or_default())
    }

    fn time(&self) -> String {
        let estimate = format!("{}, estimated from nominal rates", duration(self.estimated_s()));
        let taken = |run: &&ResultsFolder| {
            let WallTime { seconds, rows, run: all } = run.wall_time()?;
            let of = if rows == all { numbers::plural(rows, "row") } else { format!("{rows} of {all} rows") };
            Some(format!("{} measured over {of} of {}", duration(seconds), run.label))
        };
        let measured: Vec<String> = self.runs.iter().filter_map(taken).collect();
        match (measured.as_slice(), self.runs.as_slice()) {
            ([], []) => format!("{NOT_MEASURED}; {estimate}"),
            ([], _) => format!("not recorded by these runs; {estimate}"),
            (some, _) => format!("{}; {estimate}", some.join("; ")),
        }
    }

    /// The value of every run that has one.
    fn measured(&self, value: impl Fn(&ResultsFolder) -> Option<String>) -> String {
        let found = self.runs.iter().filter_map(|run| Some(format!("{} in {}", value(run)?, run.label)));
        let found: Vec<String> = found.collect();
        if found.is_empty() { NOT_MEASURED.to_owned() } else { found.join("; ") }
    }

    fn outcome(&self) -> Vec<String> {
        let planned = numbers::plural(self.plan.configurations.len(), "configuration");
        let excluded = match self.plan.excluded.len() {
            0 => String::new(),
            cells => format!(", {} left out with a reason", numbers::plural(cells, "cell")),
        };
        let run = |run: &&ResultsFolder| {
            let other = run.data.plan.manifest_sha256 != self.loaded.sha256;
            let other = if other { " (the manifest's text has changed since)" } else { "" };
            format!("{}: {}{other}", run.label, run.counts())
        };
        std::iter::once(format!("{planned} planned{excluded}")).chain(self.runs.iter().map(run)).collect()
    }
}

/// `1.5 compute-minutes`
pub fn compute(seconds: f64) -> String {
    let unit = |value: f64, decimals, unit: &str| format!("{} compute-{unit}", numbers::fixed(value, decimals));
    match seconds {
        seconds if seconds < 90.0 => unit(seconds, 0, "seconds"),
        seconds if seconds < 600.0 => unit(seconds / 60.0, 1, "minutes"),
        seconds if seconds < 5400.0 => unit(seconds / 60.0, 0, "minutes"),
        seconds => unit(seconds / 3600.0, 1, "hours"),
    }
}

/// Bytes in a disk's units: kB, MB or GB.
pub fn disk_size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e6 => format!("{} kB", numbers::significant(bytes / 1e3, 2)),
        bytes if bytes < 1e9 => format!("{} MB", numbers::significant(bytes / 1e6, 2)),
        bytes => format!("{} GB", numbers::significant(bytes / 1e9, 2)),
    }
}

/// The requirements of a backend.
fn needs(backend: BackendKind, targets: &[Target]) -> String {
    let ahead: Vec<String> = targets.iter().map(ToString::to_string).collect();
    match backend {
        BackendKind::Reference => "reference: any CPU".to_owned(),
        BackendKind::OnnxRuntime => "onnxruntime: any CPU, and the pinned ONNX Runtime".to_owned(),
        BackendKind::Cuda => {
            "cuda: an NVIDIA GPU of compute capability 8.0 or later, and the pinned NVRTC and cuBLASLt".to_owned()
        }
        BackendKind::TensorRt if ahead.is_empty() => {
            "tensorrt: an NVIDIA GPU that the pinned TensorRT supports".to_owned()
        }
        BackendKind::TensorRt => {
            let ahead = ahead.join(", ");
            format!("tensorrt: no GPU to build for {ahead}, and one of these to execute; the pinned TensorRT")
        }
        BackendKind::Mock => "mock: nothing; it measures nothing either".to_owned(),
    }
}

/// Models and inputs in the order of the manifest.
fn data(manifest: &Manifest, base_dir: &Path) -> Vec<String> {
    let there = |path: &Path| match size(path) {
        Ok(bytes) => disk_size(bytes),
        Err(_) => "not here, so its size is not known".to_owned(),
    };
    let one = |source: &ModelSource| match source {
        ModelSource::Hub { repository, revision, fallback, .. } => {
            let path = without_parents(&hub_folder(base_dir, repository, revision));
            let instead = fallback.map(|of| format!("; else random weights of {}", of.name())).unwrap_or_default();
            format!("{repository} at {revision}, in {} ({}){instead}", path.display(), there(&path))
        }
        ModelSource::Checkpoint { path, .. } => {
            let path = without_parents(&base_dir.join(path));
            format!("checkpoint in {} ({})", path.display(), there(&path))
        }
        drawn => drawn.to_string(),
    };
    let model = |source: &ModelSource| source.candidates().iter().map(one).collect::<Vec<_>>().join("; else ");
    let models = manifest.models.iter().map(|entry| {
        let injected = entry.source.injection().map(|injection| format!(", {injection}")).unwrap_or_default();
        format!("model {}: {}{injected}", entry.name, model(&entry.source))
    });
    let inputs = manifest.inputs.iter().map(|entry| match &entry.source {
        InputSource::Random { seed } => format!("input {}: uniform token ids, seed {seed}", entry.name),
        InputSource::RandomWithSeparators { seed } => {
            format!("input {}: uniform token ids between the tokenizer's separators, seed {seed}", entry.name)
        }
        InputSource::Text { path, .. } | InputSource::Sst2 { path, .. } | InputSource::Examples { path, .. } => {
            let path = without_parents(&base_dir.join(path));
            format!("input {}: {} ({})", entry.name, path.display(), there(&path))
        }
    });
    models.chain(inputs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_size() {
        assert_eq!(
            [31.2, 93.0, 840.0, 9000.0].map(compute),
            ["31 compute-seconds", "1.6 compute-minutes", "14 compute-minutes", "2.5 compute-hours"]
        );
        let sizes = [3_400, 4_240_000, 438_000_000, 1_230_000_000];
        assert_eq!(sizes.map(disk_size), ["3.4 kB", "4.2 MB", "438 MB", "1.2 GB"]);
    }
}
