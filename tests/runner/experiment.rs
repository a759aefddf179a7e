//! A small experiment in a temporary folder, and ways to run it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mixprec::record::{EngineMeasurements, Failure, Outcome, Record};
use mixprec::store::journal::{self, JournalContents};
use tempfile::TempDir;

/// Longest time anything in these tests may take, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A manifest of 2 policies x 2 batch sizes x 3 sequence lengths = 12 configurations on the mock backend.
pub const CONFIGURATIONS: usize = 12;

const MANIFEST: &str = "\
schema: 1
name: faults
question: Does the runner survive what a machine does to it?
models:
  tiny: {random: 1, architecture: bert-tiny}
backends: [mock]
precisions: [fp32, fp16]
batch_sizes: [1, 2]
sequence_lengths: [8, 16, 32]
inputs:
  random: {random: 1}
measurement:
  warmup: 1
  min_samples: 6
  max_samples: 6
  target_precision: 0.000001
  time_cap_s: 30
  timeout_s: 30
  threads: 1
expect_configurations: 12
";

pub struct Experiment {
    root: TempDir,
    dir: PathBuf,
}

impl Experiment {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("run");
        let experiment = Experiment { root, dir };
        experiment.manifest(|text| text);
        experiment
    }

    /// The same experiment with its results in another folder.
    pub fn in_dir(dir: &Path) -> Self {
        Experiment { dir: dir.to_owned(), ..Experiment::new() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn yaml(&self) -> PathBuf {
        self.root.path().join("faults.yaml")
    }

    /// Rewrites the manifest.
    pub fn manifest(&self, edit: impl FnOnce(String) -> String) {
        std::fs::write(self.yaml(), edit(MANIFEST.to_owned())).unwrap();
    }

    /// The command; `fault` is what the mock backend acts out.
    pub fn command(&self, fault: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        command.arg("run").arg(self.yaml()).arg("--out").arg(&self.dir).args(arguments);
        command.env("MIXPREC_MOCK_FAULT", fault).env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, fault: &str, arguments: &[&str]) -> Output {
        self.command(fault, arguments).output().unwrap()
    }

    /// Runs and expects this exit code; returns standard error.
    pub fn expect(&self, code: i32, fault: &str, arguments: &[&str]) -> String {
        let output = self.run(fault, arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        stderr
    }

    /// What lies behind a number of the results.
    pub fn explain(&self, what: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        let output = command.arg("explain").arg(&self.dir).arg(what).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a run in the background.
    pub fn start(&self, fault: &str) -> Child {
        self.command(fault, &[]).spawn().unwrap()
    }

    pub fn journal(&self) -> JournalContents {
        journal::read(&self.dir).unwrap()
    }

    pub fn journal_bytes(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("journal.jsonl")).unwrap()
    }

    /// The failure of each configuration that has one, in the order run.
    pub fn failures(&self) -> Vec<Failure> {
        let failure = |record: &Record| match &record.outcome {
            Outcome::Failed(failure) => Some(failure.clone()),
            Outcome::Ok(_) | Outcome::Built(_) => None,
        };
        self.journal().records.iter().filter_map(failure).collect()
    }

    /// The rows without what differs from one measurement to the next, by configuration.
    pub fn rows_without_times(&self) -> Vec<Record> {
        let contents = self.journal();
        contents.latest().into_values().cloned().map(without_times).collect()
    }
}

fn without_times(mut record: Record) -> Record {
    (record.finished_unix_s, record.wall_s) = (None, None);
    if let Outcome::Ok(measured) = &mut record.outcome {
        let EngineMeasurements { samples_ms, load_s, build_s, process_peak_bytes, stop_reason, .. } = measured.as_mut();
        samples_ms.fill(0.0);
        (*load_s, *build_s, *process_peak_bytes) = (0.0, 0.0, None);
        *stop_reason = mixprec::record::StopReason::MaxSamples;
        measured.end_to_end_ms.clear();
        measured.telemetry.foreign_cpus = None;
    }
    record
}

/// Waits for something to become true.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Process ids of the children of `parent`: its workers.
pub fn children(parent: u32) -> Vec<u32> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let is_child = |pid: &u32| {
        let parent_of = |stat: String| stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok();
        stat(*pid).and_then(parent_of) == Some(parent)
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// Whether the process is gone, or dead and not yet reaped.
pub fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

/// Sends a signal to a process started by the test.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
