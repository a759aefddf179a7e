//! `mixprec fetch` against a hub on this machine: everything a network, a hub and a disk can do to a download.

mod checks;
mod disk;
mod encryption;
mod flow;
mod refusals;
mod resume;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mixprec::digest::sha256;
use rustix::process::{Pid, Signal, kill_process};
use server::{Act, Hub};

use crate::checkpoint::Checkpoint;
use crate::experiment::{Cells, Experiment, text};
use crate::{mixprec, texts};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";
const OPTIONAL: [&str; 3] = ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"];
const FILES: [&str; 3] = ["config.json", "tokenizer.json", WEIGHTS];

/// A manifest with one model of a hub, and that hub.
struct Fetch {
    hub: Hub,
    experiment: Experiment,
    /// The files as the hub has them.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Fetch {
    /// A model without a fallback.
    fn new() -> Fetch {
        Fetch::with("")
    }

    /// A model with these further keys, each after a comma.
    fn with(keys: &str) -> Fetch {
        let folder = tempfile::tempdir().unwrap();
        Checkpoint::gpt2().write(folder.path());
        let fetch = Fetch::of(folder.path(), &FILES);
        fetch.pin(&sha256(fetch.content(WEIGHTS)), keys);
        fetch
    }

    /// A hub with these files of a folder, and no manifest yet that names it.
    fn of(folder: &Path, names: &[&'static str]) -> Fetch {
        let files: Vec<_> = names.iter().map(|&name| (name, std::fs::read(folder.join(name)).unwrap())).collect();
        let hub = Hub::new(&files);
        Fetch { hub, experiment: Experiment::new(&Cells::default()), files }
    }

    /// Writes the manifest with this digest of the weights.
    fn pin(&self, weights: &str, keys: &str) {
        let models = format!("{{gpt: {{hub: owner/name, revision: '{REVISION}', sha256: '{weights}'{keys}}}}}");
        self.experiment.manifest(&Cells { models: &models, ..Cells::default() });
    }

    fn content(&self, name: &str) -> &[u8] {
        &self.files.iter().find(|(file, _)| *file == name).unwrap().1
    }

    /// Where the checkpoint belongs.
    fn folder(&self) -> PathBuf {
        self.experiment.folder().join("../runs/hub/owner--name").join(REVISION)
    }

    /// Where it is staged.
    fn staging(&self) -> PathBuf {
        self.folder().with_extension("part")
    }

    /// The program, with this hub and no other variable that it reads.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(mixprec(&[]).get_program());
        command.args(["fetch", text(&self.experiment.yaml())]).args(arguments);
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
        for name in proxies.iter().chain(&["HF_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT"]) {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Fetches and expects this exit code; returns standard output and standard error.
    fn expect(&self, code: i32, variables: &[(&str, &str)]) -> (String, String) {
        self.expect_with(code, &[], variables)
    }

    fn expect_with(&self, code: i32, arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
        (stdout, stderr)
    }

    /// The folder holds what the hub has, byte for byte, and nothing is left of the way there.
    fn assert_fetched(&self) {
        for (name, content) in &self.files {
            let found = std::fs::read(self.folder().join(name)).unwrap();
            assert!(found == *content, "{name}: {} bytes, not the {} of the hub", found.len(), content.len());
        }
        assert_eq!(names(&self.folder()).len(), self.files.len() + 1, "{:?}", names(&self.folder()));
        assert!(!self.staging().exists());
    }

    /// Nothing stands where the checkpoint belongs, and nothing of this file is kept.
    fn assert_nothing_of(&self, name: &str) {
        assert!(!self.folder().exists());
        let kept: Vec<_> = names(&self.staging()).into_iter().filter(|kept| kept.starts_with(name)).collect();
        assert!(kept.is_empty(), "{kept:?}");
    }

    /// Starts a fetch that gets so many bytes of a file and then waits for more.
    fn waiting_after(&self, name: &str, bytes: usize) -> Child {
        self.hub.next(name, [Act::Hang(bytes)]);
        let child = self.command(&[]).spawn().unwrap();
        let part = self.staging().join(format!("{name}.part"));
        eventually("a part of the file", || part.metadata().is_ok_and(|part| part.len() >= bytes as u64));
        child
    }

    /// Kills a fetch when so many bytes of a file have arrived.
    fn killed_after(&self, name: &str, bytes: usize) {
        let mut child = self.waiting_after(name, bytes);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Names in a folder; none where there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}
