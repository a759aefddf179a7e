//! The Nix flake, evaluated without a network: the folder nixpkgs stands in for nixpkgs, has only the names that the flake
//! uses, and forces every argument. This shows syntax, wiring, lock and pins, not that a build succeeds.
//!
//! Skipped, with the reason printed, where Nix is not installed (Debian: `container/setup.sh --nix`).

mod driver;
mod unpacking;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::fixtures::skip;
use crate::{both_streams, repository};

/// What the flake reads: a copy of these is evaluated.
const FILES: [&str; 12] = [
    "flake.nix",
    "flake.lock",
    "LICENSE",
    "nix",
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "src",
    "container",
    "experiments",
    "paper/fonts",
    "paper/templates",
];

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// A copy of the flake with a store of its own, so that nothing outside the temporary folder is touched.
struct Flake {
    folder: tempfile::TempDir,
}

impl Flake {
    /// `None`, with the reason printed, where Nix is missing.
    fn new() -> Option<Self> {
        if !Command::new("nix").arg("--version").output().is_ok_and(|output| output.status.success()) {
            skip("nix is not there (container/setup.sh --nix)");
            return None;
        }
        let flake = Flake { folder: tempfile::tempdir().unwrap() };
        for name in FILES {
            copy(&repository().join(name), &flake.path(name));
        }
        Some(flake)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("flake").join(name)
    }

    fn nix(&self, arguments: &[&str]) -> Output {
        Command::new("nix")
            .arg("--store")
            .arg(self.folder.path().join("store"))
            .args(arguments)
            .env("NIX_CONFIG", "experimental-features = nix-command flakes")
            .env("HOME", self.folder.path())
            .env_remove("XDG_CACHE_HOME")
            .output()
            .unwrap()
    }

    /// A command on the flake with the stand-in for nixpkgs.
    fn stubbed(&self, command: &[&str], attribute: &str, options: &[&str]) -> Output {
        let stub = format!("path:{}", repository().join("tests/packaging/flake/nixpkgs").display());
        let target = format!("path:{}{attribute}", self.path("").display());
        let mut arguments = command.to_vec();
        arguments.extend([target.as_str(), "--override-input", "nixpkgs", &stub]);
        arguments.extend(options);
        self.nix(&arguments)
    }

    /// The value of an attribute, through a function written in Nix.
    fn eval(&self, attribute: &str, function: &str) -> Value {
        let output = self.stubbed(&["eval", "--json"], &format!("#{attribute}"), &["--apply", function]);
        assert!(output.status.success(), "{attribute}: {}", both_streams(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The store path of each pinned wheel.
    fn wheel_paths(&self) -> BTreeMap<String, String> {
        let paths = self.eval("legacyPackages.x86_64-linux.wheels", "builtins.mapAttrs (_: wheel: wheel.outPath)");
        serde_json::from_value(paths).unwrap()
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(self.path(file), text.replace(from, to)).unwrap();
    }

    fn pins(&self) -> Value {
        let pins: Value = serde_json::from_slice(&fs::read(self.path("container/wheels.json")).unwrap()).unwrap();
        pins["wheels"].clone()
    }
}

#[test]
fn every_output_evaluates() {
    let Some(flake) = Flake::new() else { return };
    let output = flake.stubbed(&["flake", "check"], "", &["--no-build"]);
    assert!(output.status.success(), "{}", both_streams(&output));

    let drv_paths = "builtins.mapAttrs (_: output: output.drvPath)";
    for (attribute, function, expected) in [
        ("packages", drv_paths, &["default", "image", "libraries", "minilm", "program"][..]),
        ("checks", drv_paths, &["clippy", "fmt", "package", "tests"]),
        ("devShells", drv_paths, &["default"]),
        ("apps", "builtins.mapAttrs (_: app: app.program)", &["default", "reproduce"]),
    ] {
        let found = flake.eval(&format!("{attribute}.x86_64-linux"), function);
        let found = found.as_object().unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected, "{attribute}");
        let is_in_store = |path: &Value| path.as_str().is_some_and(|path| path.starts_with("/nix/store/"));
        assert!(found.values().all(is_in_store), "{attribute}: {found:?}");
    }
    let image = flake.eval("packages.x86_64-linux.image", "image: image.config.Entrypoint");
    assert!(image[0].as_str().unwrap().ends_with("-mixprec-0.1.0/bin/mixprec"), "{image}");
}

/// The stand-in would be worth nothing if it let mistakes pass.
#[test]
fn mistakes_are_noticed() {
    for (file, from, to, expected) in [
        ("nix/wheels.nix", "pkgs.unzip", "pkgs.unzp", "unzp"),
        ("nix/rust.nix", "tex.latexmk", "tex.latexkm", "latexkm"),
        ("nix/rust.nix", "../build.rs", "../built.rs", "built.rs does not exist"),
        ("nix/image.nix", "WorkingDir", "WorkDir", "without required argument 'WorkingDir'"),
        ("flake.nix", "== \"mixprec-libraries\"", "== \"another\"", "mixprec-libraries is unfree and not allowed"),
        ("Cargo.lock", "checksum = ", "check = ", "cargoLock.outputHashes lacks"),
        ("container/wheels.json", "\"sha256\": \"", "\"sha256\": \"0", "hash"),
    ] {
        let Some(flake) = Flake::new() else { return };
        flake.edit(file, from, to);
        let output = flake.stubbed(&["flake", "check"], "", &["--no-build"]);
        let text = both_streams(&output);
        assert!(!output.status.success() && text.contains(expected), "{file}, {to}: {text}");
    }
}

/// An input that the lock lacks, or locks to another branch, would be fetched at whatever state it is in that day.
#[test]
fn the_lock_covers_the_flake() {
    let Some(flake) = Flake::new() else { return };
    let metadata = |flake: &Flake| {
        let target = format!("path:{}", flake.path("").display());
        flake.nix(&["flake", "metadata", "--offline", "--no-update-lock-file", "--json", &target])
    };
    let output = metadata(&flake);
    assert!(output.status.success(), "{}", both_streams(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let locked = &found["locks"]["nodes"]["nixpkgs"]["locked"];
    assert_eq!(locked["rev"].as_str().unwrap().len(), 40, "{locked}");
    assert!(locked["narHash"].as_str().unwrap().starts_with("sha256-"), "{locked}");

    flake.edit("flake.nix", "nixpkgs/nixos-26.05", "nixpkgs/nixos-25.11");
    let output = metadata(&flake);
    assert!(!output.status.success(), "{}", both_streams(&output));
}

/// Digests are stated in container/wheels.json and nowhere else: what is there is what Nix would fetch.
#[test]
fn wheels_are_those_of_the_one_list() {
    let Some(flake) = Flake::new() else { return };
    let function = "builtins.mapAttrs (_: wheel: { inherit (wheel) name outputHash path; })";
    let found = flake.eval("legacyPackages.x86_64-linux.wheels", function);
    let pins = flake.pins();
    let pins = pins.as_object().unwrap();
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), pins.keys().collect::<Vec<_>>());
    for (key, pin) in pins {
        assert_eq!(found[key]["name"], pin["file"], "{key}");
        assert_eq!(found[key]["outputHash"], pin["sha256"], "{key}");
    }
    // Indexes keep a wheel in a folder of its Python tag, the first letter of its name, and its name.
    let path = found["onnxruntime"]["path"].as_str().unwrap();
    assert!(path.starts_with("packages/cp311/o/onnxruntime/onnxruntime-1.32.0-cp311-"), "{path}");

    let before = flake.wheel_paths();
    let digest = pins["cublas"]["sha256"].as_str().unwrap();
    flake.edit("container/wheels.json", digest, &"0".repeat(64));
    let after = flake.wheel_paths();
    let changed: Vec<_> = before.keys().filter(|key| before[*key] != after[*key]).collect();
    assert_eq!(changed, ["cublas"]);
}

/// The README's commands run in either image, and both say the same of themselves.
#[test]
fn the_image_has_what_the_containers_recipe_has() {
    let Some(flake) = Flake::new() else { return };
    let function = "image: { inherit (image) fakeRootCommands; labels = builtins.attrNames image.config.Labels; }";
    let image = flake.eval("packages.x86_64-linux.image", function);
    let recipe = fs::read_to_string(repository().join("container/Containerfile")).unwrap();
    let keys = recipe.split_whitespace().filter_map(|word| word.split_once('=')).map(|(key, _)| key);
    // A folder is no repository, and then no commit is claimed.
    let mut labels: Vec<&str> =
        keys.filter(|key| key.starts_with("org.opencontainers.") && !key.ends_with(".revision")).collect();
    labels.sort_unstable();
    assert_eq!(image["labels"], serde_json::json!(labels));

    // What the store would hold is in this test's own store, and only root may give files away.
    let store = flake.folder.path().join("store/nix/store").display().to_string();
    let commands = image["fakeRootCommands"].as_str().unwrap().replace("/nix/store", &store);
    let script = format!("install() {{ mkdir -p \"${{@: -1}}\"; }}\n{commands}\nchmod -R u+w .");
    let root = tempfile::tempdir().unwrap();
    let output = Command::new("bash").args(["-euc", &script]).current_dir(root.path()).output().unwrap();
    assert!(output.status.success(), "{}", both_streams(&output));
    for file in ["LICENSE", "experiments/quick.yaml", "experiments/claims.yaml"] {
        assert!(root.path().join("opt/mixprec").join(file).is_file(), "{file}");
    }
}

/// The crates' checksums and the program's version are read from cargo's files, and the licence is stated.
#[test]
fn the_program_is_described_by_its_manifest() {
    let Some(flake) = Flake::new() else { return };
    let function = "program: { inherit (program) version meta; commit = program.env; }";
    let program = flake.eval("packages.x86_64-linux.program", function);
    assert_eq!(program["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(program["meta"]["license"]["spdxId"], env!("CARGO_PKG_LICENSE"));
    // A folder is no repository, and then no commit is claimed.
    assert_eq!(program["commit"], serde_json::json!({}));
}
